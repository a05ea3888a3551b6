"""Write a version to a folder: weights, labels, preprocessing, where it comes from, and a model card."""

from dataclasses import replace
from pathlib import Path

from ledger import __version__
from ledger.digest import canonical_json
from ledger.domain.events.requests import RequestFulfilled
from ledger.domain.events.versions import VersionExported
from ledger.domain.models import Model
from ledger.domain.settings import CropMode
from ledger.domain.versions import Version, not_known_before
from ledger.durable_files import is_vacant, write_folder
from ledger.errors import (
    ConflictError,
    LedgerError,
)
from ledger.service.ledger import Ledger
from ledger.service.output_files import require_outside_ledgers
from ledger.service.versions.availability import require_available
from ledger.service.versions.model_card import CardFacts, model_card
from ledger.service.versions.model_history import read_model_history
from ledger.store.unit_of_work import Transaction


def export(
    ledger: Ledger, model_name: str, number: int | None, folder: Path, *, hide_forgotten: bool = False
) -> Version:
    """Write a version as a folder: ``model.safetensors``, ``config.json`` and ``README.md``.

    The second has labels, preprocessing and provenance, the third is the model card. The folder appears as a whole or
    not at all. The audit log records the export first: whoever asks later where copies went must not miss one.

    Args:
        ledger: The ledger.
        model_name: The model.
        number: The version; None for the live one.
        folder: New, or empty.
        hide_forgotten: Leave out the labels of forgotten classes, since a class may be a person.

    Raises:
        ConflictError: There is something of that name, other than an empty folder.
        RefusedError: The folder belongs to a ledger, or is a link.
        KeysError: The keys are missing, or another ledger's.
        OlderDatabaseError: The database lacks entries that were signed.
        LedgerError: The folder cannot be written. Nothing is left of it, and the same command can be run again.
    """
    require_outside_ledgers(ledger.config, folder)
    if folder.exists() and not is_vacant(folder):
        raise ConflictError(f"{folder} is not an empty folder", "name a new folder")
    version, files = export_files(ledger, model_name, number, hide_forgotten=hide_forgotten)
    try:
        write_folder(folder, files)
    except OSError as error:
        raise LedgerError(
            f"cannot write to {folder}: {error.strerror}",
            "free some space or check permissions, then run the same command again",
        ) from error
    return version


def export_files(
    ledger: Ledger, model_name: str, number: int | None, *, hide_forgotten: bool = False
) -> tuple[Version, dict[str, bytes]]:
    """Record that a version leaves the ledger, and return it with its files by name.

    Args:
        ledger: The ledger.
        model_name: The model.
        number: The version; None for the live one.
        hide_forgotten: Leave out the labels of forgotten classes.

    Raises:
        NotFoundError: There is no such model or version.
        PurgedError: The weights were destroyed.
        ObjectError: They are missing or altered.
        KeysError: The keys are missing, or another ledger's.
        OlderDatabaseError: The database lacks entries that were signed.
    """
    ledger.require_current()
    known = read_model_history(ledger, model_name)
    wanted = known.live.number if number is None else number
    with ledger.database.read() as tx:
        tx.trusted.covered(model_name)
        version = tx.versions.get(known.model, wanted)
        facts = _facts(tx, known.model, version)
    require_available(known.model, version)
    data = ledger.objects.get(version.weights)
    with ledger.database.write() as tx:
        exported = VersionExported(version=version.number, weights=version.weights)
        at = ledger.clock()
        tx.audit.append(exported, at=at, actor=ledger.actor, model=known.model.name)
        head = tx.audit.head()
    pre = known.model.preprocessing
    config = {
        "architecture": known.model.architecture.spec.removeprefix("timm/"),
        "model_args": known.model.architecture.options,
        "num_classes": len(known.model.labels),
        "label_names": [
            f"forgotten {k}" if hide_forgotten and k in version.forgotten else label
            for k, label in enumerate(known.model.labels.labels)
        ],
        "pretrained_cfg": {
            "input_size": [pre.channels, pre.height, pre.width],
            "mean": list(pre.mean),
            "std": list(pre.std),
            "interpolation": pre.interpolation,
            "crop_pct": pre.crop_fraction,
            "crop_mode": (pre.crop_mode or CropMode.CENTER).value,
        },
        "unledger": {
            "model": known.model.name,
            "version": version.number,
            "weights_sha256": version.weights,
            "forgotten": [int(k) for k in sorted(version.forgotten)],
            "audit_head": str(head),
        },
    }
    card = model_card(replace(facts, audit_head=str(head), at=at, hidden=hide_forgotten)).encode()
    return version, {"model.safetensors": data, "config.json": canonical_json(config), "README.md": card}


def _facts(tx: Transaction, model: Model, version: Version) -> CardFacts:
    """Return what the card says, but for what is known only once the export is recorded."""
    missed = 0
    for entry in tx.audit.events(model=model.name, kinds=(RequestFulfilled.kind,)):
        if isinstance(entry.payload, RequestFulfilled) and entry.payload.version == version.number:
            missed = entry.payload.gates_missed
    return CardFacts(
        model=model,
        version=version,
        evidence=tx.versions.weights_evidence(version),
        not_known_before=len(not_known_before(tx.versions.all(model), version.forgotten, len(model.labels))),
        gates_missed=missed,
        release=__version__,
        audit_head="",
        at=version.created_at,
    )
