"""What a unit raises is raised where its result is wanted; parcels that were cut short are noticed."""

import errno

import pytest

from ledger.errors import AuditError, DataError, LedgerError, NonFiniteError
from ledger.service.requests.transient import as_transient
from ledger.units.parcels import parcel, unparcel
from ledger.units.running import Fault


@pytest.mark.parametrize("error", [NonFiniteError("NaN in fc", "see it"), DataError("no image", "")])
def test_errors_of_ours_come_back_with_their_hints(error: LedgerError) -> None:
    found = Fault.of(error).error()
    assert type(found) is type(error)
    assert isinstance(found, LedgerError)
    assert (found.message, found.hint) == (error.message, error.hint)


def test_one_that_holds_more_comes_back_as_a_plain_one() -> None:
    found = Fault.of(AuditError("broken", "see", seq=3)).error()
    assert type(found) is LedgerError
    assert found.message == "broken"


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (MemoryError("none left"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (ValueError("bad"), False),
    ],
)
def test_what_passes_by_itself_is_told_from_what_does_not(error: Exception, passes: bool) -> None:  # noqa: FBT001
    assert (as_transient(Fault.of(error).error()) is not None) is passes
    assert (as_transient(error) is not None) is passes


def test_a_parcel_holds_facts_and_blobs() -> None:
    data = parcel({"a": [1, 2]}, [b"", b"xyz"])
    assert unparcel(dict[str, list[int]], data) == ({"a": [1, 2]}, [b"", b"xyz"])
    for broken in (data[:-1], b"", b"\x01"):
        with pytest.raises(ValueError, match="parcel"):
            unparcel(dict[str, list[int]], broken)
