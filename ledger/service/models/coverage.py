"""Say of every parameter of a model whether it is edited, and why not."""

from ledger.images.loading import load_images
from ledger.networks.coverage import ParameterCoverage
from ledger.service.computation.workbench import open_workbench
from ledger.service.ledger import Ledger


def coverage(ledger: Ledger, model_name: str) -> list[ParameterCoverage]:
    """Say of every parameter of a model how it is treated."""
    bench = open_workbench(ledger, model_name)
    return bench.network.coverage(load_images(bench.source.train, [0], bench.model.preprocessing))
