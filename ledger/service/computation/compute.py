"""The interface between the queue and the computation of weights. Importing it does not import torch.

The queue, the commit and the rollback handle digests only. Anything that computes weights can implement
:data:`OpenModel`.
"""

from collections.abc import Callable

from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.versions.proposal import Proposal

Compute = Callable[[frozenset[int], Progress], Proposal]
"""Computes and stores the weights that have forgotten a set of classes."""
OpenModel = Callable[[Ledger, str], Compute]
"""Opens a model for computation, by name."""


def open_unlearning(ledger: Ledger, model_name: str) -> Compute:
    """Open a model for the computation that this package implements: edits by the solvers of its settings.

    A set that an earlier version has the weights for is not computed again.

    Raises:
        NotFoundError: There is no such model.
    """
    # Imported here: importing torch takes seconds, and a worker without work does not need it.
    from .reuse import earlier_result
    from .unlearning import propose
    from .workbench import open_workbench

    workbench = open_workbench(ledger, model_name)
    return lambda forgotten, progress: (
        earlier_result(workbench, forgotten, progress) or propose(workbench, forgotten, progress)
    )


def open_unlearning_afresh(ledger: Ledger, model_name: str) -> Compute:
    """Open a model like :func:`open_unlearning`, but compute every set, also one that was computed before.

    Raises:
        NotFoundError: There is no such model.
    """
    from .unlearning import propose
    from .workbench import open_workbench

    workbench = open_workbench(ledger, model_name)
    return lambda forgotten, progress: propose(workbench, forgotten, progress)
