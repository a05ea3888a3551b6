"""Class spaces that are kept although the images they were collected from moved, were renumbered or are gone."""

import numpy as np

from ledger.domain.class_spaces import ClassSpace
from ledger.domain.data_record import ClassRecord
from ledger.images.sampling import choose_samples
from ledger.store.unit_of_work import Transaction

from .class_space_collection import content_spec, earlier_spec
from .workbench import Workbench


def find_kept(tx: Transaction, workbench: Workbench, class_index: int, count: int) -> ClassSpace | None:
    """Return a stored class space that was collected from a class's images as its record knows them.

    Of a class whose images are there, only a space of just so many images counts. Of one whose images are gone, the one
    with the nearest number does: there will be no other.

    Args:
        tx: A transaction.
        workbench: The model.
        class_index: The class.
        count: Number of images wanted.
    """
    if not workbench.model.data.classes:
        return None
    known = workbench.model.data.classes[class_index]
    if not known.gone and known.term is None:
        return None
    stored = [one for one in tx.class_spaces.all(workbench.model) if one.class_index == class_index]
    specs = _specs_of_content(workbench, class_index, known)
    kept = [one for one in stored if one.spec_digest in specs or _was_collected_under(workbench, known.term, one)]
    if not known.gone:
        kept = [one for one in kept if len(one.samples) == count]
    return min(kept, key=lambda one: (abs(len(one.samples) - count), one.id), default=None)


def _specs_of_content(workbench: Workbench, class_index: int, known: ClassRecord) -> frozenset[str]:
    if not known.train_images:
        return frozenset()
    samples = choose_samples(np.full(known.train_images, class_index), class_index, workbench.model.settings)
    return frozenset(content_spec(workbench, known.train, places) for places in (samples.retain, samples.forget))


def _was_collected_under(workbench: Workbench, term: str | None, stored: ClassSpace) -> bool:
    return term is not None and stored.spec_digest == earlier_spec(workbench, term, stored.samples)
