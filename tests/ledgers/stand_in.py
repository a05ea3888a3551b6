"""Models that no network stands behind, for tests that compute something else than weights, or nothing."""

from datetime import UTC, datetime
from typing import Any

from ledger.domain.labels import LabelMap
from ledger.domain.models import Architecture, Model, NewModel
from ledger.domain.recipe import VersionRecipe
from ledger.domain.settings import Preprocessing, Settings
from ledger.domain.versions import Version, VersionKind
from ledger.service.ledger import Ledger
from ledger.service.objects import store_object
from ledger.service.versions.commit import append_model, append_version

WHEN = datetime(2025, 3, 31, 12, 30, tzinfo=UTC)


def model_value(name: str = "cars", **changes: Any) -> NewModel:
    """Return a model that is not stored yet; keyword arguments replace fields."""
    values: dict[str, Any] = {
        "name": name,
        "architecture": Architecture("timm/resnet18", {"in_chans": 1}),
        "labels": LabelMap(("cat", "dog", "Zoë")),
        "preprocessing": Preprocessing(channels=1, height=8, width=8, mean=(0.5,), std=(0.25,)),
        "data_spec": "digits",
        "data_digest": "d" * 64,
        "settings": Settings(seed=7, alpha_r=(10.0,), alpha_f=(3.0, 30.0)),
        "created_at": WHEN,
    }
    return NewModel(**{**values, **changes})


def stand_in(name: str, labels: tuple[str, ...], *, at: datetime) -> NewModel:
    """Return a model whose architecture and data source do not exist, with the settings that are the default."""
    nothing = Architecture("stand-in", {})
    said = {"architecture": nothing, "data_spec": "stand-in", "settings": Settings(), "created_at": at}
    return model_value(name, labels=LabelMap(labels), **said)


def base_version(model: Model, weights: str, *, at: datetime, recipe: dict[str, Any] | None = None) -> Version:
    """Return version 0 of a stored model: what was registered, with nothing forgotten."""
    return Version(
        model.id, 0, None, VersionKind.BASE, None, None, frozenset(), weights, VersionRecipe(recipe or {}), at
    )


def register_stand_in(ledger: Ledger, name: str, labels: tuple[str, ...], weights: bytes, *, at: datetime) -> Model:
    """Record a model that has forgotten nothing, as ``model add`` does, and return it."""
    return register_value(ledger, stand_in(name, labels, at=at), weights, at=at)


def register_value(ledger: Ledger, value: NewModel, weights: bytes, *, at: datetime) -> Model:
    """Record a model value with its version 0, as ``model add`` does, and return it with its id."""
    digest = store_object(ledger, weights)
    with ledger.database.write() as tx:
        model = append_model(tx, value, actor=ledger.actor, weights=digest)
        base = base_version(model, digest, at=at)
        append_version(tx, model, base, size=len(weights), terms=(), actor=ledger.actor, at=at)
    return model
