"""Which versions are available: those whose weights are there and are the bytes that were recorded."""

from ledger.domain.models import Model
from ledger.domain.versions import Version
from ledger.errors import IntegrityError, PurgedError


def require_available(model: Model, version: Version) -> None:
    """Refuse a version whose weights are not available.

    Raises:
        PurgedError: They were destroyed.
        IntegrityError: Something is wrong with them.
    """
    if version.purged_at is not None:
        day = f"{version.purged_at:%Y-%m-%d}"
        raise PurgedError(
            f"version {version.number} of {model.name} was purged on {day}: its weights are gone",
            f"see which versions are kept: unledger model versions {model.name}",
        )
    if version.quarantined is not None:
        raise IntegrityError(
            f"version {version.number} of {model.name} is quarantined: {version.quarantined}",
            "restore its objects from a backup, then run: unledger fsck --read-data",
        )
