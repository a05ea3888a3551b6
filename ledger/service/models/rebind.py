"""Let a model use its images as they are now: once a purge made the images of forgotten classes unnecessary."""

from ledger.domain.events.models import ModelDataChanged
from ledger.domain.models import Model
from ledger.errors import ConflictError, DataError
from ledger.hookspecs import DataSource
from ledger.images.relabelled import require_images
from ledger.service.ledger import Ledger


def rebind(ledger: Ledger, model_name: str, data_spec: str | None = None) -> Model:
    """Take note of changed images, in the same place or another.

    The images of classes that every kept version has forgotten may be gone. All others must still be there; their class
    spaces are collected again when they are needed next.

    Args:
        ledger: The ledger.
        model_name: The model.
        data_spec: Where the images are now; None for where they were.

    Raises:
        ConflictError: The model was never purged: what it computes rests on the images as they were.
        DataError: A class has no images, or is not one of the model's.
    """
    with ledger.database.read() as tx:
        model = tx.models.get(model_name)
        anchor = tx.versions.get(model, model.anchor)
    if model.anchor == 0:
        raise ConflictError(
            f"{model_name} still computes from the registered weights and the images it was registered with",
            f"close its rollback window first: unledger purge {model_name}",
        )
    spec = data_spec or model.data_spec
    source = ledger.plugins.data_source(spec)
    _check(model, source, anchor.forgotten)
    now = ledger.clock()
    with ledger.database.write() as tx:
        tx.models.use_data(model, spec, source.digest)
        tx.audit.append(
            ModelDataChanged(
                previous=model.data_digest,
                data=source.digest,
                row=tx.projections.digest("models", name=model.name),
            ),
            at=now,
            actor=ledger.actor,
            model=model.name,
        )
        return tx.models.get(model_name)


def _check(model: Model, source: DataSource, forgotten: frozenset[int]) -> None:
    unknown = sorted(set(source.labels) - set(model.labels.labels))
    if unknown:
        raise DataError(f"{', '.join(unknown[:5])} is no class of {model.name}", "labels must equal the model's")
    needed = [label for k, label in enumerate(model.labels.labels) if k not in forgotten]
    require_images(source, needed, "only classes that every kept version has forgotten may be missing")
