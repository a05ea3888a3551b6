"""Read the weights of a version, for whoever computes with them outside of the ledger."""

from torch import Tensor

from ledger.service.ledger import Ledger

from .workbench import open_workbench


def version_weights(ledger: Ledger, model_name: str, number: int | None) -> dict[str, Tensor]:
    """Return a version's weights by name, verified against what is recorded of it.

    Args:
        ledger: The ledger.
        model_name: The model.
        number: The version; None for the live one.

    Raises:
        NotFoundError: There is no such model or version.
        RowError: A row is not what the audit log says.
        PurgedError: The weights were destroyed.
        ObjectError: They are missing or altered.
    """
    bench = open_workbench(ledger, model_name)
    with ledger.database.read() as tx:
        found = tx.versions.live(bench.model) if number is None else tx.versions.get(bench.model, number)
        tx.trusted.versions(bench.model.name, frozenset({found.number}))
    return bench.weights(found)
