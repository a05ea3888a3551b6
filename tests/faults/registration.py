"""Register a model without a network: what ``model add`` records, for whoever computes something else than weights."""

from datetime import datetime

from ledger.domain.labels import LabelMap
from ledger.domain.models import Architecture, Model, NewModel
from ledger.domain.settings import Preprocessing, Settings
from ledger.domain.versions import Version, VersionKind
from ledger.service.ledger import Ledger
from ledger.service.objects import store_object
from ledger.service.versions.commit import append_model, append_version


def register_stand_in(ledger: Ledger, name: str, labels: tuple[str, ...], weights: bytes, *, at: datetime) -> Model:
    """Record a model that has forgotten nothing, and return it."""
    digest = store_object(ledger, weights)
    with ledger.database.write() as tx:
        model = append_model(
            tx,
            NewModel(
                name=name,
                architecture=Architecture("stand-in", {}),
                labels=LabelMap(labels),
                preprocessing=Preprocessing(channels=1, height=8, width=8, mean=(0.5,), std=(0.25,)),
                data_spec="stand-in",
                data_digest="d" * 64,
                settings=Settings(),
                created_at=at,
            ),
            actor=ledger.actor,
            weights=digest,
        )
        base = Version(model.id, 0, None, VersionKind.BASE, None, None, frozenset(), digest, {}, at)
        append_version(tx, model, base, size=len(weights), terms=(), actor=ledger.actor, at=at)
    return model
