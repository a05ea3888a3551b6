"""Class spaces that are kept although the images they were collected from moved, were renumbered or are gone."""

import numpy as np

from ledger.domain.class_spaces import ClassSpace
from ledger.domain.data_record import ClassRecord
from ledger.images.sampling import choose_samples
from ledger.store.unit_of_work import Transaction

from .class_space_collection import Specs, combined_specs, content_specs
from .workbench import Workbench


def find_kept(tx: Transaction, workbench: Workbench, class_index: int, count: int, *, full: bool) -> ClassSpace | None:
    """Return a stored class space that was collected from a class's images as its record knows them.

    Of a class whose images are there, only a space of just so many images counts. Of one whose images are gone, the one
    with the nearest number does: there will be no other.

    Args:
        tx: A transaction.
        workbench: The model.
        class_index: The class.
        count: Number of images wanted.
        full: Return one that holds means and a prediction. Else, one that an earlier release stored without them.
    """
    if not workbench.model.data.classes:
        return None
    known = workbench.model.data.classes[class_index]
    if not known.gone and known.term is None:
        return None
    of_content = _specs_of_content(workbench, class_index, known)
    kept = []
    for one in (one for one in tx.class_spaces.all(workbench.model) if one.class_index == class_index):
        specs = list(of_content)
        if known.term is not None:
            specs.append(combined_specs(workbench, known.term, one.samples))
        if one.spec_digest in [each.full if full else each.bare for each in specs]:
            kept.append(one)
    if not known.gone:
        kept = [one for one in kept if len(one.samples) == count]
    return min(kept, key=lambda one: (abs(len(one.samples) - count), one.id), default=None)


def _specs_of_content(workbench: Workbench, class_index: int, known: ClassRecord) -> list[Specs]:
    if not known.train_images:
        return []
    samples = choose_samples(np.full(known.train_images, class_index), class_index, workbench.model.settings)
    return [content_specs(workbench, known.train, places) for places in (samples.retain, samples.forget)]
