"""Measure how well a network answers when it is registered, and refuse what cannot be the right model.

A network that recognises nothing, or its classes under other names, has another order of labels, another
preprocessing or other weights than its owner believes. Forgetting one of its classes would be certified, and would make
it forget another class, or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ledger.digest import json_digest
from ledger.domain.chance import CLEARLY, at_most, halfway, is_clearly_better
from ledger.domain.labels import LabelMap
from ledger.domain.registered_accuracy import Count, RegisteredAccuracy
from ledger.domain.settings import Preprocessing
from ledger.errors import AccuracyError, ImpureNetworkError, OutputsError
from ledger.hookspecs import DataSource, Split
from ledger.images.loading import iterate
from ledger.images.sampling import seeded_generator
from ledger.networks.answer_kind import AnswerKind, kind_of_answer
from ledger.networks.inference import checked
from ledger.networks.network import Network
from ledger.service.progress import Progress, counted

from .label_fit import Answers, LabelFit, find_better_fit

MOST_PER_CLASS = 25
"""Images of a class and a split that are looked at."""
MOST_IMAGES = 1_000
"""Images of the first look, and of the second at classes of which it says too little."""
MOST_NAMED = 10
"""Classes that one sentence names."""
SPLITS = ("test", "train")


@dataclass(frozen=True)
class _Look:
    """The answers for some images of both splits."""

    chosen: dict[str, list[int]]
    answers: dict[str, Answers]
    kinds: tuple[AnswerKind, ...]

    def all(self) -> Answers:
        """Return the answers of both splits together."""
        parts = [self.answers[name] for name in SPLITS]
        return Answers(
            parts[0].classes,
            np.concatenate([part.true for part in parts]),
            np.concatenate([part.predicted for part in parts]),
        )


def measure_accuracy(
    network: Network,
    source: DataSource,
    labels: LabelMap,
    preprocessing: Preprocessing,
    *,
    seed: int,
    batch_size: int,
    progress: Progress,
    accept_accuracy: bool = False,
    accept_outputs: bool = False,
) -> RegisteredAccuracy:
    """Run a sample of the images through a network, and check that its answers make sense.

    Args:
        network: With the weights to register.
        source: The images, with the indices of the model's classes.
        labels: The model's labels.
        preprocessing: How an image becomes an input.
        seed: Of the sample.
        batch_size: Images in a batch.
        progress: Told about phases.
        accept_accuracy: Go on whatever the accuracy is.
        accept_outputs: Go on although the network does not return logits.

    Raises:
        AccuracyError: The network answers no better than by chance, or its labels are in another order.
        OutputsError: It returns probabilities.
        ImpureNetworkError: It fails for some images, or answers in another shape.
        NonFiniteError: An answer is NaN or infinite.
    """
    looker = _Looker(network, source, preprocessing, seed, batch_size, progress)
    look = looker.look({name: looker.first(name) for name in SPLITS})
    fit = find_better_fit(look.all(), labels.labels)
    doubtful = _doubtful(look, fit)
    if doubtful and (more := looker.more(look, doubtful)):
        look = looker.look(more, look)
        fit = find_better_fit(look.all(), labels.labels)
    kind = _kind(look)
    _check_outputs(kind, accepted=accept_outputs)
    problem = _problem(look.all(), fit, labels, kind)
    if problem is not None and not accept_accuracy:
        raise problem
    counts = {name: _counts(look.answers[name]) for name in SPLITS}
    measured = RegisteredAccuracy(
        seed=seed,
        samples=json_digest(look.chosen),
        test=counts["test"],
        train=counts["train"],
        outputs=kind.value,
        accepted=problem is not None,
    )
    remarks = tuple(_remarks(measured, look.all(), fit, labels, kind, problem))
    return replace(measured, remarks=remarks)


class _Looker:
    """Chooses images and runs them through the network."""

    def __init__(
        self,
        network: Network,
        source: DataSource,
        preprocessing: Preprocessing,
        seed: int,
        batch_size: int,
        progress: Progress,
    ) -> None:
        self._network = network
        self._splits: dict[str, Split] = {"test": source.test, "train": source.train}
        self._classes = len(source.labels)
        self._labels = {name: np.asarray(split.labels, dtype=np.int64) for name, split in self._splits.items()}
        self._preprocessing = preprocessing
        self._seed = seed
        self._batch_size = batch_size
        self._progress = progress
        self._shuffled = {name: self._shuffle(name) for name in SPLITS}

    def _shuffle(self, name: str) -> list["np.ndarray[tuple[int], np.dtype[np.int64]]"]:
        labels = self._labels[name]
        order = seeded_generator("registration", self._seed, name).permutation(len(labels))
        # By class, then in shuffled order: one sort for all classes.
        grouped = order[np.argsort(labels[order], kind="stable")]
        ends = np.cumsum(np.bincount(labels, minlength=self._classes))
        return np.split(grouped, ends[:-1])

    def first(self, name: str) -> list[int]:
        """Choose the images of the first look: each class in turn, until there are enough."""
        return self._in_turn(name, range(self._classes), MOST_IMAGES // 2)

    def more(self, look: _Look, classes: Sequence[int]) -> dict[str, list[int]]:
        """Choose more images of some classes; empty if there are none."""
        chosen = {name: self._in_turn(name, classes, MOST_IMAGES // 2) for name in SPLITS}
        added = {name: sorted(set(chosen[name]) - set(look.chosen[name])) for name in SPLITS}
        return added if any(added.values()) else {}

    def _in_turn(self, name: str, classes: Sequence[int], most: int) -> list[int]:
        shuffled = self._shuffled[name]
        order = [int(k) for k in seeded_generator("turns", self._seed, name).permutation(np.asarray(classes))]
        found: list[int] = []
        for turn in range(MOST_PER_CLASS):
            found += [int(shuffled[k][turn]) for k in order if turn < len(shuffled[k])]
            if len(found) >= most:
                break
        return sorted(found[:most])

    def look(self, chosen: dict[str, list[int]], before: _Look | None = None) -> _Look:
        """Run images through the network, and add them to those of an earlier look."""
        size = self._batch_size
        self._progress.phase("accuracy", sum(-(-len(indices) // size) for indices in chosen.values()))
        answers, kinds, taken = {}, list(before.kinds if before else ()), {}
        for name in SPLITS:
            outputs = self._outputs(self._splits[name], chosen[name])
            if outputs is not None:
                kinds.append(kind_of_answer(outputs))
            predicted = np.empty(0, dtype=np.int64) if outputs is None else outputs.argmax(1).numpy()
            true = self._labels[name][chosen[name]]
            if before is not None:
                true = np.concatenate([before.answers[name].true, true])
                predicted = np.concatenate([before.answers[name].predicted, predicted])
            answers[name] = Answers(self._classes, true, predicted)
            taken[name] = [*(before.chosen[name] if before else ()), *chosen[name]]
        return _Look(taken, answers, tuple(kinds))

    def _outputs(self, split: Split, indices: list[int]) -> Tensor | None:
        batches = counted(self._progress, iterate(split, indices, self._preprocessing, self._batch_size))
        with torch.inference_mode():
            parts = [checked(self._answer(self._network.prepare_images(batch))) for batch in batches]
        return torch.cat(parts) if parts else None

    def _answer(self, images: Tensor) -> Tensor:
        """Return a network's answer; images of the first batches passed, and others may still not."""
        try:
            answer = self._network.module(images)
        except Exception as error:
            raise ImpureNetworkError(
                f"the network cannot take {len(images)} images of the data at once: {error}",
                "it must take any image, in batches of any size; --set batch_size=N makes them smaller",
            ) from error
        if not isinstance(answer, Tensor) or answer.shape != (len(images), self._classes):
            shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise ImpureNetworkError(
                f"the network answers {shape} for {len(images)} images, not one row of {self._classes} logits for each",
                "its answer must have the same shape for any image",
            )
        return answer


def _counts(answers: Answers) -> dict[int, Count]:
    correct = answers.true[answers.true == answers.predicted]
    images, right = (np.bincount(one, minlength=answers.classes) for one in (answers.true, correct))
    return {int(k): Count(int(images[k]), int(right[k])) for k in np.flatnonzero(images)}


def _doubtful(look: _Look, fit: LabelFit | None) -> list[int]:
    """Return the classes whose images are too few: not one was recognised, or another name may fit."""
    counts = _counts(look.all())
    never = [k for k, count in counts.items() if count.correct == 0]
    return sorted({*never, *(fit.moved if fit is not None and not fit.clear else ())})


def _kind(look: _Look) -> AnswerKind:
    found = set(look.kinds)
    # A split with few images may look like anything; what both look like, the network returns.
    return found.pop() if len(found) == 1 else AnswerKind.LOGITS


def _check_outputs(kind: AnswerKind, *, accepted: bool) -> None:
    if kind.fits or kind is AnswerKind.CONSTANT or accepted:
        return
    made = "a softmax" if kind is AnswerKind.PROBABILITIES else "a sigmoid"
    raise OutputsError(
        f"the network returns probabilities, as {made} makes them, not logits",
        "register it without that last step (log-probabilities are fine as well); confidence and membership attacks "
        "would measure nothing. To go on all the same: --accept-outputs",
    )


def _problem(answers: Answers, fit: LabelFit | None, labels: LabelMap, kind: AnswerKind) -> AccuracyError | None:
    """Return why a network cannot be the right one; None if it may be."""
    if kind is AnswerKind.CONSTANT:
        return AccuracyError(
            "the network gives the same answer whatever the image is",
            "check the weights, --mean and --std; if it is as bad as that: --accept-accuracy",
        )
    images, correct = len(answers.true), answers.correct()
    now = f"{correct} of {images} images ({correct / max(images, 1):.1%})"
    if fit is not None and fit.clear:
        fits = [labels[k] for k in fit.names]
        better = f"{fit.correct} of them ({fit.correct / images:.1%})"
        order = "" if fit.order is None else f"in the order {fit.order.value}: "
        return AccuracyError(
            f"the labels are not in the order of the network's outputs: it recognises {now}, and {better} with the "
            f"labels {order}{_exchanged(fit, labels)}",
            f"register it with --label-order {fit.order.value} and without --labels"
            if fit.order is not None
            else "save the labels in that order with --write-labels FILE, look at them, and register with "
            "--labels FILE; if the names are right and the network is wrong: --accept-accuracy",
            fits=tuple(fits),
        )
    chance = answers.chance()
    if not is_clearly_better(correct, images, chance) and at_most(correct, images, halfway(chance)) <= 10 * CLEARLY:
        constant = len(np.unique(answers.predicted)) == 1
        answer = f"; it answers {labels[int(answers.predicted[0])]!r} to every image" if constant else ""
        other = (
            "no order of the labels fits either"
            if fit is None
            else f"the images fit better with {_exchanged(fit, labels)}"
        )
        return AccuracyError(
            f"the network recognises {now}, which is no better than chance ({chance:.1%}){answer}",
            f"{other}: check the weights, --input-size, --mean, --std and --preprocessing, and the data; "
            "if it is as bad as that: --accept-accuracy",
            fits=() if fit is None else tuple(labels[k] for k in fit.names),
        )
    return None


def _exchanged(fit: LabelFit, labels: LabelMap) -> str:
    if len(fit.moved) == 2:
        first, second = (labels[k] for k in fit.moved)
        return f"{first!r} and {second!r} exchanged"
    shown = ", ".join(f"{labels[fit.names[k]]!r} for output {k}" for k in fit.moved[:MOST_NAMED])
    return shown + (", ..." if len(fit.moved) > MOST_NAMED else "")


def _remarks(
    measured: RegisteredAccuracy,
    answers: Answers,
    fit: LabelFit | None,
    labels: LabelMap,
    kind: AnswerKind,
    problem: AccuracyError | None,
) -> list[str]:
    found = [] if problem is None else [f"accepted although {problem.message}"]
    if not kind.fits and problem is None:
        found.append(f"the network returns {kind.value}, not logits: confidence measures little")
    if problem is None and not is_clearly_better(answers.correct(), len(answers.true), answers.chance()):
        found.append(
            f"with {len(answers.true)} images nobody can tell its accuracy from chance ({answers.chance():.1%}); "
            "check the labels, or give more test images"
        )
    if fit is not None and not fit.clear and problem is None:
        found.append(f"the labels may be wrong: the images fit better with {_exchanged(fit, labels)}; check them")
    never = [k for k in measured_classes(measured) if measured.of_class(k).correct == 0]
    if never:
        named = ", ".join(f"{labels[k]} (0 of {measured.of_class(k).images})" for k in never[:MOST_NAMED])
        more = f" and {len(never) - MOST_NAMED} more" if len(never) > MOST_NAMED else ""
        found.append(f"not recognised in any image, so there is nothing to forget: {named}{more}")
    return found


def measured_classes(measured: RegisteredAccuracy) -> list[int]:
    """Return the classes with images in the sample, in order."""
    return sorted(measured.test.keys() | measured.train.keys())
