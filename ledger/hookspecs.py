"""The extension points. Every hook is prefixed ``unledger_``; built-ins use these same hooks.

A plugin is a module (or object) with functions of these names, decorated with ``hookimpl``, and
announced through the entry-point group ``unledger``. All hooks are asked when a command needs them,
never at import. Importing this module does not import torch.

Exceptions: a :class:`~ledger.errors.LedgerError` raised by a plugin reaches the user as it is; any
other exception is reported as a :class:`~ledger.errors.PluginError` that names the plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pluggy

from ledger.evaluator_input import (
    Depth as Depth,
)
from ledger.evaluator_input import (
    EvaluationInput as EvaluationInput,
)
from ledger.evaluator_input import (
    ExaminedNetwork as ExaminedNetwork,
)
from ledger.evaluator_input import (
    NetworkRole as NetworkRole,
)
from ledger.evaluator_input import (
    Outputs as Outputs,
)
from ledger.evaluator_input import (
    SplitName as SplitName,
)
from ledger.exporter import (
    Exporter as Exporter,
)
from ledger.exporter import (
    LiveFacts as LiveFacts,
)
from ledger.exporter import (
    LiveVersion as LiveVersion,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ledger.algebra.map_factors import MapFactors
    from ledger.algebra.strength import Strength
    from ledger.domain.data_record import DataOptions, SourceContents
    from ledger.domain.linear_map import LinearMap
    from ledger.domain.settings import Preprocessing

PROJECT = "unledger"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# -- values that plugins return or receive -----------------------------------------------------------


@dataclass(frozen=True)
class LoadedModel:
    """A freshly built network, before the ledger loads weights into it."""

    module: nn.Module
    preprocessing: Preprocessing | None
    """What the architecture expects, where the loader knows it."""
    code_digest: str
    """SHA-256 of the source that defines the network, or its library's name and version."""
    code_path: str = ""
    """File of that source, if it may be edited by whoever registers the model: other code than what was registered is
    refused. Empty for the code of a library, whose version every result records."""


@dataclass(frozen=True)
class PublishedModel:
    """What a folder or a repository says of the network whose weights it holds."""

    architecture: str
    """What builds it, as ``--arch`` names it: that is recorded, so the folder is not needed again."""
    options: Mapping[str, Any]
    """Arguments of its builder."""
    weights: Path | None
    """A safetensors file; None if there is none."""
    description: Path
    """A JSON file with its preprocessing and perhaps its labels, of the kinds that ``--preprocessing`` and ``--labels``
    read."""
    origin: str
    """Where it comes from, as people are told."""
    without_weights: str = ""
    """Why there are no weights."""
    way_on: str = ""
    """What to do about that."""


@dataclass(frozen=True)
class RecognisedArchitecture:
    """An architecture whose weights have given names and shapes."""

    spec: str
    """As ``--arch`` names it."""
    options: Mapping[str, Any]
    """Arguments that its builder needs to make weights of these shapes."""
    classes: int
    """Number of its outputs."""


class Split(Protocol):
    """One part (train or test) of a data source."""

    @property
    def labels(self) -> Sequence[int]:
        """Class index of each image."""
        ...

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Return images as float32 in [0, 1], shape (n, channels, height, width), not yet normalised.

        Raises:
            DataError: An image cannot be read; the message names it.
        """
        ...


@runtime_checkable
class FittingSplit(Protocol):
    """A split that does not fit images to the network as it is asked to, and says so."""

    def applied(self, preprocessing: Preprocessing) -> Preprocessing:
        """Return what it really does; that is recorded with the model, and exported."""
        ...


class DataSource(Protocol):
    """Labelled images, split in a training and a test part."""

    @property
    def labels(self) -> Sequence[str]:
        """Class labels, in the order of the indices in ``Split.labels``."""
        ...

    @property
    def train(self) -> Split:
        """What the model was trained on."""
        ...

    @property
    def test(self) -> Split:
        """What it was not trained on; never used to choose anything."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of what the source consists of: it changes when an image or a label does."""
        ...


class DigestedSource(DataSource, Protocol):
    """A data source that can say of each class what it consists of: so a change is known to concern one class."""

    @property
    def earlier_digest(self) -> str:
        """The digest that releases before this protocol stated for the source."""
        ...

    def contents(self, begin: Callable[[int], Callable[[], None]], *, check: bool = False) -> SourceContents:
        """Return the digests of each class. What was read before and has not changed since is not read again.

        Args:
            begin: Called with the number of images that have to be read; returns what to call after each of them.
            check: Also decode every image, once, and name those that cannot be read.
        """
        ...


class RowSampler(Protocol):
    """Chooses at which output positions of a feature map the input rows are read."""

    def positions(self, key: str, images: int, available: int) -> Tensor | None:
        """Return flat position indices of shape (images, p), or None for all ``available`` positions."""
        ...


class GroupedRows(Mapping[str, "Tensor"]):
    """Input rows of maps of one shape, as one tensor: what :meth:`LayerHandler.input_rows` may return of many maps.

    It reads like any other mapping of map keys to rows, without a tensor for each being made first.

    Args:
        maps: The maps, in order.
        stacked: Their rows, (g, n, i).
    """

    def __init__(self, maps: Sequence[LinearMap], stacked: Tensor) -> None:
        self.maps = tuple(maps)
        self.stacked = stacked
        self._places: dict[str, int] = {}

    def __getitem__(self, key: str) -> Tensor:
        """Return one map's rows (n, i)."""
        if not self._places:
            self._places = {linear_map.key: index for index, linear_map in enumerate(self.maps)}
        return self.stacked[self._places[key]]

    def __iter__(self) -> Iterator[str]:
        """Yield the maps' keys."""
        return (linear_map.key for linear_map in self.maps)

    def __len__(self) -> int:
        """Return the number of maps."""
        return len(self.maps)


class LayerHandler(Protocol):
    """Knows one kind of layer: its linear maps and what flows into them.

    A layer may be a module with others inside; it may claim their weights even if it never calls them. Where several
    layers claim the same rows of one parameter, they share one map, which sees the inputs of all. A weight that torch
    computes of other parameters (``torch.nn.utils.parametrize``) is named as if it were held.
    """

    @property
    def module_type(self) -> type[nn.Module]:
        """The layer class. The most specific handler in a layer's method resolution order wins."""
        ...

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return the linear maps of a layer called ``name``; none if others read what flows into it.

        Raises:
            UnsupportedLayerError: This instance uses an option the handler does not cover.
        """
        ...

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return the input rows (n, i) of each map, by its key, for one call of the layer.

        Rows stand in the order of the images. Of many maps of one shape, :class:`GroupedRows` is faster.

        Args:
            maps: What :meth:`linear_maps` returned for this layer.
            module: The layer.
            inputs: What it was called with, in the order of its forward's parameters, defaults filled in.
            sampler: Chooses positions where a layer has many.
        """
        ...


class Solver(Protocol):
    """Computes the edit of one linear map from its retain and forget spaces.

    A solver with an attribute ``batched = True`` also takes maps of one shape at once: all tensors then have a leading
    dimension ``g``. Without it, the groups of a convolution are solved one by one.

    A solver with an attribute ``needs_means = True`` computes with the means and masked predictions of classes. Class
    spaces that an earlier release stored without them are then collected again. A retained class whose images are gone
    by then has none: the solver has to do without it.
    """

    @property
    def name(self) -> str:
        """What users call it, and what a version records."""
        ...

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        """Return what to add to the weight, float32 (o, i).

        Must be a function of its arguments alone: the weights of a version depend on the set of forgotten
        classes, not on what was computed before.

        Args:
            factors: The weight, factors of both spaces, and products that all strengths share.
            strength: The two alphas, larger meaning more protection and more removal.
        """
        ...


@runtime_checkable
class GradedSolver(Solver, Protocol):
    """A solver that forgets at any strength, so that strength is a matter of degree.

    Graded solvers go before others. Of their candidates that keep the retained bar, the one is chosen that looks most
    as if it had never seen the forgotten classes.
    """

    @property
    def strengths(self) -> tuple[tuple[float, float], ...]:
        """Pairs ``(alpha_r, alpha_f)`` to try, from weak to strong."""
        ...


class Evaluator(Protocol):
    """Measures one kind of evidence on a version.

    It runs whenever somebody asks for it by name. Optional attributes say when it runs besides:

    - ``level``: the evidence level (1 to 3) it belongs to; it runs when that level or a higher one is asked for.
      Without it, 1.
    - ``by_default = False``: it does not run when no level is asked for, since it takes long. Without it, True.
    """

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return metrics as plain JSON values, in shares (0 to 1) unless named otherwise."""
        ...


@runtime_checkable
class SharingExecutor(Protocol):
    """What an executor may do besides, so that the same bytes are not sent with every call: weights, above all.

    Of an executor without it, each call carries them.
    """

    def share(self, data: bytes) -> Callable[[], bytes]:
        """Return something that can be sent with a call, and gives the bytes where the call runs.

        Where nobody holds it any more, the bytes may be dropped. It must work after workers were lost, as calls do.
        """
        ...


# -- hooks ------------------------------------------------------------------------------------------


@hookspec(firstresult=True)
def unledger_load_model(spec: str, options: Mapping[str, Any], num_classes: int) -> LoadedModel | None:
    """Build the network that an architecture specification names.

    Called whenever a model is registered or used. The first plugin to answer wins.

    Args:
        spec: For example ``timm/resnet18`` or ``pkg.mod:factory``.
        options: Keyword arguments for the builder.
        num_classes: Number of outputs wanted.

    Returns:
        The network with any weights, or None if the specification is not this plugin's.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def unledger_published_model(spec: str) -> PublishedModel | None:
    """Read the description that a folder or a repository has of the network whose weights it holds.

    Called once, when a model is registered, before :func:`unledger_load_model`. The first plugin to answer wins.

    Args:
        spec: For example ``local-dir:FOLDER`` or ``hf-hub:NAME``.

    Returns:
        What it says, or None if the specification is not this plugin's.
    """
    raise NotImplementedError


@hookspec
def unledger_recognise_weights(shapes: Mapping[str, tuple[int, ...]]) -> Sequence[RecognisedArchitecture]:
    """Say which architectures have weights of these names and shapes.

    Called by ``weights inspect``. All plugins are asked.

    Args:
        shapes: Shape of each tensor.

    Returns:
        Those that fit, the likeliest first; none if no one does.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def unledger_data_source(spec: str, options: DataOptions, cache: Path | None) -> DataSource | None:
    """Open the data source that a data specification names.

    Called when a model is registered, and whenever its images are needed. The first plugin to answer wins.

    Args:
        spec: For example ``digits``, ``folder:PATH`` or ``npz:PATH``.
        options: How files are read, as recorded with the model. A plugin may leave this parameter out.
        cache: A file of the ledger in which the source may remember digests; None for none. It may be left out too.

    Returns:
        The source, or None if the specification is not this plugin's.
    """
    raise NotImplementedError


@hookspec
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Return the layer handlers this plugin offers. All plugins are asked; later-registered ones win ties."""
    raise NotImplementedError


@hookspec
def unledger_solvers() -> Sequence[Solver]:
    """Return the solvers this plugin offers. All plugins are asked; names must be unique."""
    raise NotImplementedError


@hookspec
def unledger_evaluators() -> Sequence[Evaluator]:
    """Return the evaluators this plugin offers. All plugins are asked; names must be unique."""
    raise NotImplementedError


@hookspec(firstresult=True)
def unledger_executor(spec: str) -> Executor | None:
    """Return who runs the units of a computation, as a specification names it.

    Called before a worker claims a request, and again after the engine behind it was lost. The first plugin to answer
    wins. What is submitted may be called anywhere, any number of times, in any order, and gives the same bytes; it
    never raises by itself. So whatever a future raises is taken for a fault of the engine: the call is submitted again,
    a few times. A worker that died should be replaced by the executor.

    Optional attributes of what is returned, beside :class:`SharingExecutor`:

    - ``workers``: number of calls that it runs at the same time; without it, 4.
    - ``alive()``: whether it still can run anything. It is asked while calls are waited for; without it, one that hangs
      is waited for.
    - ``in_process = True``: nothing is submitted; units run where they are needed, one by one.

    Args:
        spec: For example ``local``, ``processes:4`` or ``ray:HOST:PORT``.

    Returns:
        The executor, or None if the specification is not this plugin's.

    Raises:
        UsageError: The specification is this plugin's, and wrong.
        NotInstalledError: The engine is not installed.
        EngineLostError: The engine cannot be reached.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def unledger_exporter(spec: str) -> Exporter | None:
    """Open the place that an exporter's specification names.

    Called when an exporter is added, and once a version went live, was measured or purged after that: after the
    transaction, by a worker or server, as often as it takes. The first plugin to answer wins.

    Args:
        spec: For example ``folder:PATH`` or ``mlflow:URI``.

    Returns:
        The exporter, or None if the specification is not this plugin's.
    """
    raise NotImplementedError
