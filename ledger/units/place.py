"""Where a unit runs: networks and weights that the process keeps for the next one, and shared bytes that it fetches."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from ledger.digest import sha256_hex
from ledger.errors import EngineLostError
from ledger.networks.network import Network
from ledger.weights import tensor_files

from .model_card import ModelCard

T = TypeVar("T")

Shares = Mapping[str, Callable[[], bytes]]
"""What gives the bytes of a digest."""
MOST_KEPT = 4
"""Things of a kind that a process keeps: a network, a few sets of weights, the images that candidates are judged on."""


class Shelf:
    """What a process keeps from one unit to the next, by kind and digest; the least recently used goes first."""

    def __init__(self) -> None:
        self._kept: dict[str, OrderedDict[str, Any]] = {}

    def get(self, kind: str, key: str, make: Callable[[], T]) -> T:
        """Return what is kept under a key, made if it is not there."""
        kept = self._kept.setdefault(kind, OrderedDict())
        if key not in kept:
            while len(kept) >= MOST_KEPT:
                kept.popitem(last=False)
            kept[key] = make()
        kept.move_to_end(key)
        found: T = kept[key]
        return found


class UnitPlace:
    """What a unit finds where it runs.

    Args:
        shelf: Of the process.
        card: The model.
        device: Where to compute.
        shares: The shared bytes that the unit needs.
    """

    def __init__(self, shelf: Shelf, card: ModelCard, device: torch.device, shares: Shares) -> None:
        self._shelf = shelf
        self._card = card
        self._device = device
        self._shares = shares

    @property
    def network(self) -> Network:
        """The network with the anchor weights."""
        return self.kept("network", self._card.digest, self._open)

    def _open(self) -> Network:
        return self._card.open(self.fetch(self._card.weights), self._device)

    def state(self, digest: str) -> dict[str, Tensor]:
        """Return weights by the digest of their file."""
        return self.kept("state", digest, lambda: tensor_files.parse(self.fetch(digest), "the weights of a unit"))

    def prepared(self, digest: str) -> dict[str, Tensor]:
        """Return weights as the network takes them in a functional call."""
        key = f"{self._card.digest} {digest}"
        return self.kept("prepared", key, lambda: self.network.prepare_weights(self.state(digest)))

    def kept(self, kind: str, key: str, make: Callable[[], T]) -> T:
        """Return what the process keeps, made if it is not there."""
        return self._shelf.get(kind, f"{self._device} {key}", make)

    def fetch(self, digest: str) -> bytes:
        """Return shared bytes.

        Raises:
            EngineLostError: They are not what they should be.
        """
        data = self._shares[digest]()
        if sha256_hex(data) != digest:
            raise EngineLostError("the engine delivered other bytes than it was given", "see to its memory and network")
        return data
