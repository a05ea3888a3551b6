"""The interface between the queue and the computation of weights. Importing it does not import torch.

The queue, the commit and the rollback handle digests only. Anything that computes weights can implement
:data:`OpenModel`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.versions.proposal import Proposal

if TYPE_CHECKING:
    from .workbench import Workbench

Compute = Callable[[frozenset[int], Progress, tuple[str, ...]], Proposal]
"""Computes and stores the weights that have forgotten a set of classes, by solvers that a person named, if any."""
OpenModel = Callable[[Ledger, str], Compute]
"""Opens a model for computation, by name."""


def open_unlearning(ledger: Ledger, model_name: str) -> Compute:
    """Open a model for the computation that this package implements: edits by the solvers of its settings.

    A set that an earlier version has the weights for is not computed again.

    Raises:
        NotFoundError: There is no such model.
    """
    # Imported here: importing torch takes seconds, and a worker without work does not need it.
    from .workbench import open_workbench

    return unlearning_on(open_workbench(ledger, model_name))


def unlearning_on(workbench: "Workbench") -> Compute:
    """Return the computation of :func:`open_unlearning` on a model that is opened already."""
    from .decided_solvers import decided_solvers
    from .reuse import earlier_result
    from .unlearning import propose

    def compute(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Proposal:
        bench = workbench.with_solvers(solvers or decided_solvers(workbench, forgotten))
        return earlier_result(bench, forgotten, progress) or propose(bench, forgotten, progress)

    return compute


def open_unlearning_afresh(ledger: Ledger, model_name: str) -> Compute:
    """Open a model like :func:`open_unlearning`, but compute every set, also one that was computed before.

    Raises:
        NotFoundError: There is no such model.
    """
    from .unlearning import propose
    from .workbench import open_workbench

    workbench = open_workbench(ledger, model_name)
    return lambda forgotten, progress, solvers: propose(workbench.with_solvers(solvers or None), forgotten, progress)
