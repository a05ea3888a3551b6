"""A model opened for computation: its network with the anchor weights, and its images."""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ledger.domain.command_lines import RETRY_FAILED
from ledger.domain.models import Model
from ledger.domain.settings import Settings
from ledger.domain.versions import Version
from ledger.errors import CodeError, UsageError
from ledger.hookspecs import DataSource, Split
from ledger.images import loading
from ledger.images.relabelled import RelabelledSource
from ledger.images.sampling import ClassSamples, choose_samples
from ledger.networks.network import Network
from ledger.networks.opening import open_network
from ledger.service.ledger import Ledger
from ledger.service.versions.availability import require_available
from ledger.store.unit_of_work import Transaction
from ledger.units.model_card import ModelCard
from ledger.weights import tensor_files

from .pinning import pin_threads, pinned_device
from .registered_data import open_registered


@dataclass
class Workbench:
    """What stays the same while a model is worked on; each part is loaded when first needed.

    Args:
        ledger: The ledger.
        model: The registered model.
        anchor: The version that computations start from: version 0, or the oldest one that the last purge left.
        named_solvers: Solvers that a person named in the place of those of the model; None if nobody did.
        card: What opens the network elsewhere, once units need it (:mod:`.model_cards`).
    """

    ledger: Ledger
    model: Model
    anchor: Version
    named_solvers: tuple[str, ...] | None = None
    card: ModelCard | None = None

    @property
    def settings(self) -> Settings:
        """The settings of the model, with the solvers that compute."""
        settings = self.model.settings
        return settings if self.named_solvers is None else replace(settings, solvers=self.named_solvers)

    def with_solvers(self, named: tuple[str, ...] | None) -> "Workbench":
        """Return this workbench, everything that is loaded included, for a computation by other solvers."""
        if named == self.named_solvers:
            return self
        other = copy(self)
        other.named_solvers = named
        return other

    @cached_property
    def network(self) -> Network:
        """The network, holding the anchor weights.

        Raises:
            CodeError: The code that builds it is not what was registered, or not where it was.
        """
        device = self.device
        try:
            return open_network(
                self.ledger.plugins,
                self.model.architecture,
                len(self.model.labels),
                self.anchor_state,
                lambda _: loading.load_images(self.source.train, [0], self.model.preprocessing),
                source=f"version {self.anchor.number} of {self.model.name}",
                accept=self._require_registered_code,
                device=device,
            )
        except UsageError as error:
            # Nothing was wrong with what this command was asked: the architecture could be built once.
            raise CodeError(
                f"the network of {self.model.name} cannot be built any more: {error.message}",
                f"if its code moved, say where it is: unledger model rebind {self.model.name} --arch FILE.py:factory, "
                f"and {RETRY_FAILED}",
            ) from error

    def _require_registered_code(self, network: Network) -> None:
        with self.ledger.database.read() as tx:
            registered = registered_code(tx, self.model)
        if registered is not None and network.code_path and network.code_digest != registered:
            name = self.model.name
            raise CodeError(
                f"the code that builds the network of {name} changed since it was registered: {network.code_path} and "
                f"the modules that it imports have digest {network.code_digest}, registered is {registered}",
                f"restore the code as it was, or accept it as it is now: unledger model rebind {name} "
                f"--accept-changes REASON, and {RETRY_FAILED}",
            )

    @cached_property
    def device(self) -> torch.device:
        """Where to compute.

        Raises:
            UsageError: There is no such device here.
            RetryLaterError: The model is computed on CUDA, and this machine has none.
        """
        return pinned_device(self.ledger, self.model)

    @cached_property
    def anchor_state(self) -> dict[str, Tensor]:
        """The anchor weights, by name."""
        return self.weights(self.anchor)

    @cached_property
    def starts_from_registered(self) -> bool:
        """Whether the anchor weights are the registered ones: after a purge, only if a rollback brought them back."""
        with self.ledger.database.read() as tx:
            return tx.versions.get(self.model, 0).weights == self.anchor.weights

    @cached_property
    def source(self) -> DataSource:
        """The images.

        Raises:
            DataError: They are not those that the model's results rest on.
        """
        source = open_registered(self.ledger, self.model, self.anchor)
        labels = self.model.labels.labels
        return source if tuple(source.labels) == labels else RelabelledSource(source, labels)

    def weights(self, version: Version) -> dict[str, Tensor]:
        """Return a version's weights by name, verified against its digest.

        Raises:
            PurgedError: They were destroyed.
        """
        require_available(self.model, version)
        source = f"version {version.number} of {self.model.name}"
        return tensor_files.parse(self.ledger.objects.get(version.weights), source)

    @cached_property
    def train_labels(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """int64 (n,): class index of every training image. An array, since each class searches it."""
        return np.asarray(self.source.train.labels, dtype=np.int64)

    @property
    def gone(self) -> frozenset[int]:
        """Classes whose images are no longer there, though their class spaces are needed."""
        return self.model.data.gone - self.anchor.forgotten

    @cached_property
    def measured(self) -> frozenset[int]:
        """Classes that some version was measured to have forgotten, on images of theirs."""
        with self.ledger.database.read() as tx:
            versions = tx.versions.all(self.model)
        return frozenset(k for version in versions for k in version.recipe.forgotten)

    def samples(self, class_index: int) -> ClassSamples:
        """Return which training images of a class are used for what."""
        return choose_samples(self.train_labels, class_index, self.model.settings)

    def batches(self, split: Split, indices: Sequence[int]) -> Iterable[Tensor]:
        """Yield preprocessed images of a split, float32 (n, channels, height, width), in batches."""
        return loading.iterate(split, indices, self.model.preprocessing, self.model.settings.batch_size)


def registered_code(tx: Transaction, model: Model) -> str | None:
    """Return the digest of the code that builds a model's network: as accepted since, or as registered.

    None if an earlier release registered the model.
    """
    return model.code_digest or tx.versions.get(model, 0).recipe.code


def open_workbench(ledger: Ledger, model_name: str) -> Workbench:
    """Open a model for computation, on the number of threads that is pinned for it.

    Raises:
        NotFoundError: There is no such model.
        RowError: A row of the model is not what the audit log says.
    """
    with ledger.database.read() as tx:
        model = tx.models.get(model_name)
        tx.trusted.current(model.name)
        anchor = tx.versions.get(model, model.anchor)
    pin_threads(ledger, model)
    return Workbench(ledger, model, anchor)
