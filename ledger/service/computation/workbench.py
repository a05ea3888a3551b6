"""A model laid out for work: its network with the registered weights, its images, and its class spaces."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ledger.digest import json_digest, sha256_hex
from ledger.domain.class_spaces import ClassSpace
from ledger.domain.models import Model
from ledger.domain.versions import Version
from ledger.errors import BlobError, DataError
from ledger.hookspecs import DataSource, Split
from ledger.images import loading
from ledger.images.relabelled import RelabelledSource
from ledger.images.sampling import ClassSamples, choose_samples
from ledger.networks.device import choose_device
from ledger.networks.network import Network, build_network
from ledger.service.ledger import Ledger
from ledger.service.objects import store_object
from ledger.service.progress import Progress, counted
from ledger.service.versions.availability import require_served
from ledger.spaces import files
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler
from ledger.store.unit_of_work import Transaction
from ledger.weights import tensor_files


@dataclass(frozen=True)
class CollectedSpace:
    """A class space with its factors at hand."""

    record: ClassSpace
    spaces: files.Spaces
    """By key of a group of maps."""


@dataclass
class Workbench:
    """Everything that stays the same while one model is worked on.

    Args:
        ledger: The ledger.
        model: The registered model.
        base: The version that computations start from: 0, or the one that the last purge left as the oldest.
    """

    ledger: Ledger
    model: Model
    base: Version

    @cached_property
    def network(self) -> Network:
        """The network, holding the registered weights."""
        network = build_network(self.ledger.plugins, self.model.architecture, len(self.model.labels))
        network.load(self.base_state, f"version {self.base.number} of {self.model.name}")
        network.find_layers(loading.load_images(self.source.train, [0], self.model.preprocessing))
        network.move(self.device)
        return network

    @cached_property
    def device(self) -> torch.device:
        """Where to compute."""
        return choose_device(self.ledger.device)

    @cached_property
    def base_state(self) -> dict[str, Tensor]:
        """The weights that computations start from: the registered ones, until a purge."""
        return self.weights(self.base)

    @cached_property
    def source(self) -> DataSource:
        """The images.

        Raises:
            DataError: They are not what they were when the model was registered.
        """
        source = self.ledger.plugins.data_source(self.model.data_spec)
        if source.digest != self.model.data_digest:
            raise DataError(
                f"the data of {self.model.name} ({self.model.data_spec}) changed since it was registered",
                "restore it, or register the model again with the data as it is now; after a purge: model rebind",
            )
        labels = self.model.labels.labels
        return source if tuple(source.labels) == labels else RelabelledSource(source, labels)

    def weights(self, version: Version) -> dict[str, Tensor]:
        """Return a version's weights, verified against its digest.

        Raises:
            PurgedError: They were destroyed.
        """
        require_served(self.model, version)
        source = f"version {version.number} of {self.model.name}"
        return tensor_files.parse(self.ledger.blobs.get(version.weights), source)

    @cached_property
    def train_labels(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """Class index of every training image, int64: asked for once a class, so made an array once."""
        return np.asarray(self.source.train.labels, dtype=np.int64)

    def samples(self, class_index: int) -> ClassSamples:
        """Return which training images of a class are used for what."""
        return choose_samples(self.train_labels, class_index, self.model.settings)

    def batches(self, split: Split, indices: Sequence[int]) -> Iterable[Tensor]:
        """Yield preprocessed images of a split."""
        return loading.iterate(split, indices, self.model.preprocessing, self.model.settings.batch_size)

    def class_spaces(
        self, forgotten: frozenset[int], progress: Progress, *, keep: bool = True
    ) -> Iterator[CollectedSpace]:
        """Yield every class's space, in class order, collecting those not yet in the ledger.

        Classes that the base version has forgotten have none: nothing of them is needed any more. Spaces are read one
        by one: those of a thousand classes need not be held together.

        Args:
            forgotten: Classes whose forget samples are wanted; of the others, the retain samples.
            progress: Counts classes: first those to collect, where there are any, then all.
            keep: Store what had to be collected, each as soon as it is there, so that interrupted work
                continues where it stopped and later requests find it.
        """
        classes = [k for k in range(len(self.model.labels)) if k not in self.base.forgotten]
        wanted = {k: self._wanted(k, forgotten=k in forgotten) for k in classes}
        if keep:
            self._collect_missing(wanted, progress)
        progress.phase("class spaces", len(classes))
        for k in counted(progress, classes):
            yield self._class_space(k, *wanted[k], keep=keep)

    def _wanted(self, class_index: int, *, forgotten: bool) -> tuple[tuple[int, ...], str]:
        """Return the images of a class, and the digest of what its space shall be."""
        chosen = self.samples(class_index)
        images_of = chosen.forget if forgotten else chosen.retain
        return images_of, self._spec_digest(images_of)

    def _collect_missing(self, wanted: Mapping[int, tuple[tuple[int, ...], str]], progress: Progress) -> None:
        """Collect and store what the ledger has not, each class on its own."""
        with self.ledger.database.read() as tx:
            found = {k: self._known(tx, k, digest) for k, (_, digest) in wanted.items()}
        missing = [k for k, (known, _) in found.items() if known is None]
        if missing:
            progress.phase("collect", len(missing))
        for k in counted(progress, missing):
            self._keep(*self._collect(k, wanted[k][0], found[k][1]), again=False)

    def _known(self, tx: Transaction, class_index: int, digest: str) -> tuple[ClassSpace | None, str]:
        """Return a class's space if there is one for all that is read now, and the digest it has or shall have."""
        known = tx.spaces.find(self.model, class_index, digest)
        if known is not None and not files.covers(known, self.network.map_groups):
            # Collected before there were handlers for all the layers that are read now; whoever used it keeps it.
            digest = json_digest({"spec": digest, "maps": sorted(m.key for m in self.network.maps)})
            known = tx.spaces.find(self.model, class_index, digest)
        return known, digest

    def _class_space(self, class_index: int, images_of: Sequence[int], digest: str, *, keep: bool) -> CollectedSpace:
        with self.ledger.database.read() as tx:
            known, digest = self._known(tx, class_index, digest)
        if known is not None and (stored := self._stored(known.blob)) is not None:
            return self._loaded(known, stored)
        record, data = self._collect(class_index, images_of, digest)
        return self._loaded(self._keep(record, data, again=known is not None) if keep else record, data)

    def _loaded(self, record: ClassSpace, data: bytes) -> CollectedSpace:
        """Read the spaces from their stored form, also right after collecting them: the same bytes either way."""
        return CollectedSpace(record, files.parse(data, record, self.network.map_groups))

    def _stored(self, digest: str) -> bytes | None:
        """Return a class space's bytes; None if they are missing or damaged, since images can be looked at again."""
        try:
            return self.ledger.blobs.get(digest)
        except BlobError:
            return None

    def _spec_digest(self, wanted: Sequence[int]) -> str:
        """Digest of everything that decides a class space's bytes, beside the machine."""
        settings = self.model.settings
        return json_digest(
            {
                "weights": self.base.weights,
                "data": self.model.data_digest,
                "samples": list(wanted),
                "seed": settings.seed,
                "rows_per_class": settings.rows_per_class,
                "max_rank": settings.max_rank,
                "space_tolerance": settings.space_tolerance,
                "batch_size": settings.batch_size,
            }
            | ({"anchor": self.base.number} if self.base.number else {})
        )

    def _collect(self, class_index: int, wanted: Sequence[int], spec_digest: str) -> tuple[ClassSpace, bytes]:
        settings = self.model.settings
        sampler = PositionSampler(settings.seed, class_index, math.ceil(settings.rows_per_class / len(wanted)))
        seen = hashlib.sha256()
        batches = loading.digest_while(self.batches(self.source.train, wanted), seen)
        spaces = collect_spaces(
            self.network, batches, sampler, max_rank=settings.max_rank, tolerance=settings.space_tolerance
        )
        data = files.serialise(spaces)
        record = ClassSpace(
            id=0,
            model_id=self.model.id,
            class_index=class_index,
            spec_digest=spec_digest,
            samples=tuple(wanted),
            samples_digest=seen.hexdigest(),
            blob=sha256_hex(data),
            size=len(data),
            maps=files.summaries(spaces),
            created_at=self.ledger.clock(),
            anchor=self.base.number,
        )
        return record, data

    def _keep(self, record: ClassSpace, data: bytes, *, again: bool) -> ClassSpace:
        store_object(self.ledger, data)
        with self.ledger.database.write() as tx:
            tx.spaces.add_blob(record.blob, record.size, "class space", at=record.created_at)
            stored = tx.spaces.renew(record) if again else tx.spaces.add(record)
            tx.audit.append(
                "class_space.collected",
                at=record.created_at,
                actor=self.ledger.actor,
                model=self.model.name,
                data={
                    "class": record.class_index,
                    "images": len(record.samples),
                    "samples": record.samples_digest,
                    "spec": record.spec_digest,
                    "blob": record.blob,
                },
            )
        return stored


def open_workbench(ledger: Ledger, model_name: str) -> Workbench:
    """Lay a model out for work.

    Raises:
        NotFoundError: There is no such model.
    """
    with ledger.database.read() as tx:
        model = tx.models.get(model_name)
        return Workbench(ledger, model, tx.versions.get(model, model.anchor))


def environment(device: torch.device) -> dict[str, object]:
    """Return what besides the inputs decides the last bits of a result."""
    from importlib.metadata import version

    return {
        "unledger": version("unledger"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }
