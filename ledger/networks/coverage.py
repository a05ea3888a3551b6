"""What the ledger does with each parameter of a network, and why: the handlers' claims, checked on a forward pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor, nn

from .dataflow import Dataflow, ParameterUse
from .layer_claims import LayerClaims
from .operators import UseKind

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)  # noqa: SLF001 - the only name that covers all batch and instance norms
POSITIONAL = (
    *("cls_token", "dist_token", "reg_token", "mask_token", "bias_k", "bias_v", "pos_embed", "pos_emb", "freqs"),
    *("position_embedding_table", "relative_position_bias_table", "attention_biases", "height_rel", "width_rel"),
    *("rel_pos_h", "rel_pos_w"),
)
"""Beginnings of the names that timm and torch give to tokens and tables of positions. Some are multiplied with the
queries, but they describe positions and not features, so they are untouched by design."""
_WEIGHT = (UseKind.PRODUCT, UseKind.TABLE, UseKind.SCAN)
_WORDS = {
    UseKind.SHIFT: "bias, token or position: added to the features, or looked up",
    UseKind.NORM: "normalisation",
    UseKind.SCALE: "scale: one factor for each channel",
    UseKind.INPUT: "token: itself the input of a layer",
}


class Treatment(StrEnum):
    """What the ledger does with a parameter."""

    EDITED = "edited"
    UNTOUCHED = "untouched by design"
    UNHANDLED = "unhandled"


@dataclass(frozen=True)
class ParameterCoverage:
    """How one parameter is treated, and why."""

    name: str
    shape: tuple[int, ...]
    treatment: Treatment
    detail: str


def judge(module: nn.Module, dataflow: Dataflow, claims: LayerClaims) -> list[ParameterCoverage]:
    """Decide how each parameter is treated; a shared parameter is listed under each of its names.

    Args:
        module: The network.
        dataflow: How the parameters took part in a forward pass.
        claims: What the layer handlers say.
    """
    first: dict[int, str] = {id(parameter): name for name, parameter in module.named_parameters()}
    judgements = _Judge(dict(module.named_modules()), dataflow, claims)
    covered = []
    for name, parameter in module.named_parameters(remove_duplicate=False):
        own = first[id(parameter)]
        treatment, detail = judgements.of(own, parameter)
        covered.append(
            ParameterCoverage(
                name, tuple(parameter.shape), treatment, detail if name == own else f"{detail} (the same as {own})"
            )
        )
    return covered


class _Judge:
    """Decides about one parameter at a time."""

    def __init__(self, modules: Mapping[str, nn.Module], dataflow: Dataflow, claims: LayerClaims) -> None:
        self._modules = modules
        self._dataflow = dataflow
        self._claims = claims

    def of(self, name: str, parameter: Tensor) -> tuple[Treatment, str]:
        """Return how the parameter is treated, and why."""
        if name in self._claims.handlers:
            return self._claimed(name)
        why = self._by_design(name)
        return self._used(name, parameter) if why is None else (Treatment.UNTOUCHED, why)

    def _by_design(self, name: str) -> str | None:
        """Return why a parameter is untouched because of its name or its module; None if these do not decide."""
        prefix, _, last = name.rpartition(".")
        if isinstance(self._modules[prefix], NORMS):
            return _WORDS[UseKind.NORM]
        if last == "bias" and any(prefix in readers for readers in self._claims.handlers.values()):
            return _WORDS[UseKind.SHIFT]
        return "token, or table of positions" if last.startswith(POSITIONAL) else None

    def _used(self, name: str, parameter: Tensor) -> tuple[Treatment, str]:
        prefix, _, last = name.rpartition(".")
        # The weight of a refused layer may lie in a module within it, as parametrized weights do.
        refused = (self._claims.refused.get(place) for place in _upwards(prefix))
        reason = next(filter(None, refused), f"no handler for {type(self._modules[prefix]).__name__}")
        products = self._products(name)
        if products:
            return Treatment.UNHANDLED, f"{reason}, {self._words(products)}"
        uses = self._dataflow.uses[name]
        if uses:
            return Treatment.UNTOUCHED, "; ".join(dict.fromkeys(_WORDS[use.kind] for use in uses))
        if parameter.ndim <= 1 and last.endswith("bias"):
            return Treatment.UNTOUCHED, "bias of a layer that the example never reaches"
        return Treatment.UNHANDLED, f"{reason}, and the example never uses it"

    def _products(self, name: str) -> list[ParameterUse]:
        return [use for use in self._dataflow.uses[name] if use.kind in _WEIGHT]

    def _claimed(self, name: str) -> tuple[Treatment, str]:
        readers = self._claims.handlers[name]
        elsewhere = [use for use in self._products(name) if not set(use.inside) & readers.keys()]
        called = [name for name in readers if name in self._dataflow.calls]
        if not called:
            if not elsewhere:
                return Treatment.UNHANDLED, "the example never reaches its layer, as with a head for training only"
            return Treatment.UNHANDLED, f"the network goes around its layer, {self._words(elsewhere)}"
        if elsewhere:
            return Treatment.UNHANDLED, f"its layer is not the only one to use it: {self._words(elsewhere)}"
        if self._dataflow.constant_layers.issuperset(called):
            return Treatment.UNTOUCHED, "its layer reads positions or tokens alone, the same for every image"
        return Treatment.EDITED, ", ".join(dict.fromkeys(readers[name] for name in called))

    def _words(self, products: Sequence[ParameterUse]) -> str:
        """Say which modules use a parameter, and as what."""
        use = products[0]
        inside = use.inside[-1] if use.inside else ""
        kind = type(self._modules[inside]).__name__
        place = f"{kind} {inside}" if inside else kind
        more = f" and {len(products) - 1} more" if len(products) > 1 else ""
        return f"{use.kind.value} in {place}{more}"


def _upwards(name: str) -> Iterator[str]:
    """Yield a module's name and those of the modules around it."""
    while name:
        yield name
        name = name.rpartition(".")[0]
