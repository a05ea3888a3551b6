"""Waiting for others: how long, how often, and for what."""

from itertools import islice

import pytest

from ledger.errors import BusyError, LeaseLostError, UnreachableError
from ledger.service.retry import ATTEMPTS, PATIENCE, pauses, retry_when_busy


def test_pauses_grow_up_to_a_limit_and_never_agree() -> None:
    first = list(islice(pauses(1.0, 10.0), 8))
    for pause, ceiling in zip(first, [1, 2, 4, 8, 10, 10, 10, 10], strict=True):
        assert ceiling / 2 <= pause <= ceiling
    assert first != list(islice(pauses(1.0, 10.0), 8))
    assert next(pauses(5.0, 2.0)) <= 2


def test_a_busy_transaction_is_run_again_until_it_gets_through() -> None:
    slept: list[float] = []
    calls = iter([BusyError("locked"), BusyError("locked"), None])

    def transaction() -> str:
        error = next(calls)
        if error is not None:
            raise error
        return "done"

    assert retry_when_busy(transaction, sleep=slept.append) == "done"
    assert len(slept) == 2


def test_patience_ends() -> None:
    slept: list[float] = []

    def transaction() -> None:
        raise BusyError("locked")

    with pytest.raises(BusyError):
        retry_when_busy(transaction, sleep=slept.append)
    assert len(slept) == ATTEMPTS - 1


@pytest.mark.parametrize("error", [UnreachableError("gone"), LeaseLostError("lost"), ZeroDivisionError()])
def test_only_what_was_surely_undone_is_run_again(error: Exception) -> None:
    """A commit that was cut off may have taken effect: running it again could do it twice."""
    calls: list[int] = []

    def transaction() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        retry_when_busy(transaction, sleep=lambda _seconds: None)
    assert len(calls) == 1


def test_nobody_waits_again_who_has_waited_long_enough() -> None:
    calls: list[int] = []

    def transaction() -> None:
        calls.append(1)
        raise BusyError("locked")

    seconds = iter([0.0, PATIENCE + 1])
    with pytest.raises(BusyError):
        retry_when_busy(transaction, sleep=lambda _seconds: None, clock=lambda: next(seconds))
    assert len(calls) == 1
