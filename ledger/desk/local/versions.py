"""Versions of models, rollback and purge, as documents."""

from datetime import datetime, timedelta

from ledger.desk.asked import ModelKey
from ledger.documents import models as documents
from ledger.documents.document import Document
from ledger.documents.requests import purge_document, rollback_document
from ledger.domain.moments import in_zone
from ledger.domain.versions import Version
from ledger.errors import NotFoundError
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.upkeep.purge import plan_purge, purge
from ledger.service.versions.model_history import ModelHistory, read_model_history
from ledger.service.versions.rollback import plan_rollback, roll_back

from .names import model_name


class LocalVersions:
    """Answers questions about versions, and carries out what changes which one is live.

    Args:
        ledger: The ledger.
        progress: Follows a purge.
    """

    def __init__(self, ledger: Ledger, progress: Progress) -> None:
        self._ledger = ledger
        self._progress = progress

    def all(self, model: ModelKey) -> Document:
        """Return a model's versions, each with its level of evidence.

        Raises:
            NotFoundError: There is no such model.
        """
        known = self._history(model)
        return documents.versions_document(known.model, known.versions, known.live.number, known.measured)

    def show(self, model: ModelKey, version: int) -> Document:
        """Return a model, one version of it, and the newest evidence on that.

        Raises:
            NotFoundError: There is no such model or version.
        """
        known = self._history(model)
        return documents.model_document(known, _version(known, version))

    def live_at(self, model: ModelKey, moment: datetime) -> Document:
        """Return the version that was live at a moment, as a list of one.

        Raises:
            NotFoundError: There is no such model, or it was not registered yet.
        """
        known = self._history(model)
        number = known.live_at(moment)
        if number is None:
            when = f"{in_zone(moment, self._ledger.config.zone):%Y-%m-%d %H:%M %Z}"
            raise NotFoundError(f"{known.model.name} was not yet registered at {when}")
        shown = [_version(known, number)]
        return documents.versions_document(known.model, shown, known.live.number, known.measured)

    def evidence(self, model: ModelKey, version: int | None = None) -> Document:
        """Return what was measured on a version's weights, and what was not; None asks about what is live.

        Raises:
            NotFoundError: There is no such model or version.
        """
        known = self._history(model)
        shown = known.live if version is None else _version(known, version)
        return documents.evidence_document(known.model, shown, known.measured[shown.number])

    def plan_rollback(self, model: ModelKey, to: int) -> Document:
        """Return what rolling back to a version would do, and what confirms that.

        Raises:
            NotFoundError: There is no such model or version.
            ConflictError: It is the live version, or has the same weights.
            PurgedError: Its weights were destroyed.
            ObjectError: The version's bytes are missing or altered.
        """
        return rollback_document(plan_rollback(self._ledger, model_name(self._ledger, model), to), None)

    def roll_back(self, model: ModelKey, to: int, confirmation: str, reason: str = "") -> Document:
        """Roll back as a plan says that somebody has seen.

        Raises:
            ConflictError: The ledger changed since the plan was made; besides what :meth:`plan_rollback` raises.
        """
        plan = plan_rollback(self._ledger, model_name(self._ledger, model), to)
        plan.require(confirmation)
        return rollback_document(plan, roll_back(self._ledger, plan, reason))

    def plan_purge(self, model: ModelKey, older_than: timedelta) -> Document:
        """Return what a purge would destroy, and what confirms that.

        Raises:
            NotFoundError: There is no such model.
            ConflictError: A version that would be kept knows a class again that the oldest of them has forgotten.
        """
        return purge_document(plan_purge(self._ledger, model_name(self._ledger, model), older_than), None)

    def purge(
        self, model: ModelKey, older_than: timedelta, confirmation: str, *, clock_is_right: bool = False
    ) -> Document:
        """Destroy what a plan says that somebody has seen, and whatever an interrupted purge left.

        Raises:
            ConflictError: The ledger changed since the plan was made, a request is being carried out, or the clock
                may be wrong and nobody says that it is right.
        """
        plan = plan_purge(self._ledger, model_name(self._ledger, model), older_than)
        plan.require(confirmation)
        destroyed = purge(self._ledger, plan, older_than, self._progress, clock_is_right=clock_is_right)
        return purge_document(plan, destroyed)

    def _history(self, model: ModelKey) -> ModelHistory:
        return read_model_history(self._ledger, model_name(self._ledger, model))


def _version(known: ModelHistory, number: int) -> Version:
    found = [version for version in known.versions if version.number == number]
    if not found:
        raise NotFoundError(f"{known.model.name} has no version {number}", f"its last is {known.versions[-1].number}")
    return found[0]
