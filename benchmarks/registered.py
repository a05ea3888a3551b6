"""A network in a fresh ledger, made to forget by real requests: what several benchmarks start from."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ledger.config import create_config
from ledger.domain.requests import NewRequest
from ledger.domain.states import RequestState
from ledger.domain.versions import Version
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.progress import Progress, Silent
from ledger.service.requests.filing import enqueue
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.weights import tensor_files


class Refused(SystemExit):
    """A request brought no version, for example because of a gate."""


class Registered:
    """A fresh ledger with a network registered in it.

    Args:
        folder: A new folder for the ledger.
        registration: What is registered.
    """

    def __init__(self, folder: Path, registration: Registration) -> None:
        self.name = registration.name
        self.ledger: Ledger = create_ledger(create_config(folder, "sqlite:///ledger.db", "objects"), "bench")
        register(self.ledger, registration)
        self.bench: Workbench = open_workbench(self.ledger, self.name)

    def forget(self, classes: Iterable[int], progress: Progress | None = None) -> Version:
        """File a request and carry it out; return the version that did it.

        Raises:
            Refused: No version came of it.
        """
        enqueue(self.ledger, self.name, [NewRequest(frozenset(classes), "bench")])
        [outcome] = work(self.ledger, progress or Silent(), open_model=open_unlearning_afresh)
        if outcome.version is None:
            raise Refused(f"request {outcome.request.id} is {outcome.request.state.value}: {outcome.request.outcome}")
        return outcome.version

    def withdraw_last(self) -> None:
        """Withdraw the newest fulfilled request."""
        with self.ledger.database.read() as tx:
            newest = tx.requests.all(self.bench.model, [RequestState.FULFILLED])[-1]
        withdraw(self.ledger, newest.id, "benchmark", Silent(), open_model=open_unlearning_afresh)

    def state(self, version: Version) -> dict[str, Tensor]:
        """Return a version's weights."""
        return tensor_files.parse(self.ledger.objects.get(version.weights), f"version {version.number}")

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()
