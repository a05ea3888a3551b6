"""All that it takes to open a model's network somewhere else, besides its weights."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property

import torch

from ledger.digest import json_digest
from ledger.domain.models import Architecture
from ledger.domain.plugin_policy import PluginPolicy
from ledger.domain.settings import Preprocessing
from ledger.errors import CodeError, EngineLostError
from ledger.networks.network import Network
from ledger.networks.opening import open_network
from ledger.plugin_manager import Plugins, build_plugins
from ledger.weights import tensor_files

from .packing import PackedImages


@dataclass(frozen=True)
class ModelCard:
    """A model's network, by what it is built of. Nothing here says whose it is or where its ledger is."""

    spec: str
    """Of the architecture."""
    options: str
    """JSON of the builder's arguments."""
    classes: int
    preprocessing: Preprocessing
    weights: str
    """Digest of the anchor weights."""
    example: PackedImages
    """The image that shows what flows where in the network."""
    code: str
    """Digest of the code that builds it."""
    policy: PluginPolicy
    plugins: tuple[tuple[str, str], ...]
    """Name and version of each plugin in use."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything."""
        return json_digest(
            {
                "architecture": [self.spec, self.options, self.classes, self.code],
                "preprocessing": json.dumps(asdict(self.preprocessing)),
                "weights": self.weights,
                "example": self.example.digest,
                "plugins": [list(one) for one in self.plugins],
            }
        )

    def open(self, data: bytes, device: torch.device) -> Network:
        """Build the network and load its weights.

        Args:
            data: The file of the anchor weights.
            device: Where to compute.

        Raises:
            EngineLostError: Other plugins are installed here.
            CodeError: The code that builds it is another one here.
            LedgerError: The network cannot be opened, as where its results are wanted.
        """
        plugins = build_plugins(self.policy)
        if (here := in_use(plugins)) != self.plugins:
            other = sorted(f"{name} {version}" for name, version in set(here) ^ set(self.plugins))
            raise EngineLostError(
                f"a worker of the engine has other plugins than what hands out units: {', '.join(other)}",
                "install the same packages on every machine of the engine",
            )
        return open_network(
            plugins,
            Architecture(self.spec, json.loads(self.options)),
            self.classes,
            tensor_files.parse(data, "the weights of a unit"),
            lambda _: next(self.example.batches(self.preprocessing)),
            source="the weights of a unit",
            accept=self._require_code,
            device=device,
        )

    def _require_code(self, network: Network) -> None:
        if network.code_digest != self.code:
            raise CodeError(
                f"a worker of the engine builds the network with other code: digest {network.code_digest}, expected "
                f"{self.code}",
                "install the same release, or the same file at the same path, on every machine of the engine",
            )


def in_use(plugins: Plugins) -> tuple[tuple[str, str], ...]:
    """Return name and version of each plugin that is loaded, sorted."""
    return tuple(sorted((info.name, info.version) for info in plugins.infos if info.error is None))
