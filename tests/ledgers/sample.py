"""A ledger filled by hand, row by row as the services do, so that no network is ever run."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ledger.digest import sha256_hex
from ledger.domain.class_spaces import BasisTerm, MapSummary, NewClassSpace, Role
from ledger.domain.events.requests import RequestFulfilled, RequestWithdrawn
from ledger.domain.evidence import Evidence, Provenance
from ledger.domain.labels import LabelMap
from ledger.domain.models import Architecture, Model
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import NewRequest
from ledger.domain.settings import Preprocessing, Settings
from ledger.domain.states import Action, RequestState
from ledger.domain.versions import Version, VersionKind
from ledger.service.ledger import Ledger
from ledger.service.requests.filing import enqueue
from ledger.service.versions.commit import append_model, append_version
from ledger.service.versions.recording import append_class_spaces, append_evidence
from ledger.service.versions.rollback import plan_rollback, roll_back
from ledger.store.unit_of_work import Transaction
from tests.ledgers.stand_in import model_value

LABELS = ("owl", "jay", "tit", "kite", "crow", "wren")
START = datetime(2025, 3, 31, 12, 30, tzinfo=UTC)
MAPS = ("stem.weight", "layer1.0.conv1.weight", "layer1.0.downsample.0.weight", "head.fc.weight")


@dataclass
class Sample:
    """A ledger with one model, and the acts that fill it."""

    ledger: Ledger
    now: list[datetime]
    name: str = "birds"
    generator: random.Random = field(default_factory=lambda: random.Random(0))

    def register(self, labels: Sequence[str]) -> Model:
        """Register a model with its base version."""
        with self.ledger.database.write() as tx:
            model = append_model(
                tx,
                model_value(
                    self.name,
                    architecture=Architecture("timm/test_resnet", {"in_chans": 1}),
                    labels=LabelMap(tuple(labels)),
                    preprocessing=Preprocessing(channels=1, mean=(0.5,), std=(0.25,)),
                    settings=Settings(seed=7),
                    created_at=self.now[0],
                ),
                actor="ada",
                weights="0" * 64,
            )
            base = self._version(
                model, 0, None, VersionKind.BASE, None, frozenset(), {"environment": {"torch": "2.6.0"}}
            )
            append_version(tx, model, base, size=_size(base), terms=(), actor="ada", at=self.now[0])
        return model

    def file(self, *classes: int, **changes: Any) -> int:
        """File a request."""
        request = NewRequest(frozenset(classes), "bob", **changes)
        return enqueue(self.ledger, self.name, [request])[0].request.id

    def forget(self, *classes: int, recipe: dict[str, Any] | None = None) -> Version:
        """File a request and fulfil it with a new version."""
        request = self.file(*classes)
        self.later(2)
        with self.ledger.database.write() as tx:
            model = tx.models.get(self.name)
            live = tx.versions.live(model)
            forgotten = live.forgotten | set(classes)
            version = self._version(
                model,
                tx.versions.next_number(model),
                live.number,
                VersionKind.FORGET,
                request,
                forgotten,
                self.recipe(forgotten) if recipe is None else recipe,
            )
            terms = self._terms(tx, model, forgotten)
            append_version(tx, model, version, size=_size(version), terms=terms, actor="ada", at=self.now[0])
            tx.requests.act(request, Action.CLAIM, at=self.now[0])
            tx.requests.act(request, Action.FULFIL, at=self.now[0], version=version.number)
            tx.audit.append(
                RequestFulfilled(version=version.number, no_op=False, state=RequestState.FULFILLED, epoch=1),
                at=self.now[0],
                actor="ada",
                model=self.name,
                request_id=request,
            )
        return version

    def withdraw(self, request: int) -> Version:
        """Withdraw a fulfilled request in a new version."""
        with self.ledger.database.write() as tx:
            model = tx.models.get(self.name)
            live = tx.versions.live(model)
            forgotten = live.forgotten - tx.requests.get(request).classes
            number = tx.versions.next_number(model)
            kind = VersionKind.WITHDRAW
            version = self._version(model, number, live.number, kind, request, forgotten, self.recipe(forgotten))
            append_version(tx, model, version, size=_size(version), terms=(), actor="ada", at=self.now[0])
            tx.requests.act(request, Action.WITHDRAW, at=self.now[0], outcome="consent given again")
            withdrawn = RequestWithdrawn(
                previous=RequestState.FULFILLED,
                state=RequestState.WITHDRAWN,
                version=number,
                readmitted=tuple(sorted(live.forgotten - forgotten)),
            )
            tx.audit.append(withdrawn, at=self.now[0], actor="ada", model=self.name, request_id=request)
        return version

    def roll_back(self, number: int, reason: str = "") -> Version:
        """Roll back."""
        return roll_back(self.ledger, plan_rollback(self.ledger, self.name, number), reason)

    def later(self, days: float = 1) -> None:
        """Let time pass."""
        self.now[0] += timedelta(days=days)

    def record(self, version: Version, evaluator: str, metrics: dict[str, Any], against: str = "base") -> None:
        """Record evidence."""
        with self.ledger.database.write() as tx:
            evidence = Evidence(
                *(evaluator, f"eval_{evaluator}", "0.1.0", metrics, {"test images": 90}, "e" * 64, self.now[0]),
                Provenance(weights=version.weights, against=against),
            )
            model = tx.models.get(self.name)
            append_evidence(tx, model, version, evidence, actor="ada")

    def measure(self, version: Version) -> None:
        """Record plausible evidence of the three built-in evaluators."""
        with self.ledger.database.read() as tx:
            classes = len(tx.models.get(self.name).labels)
        self.record(version, "accuracy", self.accuracy(classes, version.forgotten))
        self.record(version, "confusion", self.confusion(classes, version.forgotten))
        shares: dict[str, float | None] = {"paper": 0.97, "salun": 0.9, "base_paper": 0.4, "base_salun": 0.02}
        self.record(version, "membership", shares if version.forgotten else dict.fromkeys(shares, None))

    def accuracy(self, classes: int, forgotten: frozenset[int]) -> dict[str, Any]:
        """Make up accuracies."""

        def split(*, before: bool) -> dict[str, Any]:
            draw = self.generator.uniform
            return {
                "per_class": [
                    draw(0.9, 1.0) if before else draw(0, 0.01) if k in forgotten else draw(0.8, 1.0)
                    for k in range(classes)
                ],
                "retained": 0.9,
                "forgotten": 0.0,
            }

        splits = {f"{'base_' if b else ''}{s}": split(before=b) for s in ("train", "test") for b in (True, False)}
        return {**splits, "retained_drop": 0.05}

    def confusion(self, classes: int, forgotten: frozenset[int]) -> dict[str, Any]:
        """Make up confusion matrices over thirty images of each class."""

        def matrix(*, before: bool) -> list[list[int]]:
            rows = [[0] * classes for _ in range(classes)]
            for k, row in enumerate(rows):
                for _ in range(30):
                    astray = self.generator.random() < 0.03 or (k in forgotten and not before)
                    row[self.generator.choice((k + 1, k + 2, k + 5, k * 7)) % classes if astray else k] += 1
            return rows

        return {"matrix": matrix(before=False), "base_matrix": matrix(before=True)}

    def recipe(self, forgotten: frozenset[int]) -> dict[str, Any]:
        """Make up how a version was computed."""
        trials: list[dict[str, Any]] = [
            {
                "solver": "projection",
                "depth": 3,
                "alpha_r": r,
                "alpha_f": f,
                "edit": 0.01 * f / r + 0.02 * f,
                "forgotten": max(0.0, 0.6 - f / 8),
                "passed": f >= 5,
                "retained": 0.95 - r / 1e4 if f == 5 else None,
            }
            for r in (30.0, 100.0)
            for f in (1.0, 3.0, 5.0, 10.0)
        ]
        return {
            "solver": "projection",
            "depth": 3,
            "layers": 5,
            "alpha_r": 100.0,
            "alpha_f": 5.0,
            "effective_alpha_f": 5.0 * max(1, len(forgotten)),
            "edit": 0.01 * 5 / 100 + 0.1,
            "maps": [
                {"key": key, "change": 0.02 * (i + 1), "retain_rank": 100 + i, "forget_rank": 60}
                for i, key in enumerate(MAPS)
            ],
            "search": {
                "retained": {"accuracy": 0.97, "confidence": 0.94},
                "base_retained": {"accuracy": 0.99, "confidence": 0.97},
                "forgotten": {str(k): {"accuracy": 0.0, "confidence": 0.01} for k in sorted(forgotten)},
                "trials": trials,
            },
            "class_spaces": {},
            "environment": {"torch": "2.6.0", "threads": 2},
        }

    def _version(
        self,
        model: Model,
        number: int,
        parent: int | None,
        kind: VersionKind,
        request: int | None,
        forgotten: frozenset[int],
        recipe: dict[str, Any],
    ) -> Version:
        weights = self.ledger.objects.put(_weights(forgotten))
        return Version(
            model.id, number, parent, kind, request, None, forgotten, weights, VersionRecipe(recipe), self.now[0]
        )

    def _terms(self, tx: Transaction, model: Model, forgotten: frozenset[int]) -> tuple[BasisTerm, ...]:
        terms = []
        for k in range(len(model.labels)):
            role, digest = (Role.FORGET if k in forgotten else Role.RETAIN), f"{k:064x}"
            maps = tuple(MapSummary(key, 64, 32 + i, 1000, 1.0, 1e-4) for i, key in enumerate(MAPS))
            samples = tuple(range(90 if k in forgotten else 10))
            spec = sha256_hex(f"{role}{k}".encode())
            space = NewClassSpace(model.id, k, spec, samples, "5" * 64, digest, 2_000_000, maps, self.now[0])
            stored = append_class_spaces(tx, model, [space], actor="ada")[0]
            terms.append(BasisTerm(role, k, stored.id))
        return tuple(terms)


def _weights(forgotten: frozenset[int]) -> bytes:
    """Return what stands in for the weights of a version."""
    return repr(sorted(forgotten)).encode()


def _size(version: Version) -> int:
    return len(_weights(version.forgotten))


NewSample = Callable[..., Sample]
