"""Weights that somebody declares to be trained without the forgotten classes: believed on their word, and checked.

Whether weights were trained without a class cannot be seen from them. What can be seen is refused: weights of this very
model, and weights that still recognise a class they are said never to have seen.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ledger.digest import sha256_hex
from ledger.domain.chance import is_clearly_better
from ledger.domain.versions import Version
from ledger.errors import RefusedError
from ledger.evaluator_input import Outputs
from ledger.service.computation.workbench import Workbench
from ledger.weights import tensor_files

from .examination import NamedWeights


@dataclass(frozen=True)
class DeclaredRetrained:
    """A file of weights, and who says that they were trained without the forgotten classes."""

    file: Path
    declared_by: str


def read_retrained(bench: Workbench, declared: DeclaredRetrained) -> NamedWeights:
    """Read declared weights.

    Raises:
        RefusedError: They are a version of this model, perhaps exported and named anew.
        WeightsError: They do not fit the network.
    """
    found = read_weights(bench, declared.file)
    own = own_version(bench, found)
    if own is not None:
        raise RefusedError(
            f"{declared.file} holds version {own.number} of {bench.model.name} itself, not a retrained network",
            "compare with weights that were trained without the classes; versions: --against N",
        )
    return found


def own_version(bench: Workbench, found: NamedWeights) -> Version | None:
    """Return the version of this very model whose weights a file holds, under whatever name and however written.

    None if it is no version, or a changed one: somebody who wants to deceive can always change a bit.
    """
    with bench.ledger.database.read() as tx:
        versions = tx.versions.all(bench.model)
    # The same tensors in another file have another digest; written anew they have that of the version.
    digests = {found.digest, sha256_hex(tensor_files.serialise(dict(found.state)))}
    own = next((version for version in versions if version.weights in digests), None)
    return bench.anchor if own is None and _same(found, bench) else own


def read_weights(bench: Workbench, file: Path) -> NamedWeights:
    """Read a weights file that a person names.

    Raises:
        WeightsError: It does not fit the network.
    """
    data = tensor_files.read_file(file)
    state = tensor_files.parse(data, str(file))
    bench.network.require_fit(state, str(file))
    return NamedWeights(sha256_hex(data), state)


def require_unknown(bench: Workbench, test: Outputs, forgotten: frozenset[int], declared: DeclaredRetrained) -> None:
    """Refuse declared weights that recognise a class which they are said never to have seen, or none of the others.

    Whatever a version loses, it loses nothing beside a network that knows nothing.

    Args:
        bench: The model.
        test: Their answers to test images.
        forgotten: The classes.
        declared: The weights.

    Raises:
        RefusedError: They recognise one clearly better than chance, or the others no better.
    """
    correct = test.probabilities.argmax(axis=1) == test.labels
    for k in sorted(forgotten):
        own = test.labels == k
        hits, images = int(np.count_nonzero(correct & own)), int(np.count_nonzero(own))
        if is_clearly_better(hits, images, 1 / len(bench.model.labels)):
            raise RefusedError(
                f"{declared.file} recognises {bench.model.labels[k]} in {hits:,} of {images:,} test images: it was "
                "trained on that class",
                "name weights that were trained without every class that the version has forgotten",
            )
    kept = ~np.isin(test.labels, sorted(forgotten))
    hits, images = int(np.count_nonzero(correct & kept)), int(np.count_nonzero(kept))
    if images and not is_clearly_better(hits, images, 1 / len(bench.model.labels)):
        raise RefusedError(
            f"{declared.file} recognises the other classes in {hits:,} of {images:,} test images, no better than "
            "chance: it was not trained on them",
            "name weights that were trained with all other classes",
        )


def _same(found: NamedWeights, bench: Workbench) -> bool:
    own = bench.anchor_state
    return found.state.keys() == own.keys() and all(
        found.state[name].shape == tensor.shape and torch.equal(found.state[name].to(tensor.dtype), tensor)
        for name, tensor in own.items()
    )
