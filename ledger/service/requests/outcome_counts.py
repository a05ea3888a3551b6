"""Count on the test images what computed weights recognise, before they are anybody's version."""

import numpy as np

from ledger.domain.models import Model
from ledger.domain.registered_accuracy import Count
from ledger.evaluator_input import NetworkRole
from ledger.service.computation.measured_images import ImageBounds
from ledger.service.computation.workbench import open_workbench
from ledger.service.evidence.examination import Examination, NamedWeights
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.weights import tensor_files


def recognised_by(ledger: Ledger, model: Model, weights: str, progress: Progress) -> dict[int, Count]:
    """Return the test images of each class, and how many of them stored weights recognise.

    Args:
        ledger: The ledger.
        model: The model.
        weights: Digest of the weights.
        progress: Told about phases.
    """
    bench = open_workbench(ledger, model.name)
    named = NamedWeights(weights, tensor_files.parse(ledger.objects.get(weights), "the computed weights"))
    examination = Examination(bench, {NetworkRole.VERSION: named}, ImageBounds(train=1), progress)
    test = examination.networks[NetworkRole.VERSION].test
    correct = test.probabilities.argmax(axis=1) == test.labels
    return {
        int(k): Count(int(np.count_nonzero(test.labels == k)), int(np.count_nonzero(correct & (test.labels == k))))
        for k in np.unique(test.labels)
    }
