"""Forget classes of any network, given its images: the method without a ledger.

Nothing is recorded, and nobody is asked: whoever has to account for what was forgotten uses a ledger.
"""

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ledger.answers.calibration_sampling import sample_calibration
from ledger.candidates.search_result import SearchResult
from ledger.domain.settings import Settings
from ledger.errors import DataError, TooFewRetainedError, UnsupportedLayerError, UsageError
from ledger.hookspecs import LayerHandler, Solver
from ledger.images import loading
from ledger.images.sampling import ClassSamples, choose_samples
from ledger.networks.coverage import Treatment
from ledger.networks.network import Network
from ledger.networks.trial import IMAGES, require_function_of_image
from ledger.plugin_manager import Plugins, build_plugins
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler
from ledger.spaces.statistics import ClassStatistics

from .choosing import EditTask, PhaseObserver, choose_edit
from .forgetting_report import ForgettingReport, ForgottenClass, ForgottenWeights, TriedEdit
from .gathering import edited_shapes, gather_classes
from .loader_images import LoaderImages


class _Nobody:
    def phase(self, name: str, total: int | None = None) -> None:
        """Tell nobody."""

    def step(self) -> None:
        """Tell nobody."""


def forget(
    network: nn.Module,
    loader: Iterable[Sequence[Tensor]],
    classes: Collection[int],
    *,
    solvers: Sequence[str | Solver] = (),
    settings: Settings | None = None,
    handlers: Sequence[LayerHandler] = (),
    forgotten_before: Collection[int] = (),
    allow_unhandled: Collection[str] = (),
    observer: PhaseObserver | None = None,
) -> ForgottenWeights:
    """Return weights with which a network has forgotten some of its classes; the network itself is not changed.

    The network, the images that the loader yields and the settings decide the result; a loader that shuffles yields
    others each time. Images are kept in memory: of each class at most ``calibration_samples`` and the larger of
    ``retain_samples`` and ``forget_samples`` together, of a retained class without the latter.

    Args:
        network: Returns one logit for each class. Every layer with weights must be one that a layer handler knows.
        loader: Yields pairs of training images, preprocessed, float (n, channels, height, width), and class indices
            (n,), such as a ``torch.utils.data.DataLoader``.
        classes: Indices of the outputs to forget.
        solvers: Solvers to try, by name or as objects of one's own; those of the settings if there are none.
        settings: Samples, bars and gates; the defaults are those of a ledger.
        handlers: Layer handlers of one's own, beside those of installed plugins, and before them.
        forgotten_before: Classes that the network has forgotten already: they are neither retained nor judged, and
            the loader may have no image of them.
        allow_unhandled: Names of weights that may stay as they are although no handler knows their layers.
        observer: Told about phases and steps.

    Returns:
        The edited weights and a report, as a named pair.

    Raises:
        UsageError: A class is none of the network's, or there are no classes, or two solvers of one name.
        TooFewRetainedError: Fewer classes than ``min_retained`` would be left.
        DataError: The loader yields something else, or no image of a class.
        UnsupportedLayerError: A weight that no handler knows, and that is not allowed by name.
        ImpureNetworkError: The network's answer for an image depends on more than that image.
        NonFiniteError: NaN or infinity in activations, outputs or edited weights.
        PluginError: A solver or handler broke its contract.
    """
    chosen = settings or Settings()
    plugins = build_plugins()
    by_name = _solvers(plugins, solvers or chosen.solvers)
    chosen = replace(chosen, solvers=tuple(by_name))
    first, batches = _peeked(loader)
    own = copy.deepcopy(network)
    for parameter in own.parameters():
        parameter.requires_grad_(False)
    opened = Network.of(own, {**plugins.layer_handlers(), **{one.module_type: one for one in handlers}})
    example = first[:1].to(torch.float32)
    outputs = _outputs(opened, example)
    wanted, gone = _classes(classes, forgotten_before, outputs, chosen)
    opened = opened.observed(example)
    _require_handled(opened, allow_unhandled)
    images = LoaderImages(batches, {k: _most(chosen, k, wanted, gone) for k in range(outputs)} | dict.fromkeys(gone, 0))
    spread = sorted({round(i * (len(images.labels) - 1) / (IMAGES - 1)) for i in range(IMAGES)})
    require_function_of_image(opened, loading.load_images(images, spread, images.preprocessing))
    samples = {k: choose_samples(images.labels, k, chosen) for k in range(outputs) if k not in gone}
    told = observer or _Nobody()
    bases = gather_classes(
        _collected(opened, images, samples, wanted, chosen, told),
        wanted,
        edited_shapes(opened, outputs - len(gone), chosen),
        opened.device,
    )
    result = choose_edit(
        EditTask(
            network=opened,
            anchor=opened.state(),
            classes=outputs,
            forgotten=wanted,
            judged=wanted,
            masked=wanted | gone,
            settings=chosen,
            solvers=by_name,
        ),
        bases.retain,
        bases.forget,
        lambda shares: sample_calibration(
            images,
            samples.__getitem__,
            forgotten=sorted(wanted),
            retained=[k for k in samples if k not in wanted],
            preprocessing=images.preprocessing,
            batch_size=chosen.batch_size,
            seed=chosen.seed,
            shares=shares,
        ),
        told,
    )
    return ForgottenWeights(_state(network, result), _report(result, chosen, opened, len(images.labels)))


def _solvers(plugins: Plugins, named: Sequence[str | Solver]) -> dict[str, Solver]:
    names = [one if isinstance(one, str) else str(one.name) for one in named]
    if len(set(names)) < len(names):
        raise UsageError(f"two solvers have one name: {', '.join(names)}", "give each its own")
    known = plugins.solvers([one for one in named if isinstance(one, str)])
    return {name: known[one] if isinstance(one, str) else one for name, one in zip(names, named, strict=True)}


def _peeked(loader: Iterable[Sequence[Tensor]]) -> tuple[Tensor, Iterator[Sequence[Tensor]]]:
    """Return the first images of a loader, and all that it yields: it may be one that yields only once."""
    batches = iter(loader)
    try:
        first = next(batches)
    except StopIteration:
        raise DataError("the loader yields nothing", "it must yield images and labels") from None
    try:
        images = first[0]
    except (TypeError, IndexError, KeyError):
        images = None
    if not isinstance(images, Tensor) or images.dim() != 4 or not len(images) or not images.is_floating_point():
        raise DataError(
            "the loader does not yield images first",
            "it must yield pairs of images, float (n, channels, height, width), and class indices (n,)",
        )

    def everything() -> Iterator[Sequence[Tensor]]:
        yield first
        yield from batches

    return images, everything()


def _outputs(network: Network, example: Tensor) -> int:
    with torch.inference_mode():
        try:
            answer = network.module(network.prepare_images(example))
        except RuntimeError as error:
            raise DataError(
                f"the network cannot take images of shape {tuple(example.shape[1:])}: {error}",
                "the loader must yield what the network takes, normalised and resized",
            ) from error
    if not isinstance(answer, Tensor) or answer.dim() != 2 or answer.shape[0] != 1 or answer.shape[1] < 2:
        told = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise UsageError(f"the network answers {told} for one image", "it must return one logit for each class")
    return int(answer.shape[1])


def _classes(
    classes: Collection[int], before: Collection[int], outputs: int, settings: Settings
) -> tuple[frozenset[int], frozenset[int]]:
    """Return the classes to forget, and those that are gone already."""
    for k in (*classes, *before):
        if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k < outputs:
            raise UsageError(
                f"{k!r} is no class of a network with {outputs} outputs", f"indices go from 0 to {outputs - 1}"
            )
    gone = frozenset(before)
    wanted = frozenset(classes) - gone
    if not wanted:
        raise UsageError("there is no class to forget", "name at least one that is not forgotten yet")
    left = outputs - len(wanted | gone)
    if left < settings.min_retained:
        raise TooFewRetainedError(
            f"{left} classes would be left, fewer than min_retained = {settings.min_retained}", "forget fewer classes"
        )
    return wanted, gone


def _most(settings: Settings, k: int, wanted: frozenset[int], gone: frozenset[int]) -> int:
    """Return how many images of a class are kept at most."""
    if k in gone:
        return 0
    return settings.calibration_samples + (settings.forget_samples if k in wanted else settings.retain_samples)


def _require_handled(network: Network, allowed: Collection[str]) -> None:
    unhandled = [c for c in network.coverage if c.treatment is Treatment.UNHANDLED and c.name not in allowed]
    if unhandled:
        listed = "; ".join(f"{c.name} {list(c.shape)}: {c.detail}" for c in unhandled[:5])
        raise UnsupportedLayerError(
            f"{len(unhandled)} weights would never be edited: {listed}",
            "give forget a handler for these layers, or accept each one by name in allow_unhandled",
        )
    if not network.layers:
        raise UnsupportedLayerError(
            "the network has no layer that can be edited", "give forget handlers for its layers"
        )


def _collected(
    network: Network,
    images: LoaderImages,
    samples: Mapping[int, ClassSamples],
    wanted: frozenset[int],
    settings: Settings,
    observer: PhaseObserver,
) -> Iterator[tuple[int, ClassStatistics]]:
    """Yield the class spaces, in class order."""
    observer.phase("class spaces", len(samples))
    for k, own in samples.items():
        chosen = own.forget if k in wanted else own.retain
        yield (
            k,
            collect_spaces(
                network,
                loading.iterate(images, chosen, images.preprocessing, settings.batch_size),
                PositionSampler(settings.seed, k, settings.positions(len(chosen))),
                max_rank=settings.max_rank,
                tolerance=settings.space_tolerance,
                class_index=k,
            ),
        )
        observer.step()


def _state(network: nn.Module, result: SearchResult) -> dict[str, Tensor]:
    """Return the edited weights as the network holds its own: on its device, in its precision, sharing nothing."""
    edited = result.candidate.state
    return {
        name: edited[name].detach().to(tensor.device, tensor.dtype, copy=True)
        for name, tensor in network.state_dict().items()
    }


def _report(result: SearchResult, settings: Settings, network: Network, images: int) -> ForgettingReport:
    recipe = result.candidate.recipe
    classes = [
        ForgottenClass(
            k,
            count.images,
            count.correct / count.images,
            result.forgotten[k].accuracy,
        )
        for k, count in sorted(result.anchor_forgotten.items())
    ]
    return ForgettingReport(
        classes=tuple(classes),
        retained_before=result.anchor_retained.accuracy,
        retained_masked=result.masked_retained.accuracy,
        retained_after=result.retained.accuracy,
        passed=all(settings.passes_forgotten(one.after) for one in classes) and settings.passes_drop(result.lost),
        solver=recipe.solver,
        depth=recipe.depth,
        layers=len(network.layers),
        alpha_r=recipe.strength.alpha_r,
        alpha_f=recipe.strength.alpha_f,
        edit=result.candidate.size,
        images=images,
        trials=tuple(
            TriedEdit(t.solver, t.depth, t.alpha_r, t.alpha_f, t.forgotten, t.passed, t.retained) for t in result.trials
        ),
    )
