"""What a network returns is told from its answers."""

import pytest
import torch

from ledger.networks.answer_kind import AnswerKind, kind_of_answer


def logits(rows: int = 60, classes: int = 10, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(rows, classes, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_kinds_are_told_apart(classes: int) -> None:
    found = logits(classes=classes)
    assert kind_of_answer(found) is AnswerKind.LOGITS
    assert kind_of_answer(found.softmax(1)) is AnswerKind.PROBABILITIES
    assert kind_of_answer(100 * found.softmax(1)) is AnswerKind.PROBABILITIES
    assert kind_of_answer(found.softmax(1).half()) is AnswerKind.PROBABILITIES
    assert kind_of_answer(found.log_softmax(1)) is AnswerKind.LOG_PROBABILITIES
    assert kind_of_answer(found.log_softmax(1).half()) is AnswerKind.LOG_PROBABILITIES
    assert kind_of_answer(found.sigmoid()) is AnswerKind.SIGMOIDS
    assert kind_of_answer(found[:1].expand(60, -1)) is AnswerKind.CONSTANT


def test_logits_of_any_range_are_logits() -> None:
    assert kind_of_answer(logits(scale=1e-3)) is AnswerKind.LOGITS
    assert kind_of_answer(logits().relu()) is AnswerKind.LOGITS
    assert kind_of_answer(logits() + 100) is AnswerKind.LOGITS
    assert kind_of_answer(logits() + 1e5) is AnswerKind.LOGITS
    assert kind_of_answer(-logits().abs()) is AnswerKind.LOGITS
    assert kind_of_answer(logits()[:1]) is AnswerKind.LOGITS
