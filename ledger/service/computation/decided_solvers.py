"""Which solvers compute a set of classes: those that a person named for it, else those of the model.

A person may have a request that was blocked computed by other solvers. The choice belongs to the set of classes that
the version has forgotten, and its recipe records it. So it holds whenever the model is to forget just that set again,
after a withdrawal or a rollback for example, and for no other set (``docs/adr/0018-solvers-of-a-set.md``).
"""

from .workbench import Workbench


def decided_solvers(workbench: Workbench, forgotten: frozenset[int]) -> tuple[str, ...] | None:
    """Return the solvers that were named for a set; None if those of the model compute it.

    The newest version that has forgotten just this set decides, purged or not.

    Raises:
        AuditError: The audit log does not verify.
        RowError: A row of the model is not as the audit log says.
    """
    model = workbench.model
    with workbench.ledger.database.read() as tx:
        tx.trusted.forgetting(model.name, forgotten)
        versions = [v for v in tx.versions.all(model) if v.forgotten == forgotten and v.recipe.computed]
        if not versions:
            return None
        tx.trusted.versions(model.name, frozenset({versions[-1].number}))
    return versions[-1].recipe.named_solvers
