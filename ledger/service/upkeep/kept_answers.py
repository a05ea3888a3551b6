"""Let the anchor weights compute again what is kept of their answers and activations, and compare, bit for bit."""

from collections.abc import Iterator

from ledger.digest import sha256_hex
from ledger.domain.kept_results import KeptResult, ResultKind
from ledger.domain.models import Model
from ledger.errors import DataError
from ledger.service.ledger import Ledger


def differing_answers(ledger: Ledger, model: Model, kept: KeptResult) -> Iterator[str]:
    """Yield the digest of each part that is not what the anchor weights compute of the images in it.

    Args:
        ledger: The ledger.
        model: Whose they are.
        kept: The answers, or activations.

    Raises:
        DataError: They are of other images, or were computed by another kind of machine: nothing can be compared.
        LedgerError: The network or the images cannot be opened here.
    """
    # Imported here: looking at sizes and keys alone does not need torch.
    from ledger.service.computation.kept_activations import KeptActivations
    from ledger.service.computation.kept_answers import KeptAnswers
    from ledger.service.computation.kept_evaluation import KeptEvaluation
    from ledger.service.computation.workbench import open_workbench

    workbench = open_workbench(ledger, model.name)
    answers: KeptAnswers | KeptActivations | KeptEvaluation
    if kept.kind is ResultKind.ANSWERS:
        answers = KeptAnswers(workbench)
    elif kept.kind is ResultKind.ACTIVATIONS:
        answers = KeptActivations(workbench)
    else:
        answers = KeptEvaluation.of_gates(workbench)
    if not answers.holds(kept):
        raise DataError(
            "they are of other images, or were computed by another kind of machine or release, or for other gates",
            "the next request of the model gives them again",
        )
    for part in kept.parts:
        if sha256_hex(answers.again(part)) != part.object_digest:
            yield part.object_digest
