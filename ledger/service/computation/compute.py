"""Who computes new weights: a function that is opened for a model, known without torch.

The queue, the commit and the rollback deal in digests. Whatever computes weights can stand behind :data:`OpenModel`.
"""

from collections.abc import Callable

from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.versions.proposal import Proposal

Compute = Callable[[frozenset[int], Progress], Proposal]
"""Computes and stores the weights that have forgotten a set of classes."""
OpenModel = Callable[[Ledger, str], Compute]
"""Lays a model out for computation, by name."""


def open_unlearning(ledger: Ledger, model_name: str) -> Compute:
    """Compute by projection, as this package exists to do."""
    # Imported here: torch takes seconds, and a worker without work does without.
    from .unlearning import propose
    from .workbench import open_workbench

    workbench = open_workbench(ledger, model_name)
    return lambda forgotten, progress: propose(workbench, forgotten, progress)
