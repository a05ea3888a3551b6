"""Say of every parameter of a model whether it is edited, and why not."""

from ledger.networks.coverage import ParameterCoverage
from ledger.service.computation.workbench import open_workbench
from ledger.service.ledger import Ledger


def coverage(ledger: Ledger, model_name: str) -> list[ParameterCoverage]:
    """Say of every parameter of a model how it is treated."""
    return list(open_workbench(ledger, model_name).network.coverage)
