"""Entering a network in the middle gives what walking all of it gives, bit for bit."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from ledger.networks.partial_forward import ForwardTrace, PartialForward, record_outputs

LAYERS = (nn.Linear, nn.Conv2d)


def called(module: nn.Module, images: Tensor) -> list[tuple[str, nn.Module]]:
    """Return the layers in the order in which images first reach them."""
    order: dict[nn.Module, None] = {}
    layers: dict[nn.Module, str] = {m: name for name, m in module.named_modules() if isinstance(m, LAYERS)}
    hooks = [m.register_forward_pre_hook(lambda m, _i: order.setdefault(m)) for m in layers]
    with torch.inference_mode():
        module(images)
    for hook in hooks:
        hook.remove()
    return [(layers[m], m) for m in order]


def edited(module: nn.Module, names: Sequence[str]) -> dict[str, Tensor]:
    """Return weights of which those of the named layers are changed."""
    generator = torch.Generator().manual_seed(5)
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    for name in names:
        weight = state[f"{name}.weight"]
        weight += 0.1 * weight.std() * torch.randn(weight.shape, generator=generator)
    return state


def walked(module: nn.Module, state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Return the answer of a plain pass."""
    with torch.inference_mode():
        answer: Tensor = functional_call(module, state, (images,))
        return answer


def resumed(module: nn.Module, start: nn.Module, state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Return the answer of a pass that begins at ``start``, whose way there was looked at on two images."""
    partial_forward = PartialForward(ForwardTrace(module, images[:2].clone()), start)
    untouched(module)
    assert partial_forward.boundary
    _, kept = record_outputs(module, partial_forward.boundary, images)
    before = {m: output.clone() for m, output in kept.items()}
    # Twice: the first may not spoil the record.
    first, second = (partial_forward.run(state, [kept[m] for m in partial_forward.boundary], images) for _ in range(2))
    untouched(module)
    same(first, second)
    for m, output in before.items():
        same(kept[m], output)
    return first


def untouched(module: nn.Module) -> None:
    assert not [name for name, m in module.named_modules() if "forward" in vars(m)]
    assert not [name for name, m in module.named_modules() if m._forward_hooks or m._forward_pre_hooks]


def same(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- small networks -----------------------------------------------------------------------------------


class Residual(nn.Module):
    """``x + f(x)``, and a sum that no module makes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.first = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 8))
        self.second = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.first(x)
        x = x + self.second(x)
        answer: Tensor = self.head(x)
        return answer


class Twice(nn.Module):
    """Calls one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = nn.Linear(6, 8), nn.Linear(8, 8)
        self.middle, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.shared(self.stem(x)))
        answer: Tensor = self.head(torch.relu(self.middle(self.shared(x))))
        return answer


class InPlace(nn.Module):
    """Writes into what its layers put out, without a module for it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x.relu_()
        x += 1.0
        kept = x
        x = self.middle(x)
        x.mul_(kept)
        answer: Tensor = self.head(x)
        return answer


class Pair(nn.Module):
    """Has a stem that puts out two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Halves()
        self.middle, self.head = nn.Linear(3, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x)
        answer: Tensor = self.head(self.middle(left) * right.sum(1, keepdim=True))
        return answer


class Halves(nn.Module):
    """Puts out a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        inner: Tensor = self.inner(x)
        return inner.chunk(2, dim=1)


class Heads(nn.Module):
    """Has more rows than images on the way, as attention that is split into heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inside = nn.Linear(6, 8), nn.Linear(4, 4)
        self.out, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(self.stem(x).reshape(-1, 4)).reshape(-1, 8)
        answer: Tensor = self.head(torch.relu(self.out(x)))
        return answer


class Table(nn.Module):
    """Looks four positions up, which happen to be two for each of two images."""

    def __init__(self) -> None:
        super().__init__()
        self.positions, self.stem, self.head = nn.Linear(2, 8), nn.Linear(6, 8), nn.Linear(8, 3)
        self.register_buffer("grid", torch.eye(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        offset = self.positions(self.grid).view(4, 8).mean(0)
        answer: Tensor = self.head(torch.relu(self.stem(x + 0.0 * offset[:6])))
        return answer


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 8),
        nn.ReLU(inplace=True),
        nn.Linear(8, 3),
    )


SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutional": (convolutional, (5, 2, 9, 9)),
    "residual": (Residual, (5, 6)),
    "in place": (InPlace, (5, 6)),
    "pair": (Pair, (5, 6)),
    "heads": (Heads, (5, 6)),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_small_network_answers_from_the_middle_as_from_the_start(name: str, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    make, shape = SMALL[name]
    module, x = make().eval(), images(*shape)
    if x.ndim == 4:
        x = x.contiguous(memory_format=layout)
    layers = called(module, x)
    plain = walked(module, edited(module, []), x)
    for position in range(1, len(layers)):
        state = edited(module, [layer for layer, _ in layers[position:]])
        expected = walked(module, state, x)
        assert not torch.equal(expected, plain)
        same(resumed(module, layers[position][1], state, x), expected)


def test_what_lies_before_the_layer_is_not_walked_again() -> None:
    torch.manual_seed(0)
    module, x, walks = convolutional().eval(), images(5, 2, 9, 9), count()

    class Counting(nn.Identity):
        def forward(self, x: Tensor) -> Tensor:
            next(walks)
            return x

    whole = nn.Sequential(Counting(), module).eval()
    partial_forward = PartialForward(ForwardTrace(whole, x[:2]), module[7])  # type: ignore[index]
    _, kept = record_outputs(whole, partial_forward.boundary, x)
    before = next(walks)
    partial_forward.run(edited(whole, []), [kept[m] for m in partial_forward.boundary], x)
    assert next(walks) == before + 1


def test_only_what_the_rest_reads_is_recorded() -> None:
    module = convolutional().eval()
    assert PartialForward(ForwardTrace(module, images(2, 2, 9, 9)), module[3]).boundary == (module[2],)  # type: ignore[index]
    residual = Residual().eval()
    # What goes around the second block is a sum that no module makes: both parts are needed.
    assert set(PartialForward(ForwardTrace(residual, images(2, 6)), residual.second[0]).boundary) == {
        residual.stem,
        residual.first,
    }


@pytest.mark.parametrize("start", ["first", "never called", "called twice"])
def test_where_nothing_can_be_skipped_nothing_is_read(start: str) -> None:
    module = Twice().eval()
    module.spare = nn.Linear(2, 2)
    layer = {"first": module.stem, "never called": module.spare, "called twice": module.shared}[start]
    assert PartialForward(ForwardTrace(module, images(2, 6)), layer).boundary == ()
    untouched(module)


def test_a_way_in_that_suits_two_images_only_is_not_taken() -> None:
    table = Table().eval()
    assert PartialForward(ForwardTrace(table, images(2, 6)), table.head).boundary == ()
    untouched(table)


def test_a_module_that_is_called_twice_is_walked_where_its_second_call_comes_later() -> None:
    torch.manual_seed(0)
    module, x = Twice().eval(), images(5, 6)
    for names in (["middle", "head"], ["head"]):
        state = edited(module, names)
        expected = walked(module, state, x)
        assert not torch.equal(expected, walked(module, edited(module, []), x))
        partial_forward = PartialForward(ForwardTrace(module, x[:2]), module.get_submodule(names[0]))
        assert module.shared not in partial_forward.boundary
        _, kept = record_outputs(module, partial_forward.boundary, x)
        if partial_forward.boundary:
            same(partial_forward.run(state, [kept[m] for m in partial_forward.boundary], x), expected)


class Program(nn.Module):
    """Runs steps on a list of features; each step's result joins the list."""

    def __init__(self, steps: Sequence[tuple[str, int, int]]) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in steps)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        known = [x]
        for (kind, a, b), layer in zip(self.steps, self.layers, strict=True):
            left, right = known[a % len(known)], known[b % len(known)]
            match kind:
                case "layer":
                    result = layer(left)
                case "sum":
                    result = layer(left) + right
                case "again":
                    result = layer(layer(left))
                case "in place":
                    result = self.act(layer(left))
                case _:
                    result = layer(left).mul_(right)
            known.append(result)
        answer: Tensor = self.head(known[-1] + known[len(known) // 2])
        return answer


STEPS = st.tuples(
    st.sampled_from(["layer", "sum", "again", "in place", "functional in place"]),
    st.integers(0, 20),
    st.integers(0, 20),
)


@limits(max_examples=80)
@given(st.lists(STEPS, min_size=1, max_size=6))
def test_whatever_the_wiring_an_answer_from_the_middle_is_the_plain_one(steps: list[tuple[str, int, int]]) -> None:
    torch.manual_seed(0)
    module, x = Program(steps).eval(), images(5, 6)
    layers = called(module, x)
    for position, (_, start) in enumerate(layers):
        state = edited(module, [layer for layer, _ in layers[position:]])
        partial_forward = PartialForward(ForwardTrace(module, x[:2].clone()), start)
        _, kept = record_outputs(module, partial_forward.boundary, x)
        if partial_forward.boundary:
            same(partial_forward.run(state, [kept[m] for m in partial_forward.boundary], x), walked(module, state, x))
        untouched(module)


# -- what may not go wrong ----------------------------------------------------------------------------


def test_no_module_stays_patched_after_a_failure() -> None:
    module, x = convolutional().eval(), images(5, 2, 9, 9)
    partial_forward = PartialForward(ForwardTrace(module, x[:2]), module[7])  # type: ignore[index]
    _, kept = record_outputs(module, partial_forward.boundary, x)
    broken = {**edited(module, []), "7.weight": torch.zeros(8, 7)}
    before = walked(module, edited(module, []), x)
    with pytest.raises(RuntimeError):
        partial_forward.run(broken, [kept[m] for m in partial_forward.boundary], x)
    untouched(module)
    same(walked(module, edited(module, []), x), before)


def test_hooks_come_off_where_the_network_itself_fails() -> None:
    module = convolutional().eval()
    for ask in (
        lambda: PartialForward(ForwardTrace(module, images(2, 2, 1, 1)), module[3]),  # type: ignore[index]
        lambda: record_outputs(module, [module[3]], images(2, 2, 1, 1)),  # type: ignore[index]
    ):
        with pytest.raises(RuntimeError):
            ask()
        untouched(module)


def test_a_module_that_somebody_else_has_patched_is_left_alone() -> None:
    module, x = convolutional().eval(), images(5, 2, 9, 9)
    mine = nn.Identity().forward
    module[0].forward = lambda images: nn.functional.pad(images, (0, 0)).repeat(1, 2, 1, 1)  # type: ignore[index]
    theirs = vars(module[0])["forward"]  # type: ignore[index]
    assert mine is not theirs
    partial_forward = PartialForward(ForwardTrace(module, x[:2]), module[7])  # type: ignore[index]
    assert vars(module[0])["forward"] is theirs  # type: ignore[index]
    _, kept = record_outputs(module, partial_forward.boundary, x)
    state = edited(module, ["7", "9"])
    if partial_forward.boundary:
        same(partial_forward.run(state, [kept[m] for m in partial_forward.boundary], x), walked(module, state, x))
    assert vars(module[0])["forward"] is theirs  # type: ignore[index]


class Stash(nn.Module):
    """Keeps what it was given on itself."""

    kept: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.kept = x
        return 2 * x


class Reminded(nn.Module):
    """Reads again what an earlier module kept on the side."""

    def __init__(self) -> None:
        super().__init__()
        self.stash, self.middle, self.head = Stash(), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.middle(self.stash(x)) + self.stash.kept)
        return answer


def test_a_network_that_keeps_features_on_the_side_answers_right_or_is_walked_as_a_whole() -> None:
    torch.manual_seed(0)
    module, x = Reminded().eval(), images(6, 4)
    partial_forward = PartialForward(ForwardTrace(module, x[:2]), module.head)
    _, kept = record_outputs(module, partial_forward.boundary, x)
    record_outputs(module, partial_forward.boundary, images(6, 4, seed=2))
    state = edited(module, ["head"])
    if partial_forward.boundary:
        same(partial_forward.run(state, [kept[m] for m in partial_forward.boundary], x), walked(module, state, x))


class Gated(nn.Module):
    """Reads an early layer only to choose between two ways on."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.middle, self.head = nn.Linear(4, 1), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        shut, x = self.gate(x) <= 0, self.middle(x)
        answer: Tensor = self.head(torch.where(shut, 2 * x, x))
        return answer


def test_a_network_with_a_hard_gate_answers_right_or_is_walked_as_a_whole() -> None:
    torch.manual_seed(0)
    module, x = Gated().eval(), images(40, 4)
    with torch.inference_mode():
        opened = module.gate(x)[:, 0] > 0
    assert 0 < int(opened.sum()) < 40
    partial_forward = PartialForward(ForwardTrace(module, x[opened][:2]), module.head)
    _, kept = record_outputs(module, partial_forward.boundary, x)
    state = edited(module, ["head"])
    if partial_forward.boundary:
        same(partial_forward.run(state, [kept[m] for m in partial_forward.boundary], x), walked(module, state, x))


# -- architectures as they are in use ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_an_architecture_of_timm_answers_from_the_middle_as_from_the_start(name: str) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": 32} if name == "test_vit" else {}
    module = timm.create_model(name, num_classes=5, **options).eval()
    module = module.to(memory_format=torch.channels_last)
    x = images(3, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    layers = called(module, x)
    plain = walked(module, edited(module, []), x)
    for position in {1, len(layers) // 3, len(layers) // 2, len(layers) - 2, len(layers) - 1}:
        state = edited(module, [layer for layer, _ in layers[position:]])
        expected = walked(module, state, x)
        assert not torch.equal(expected, plain)
        same(resumed(module, layers[position][1], state, x), expected)


class Turned(nn.Module):
    """Returns rows in an order of its own: each image's together, or not."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        heads = x.reshape(len(x), 2, 3)
        if self.order == "by image":
            return heads.reshape(-1, 3)
        if self.order == "by head":
            return heads.transpose(0, 1).reshape(-1, 3)
        return heads.transpose(0, 1)


class Back(nn.Module):
    """Puts the rows of :class:`Turned` back, and has weights."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order
        self.linear = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "by head":
            x = x.reshape(2, -1, 3).transpose(0, 1)
        elif self.order == "positions first":
            x = x.transpose(0, 1)
        answer: Tensor = self.linear(x.reshape(-1, 6))
        return answer


@pytest.mark.parametrize(("order", "by_image"), [("by image", True), ("by head", False), ("positions first", False)])
def test_whether_rows_lie_by_image_is_told(*, order: str, by_image: bool) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 6), Turned(order), Back(order)).eval()
    x = images(5, 6)
    start = PartialForward(ForwardTrace(module, x[:2]), module[2])
    assert start.boundary == (module[1],)
    assert start.by_image == by_image
    _, kept = record_outputs(module, start.boundary, x)
    same(start.run({}, [kept[m] for m in start.boundary], x), module(x))


class PreNorm(nn.Module):
    """A block of a transformer: what it adds to its input is made of the input, normalised."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = x + self.second(torch.relu(self.first(self.norm(x))))
        return answer


@pytest.mark.parametrize(("norm", "again"), [(nn.LayerNorm(6), True), (nn.Linear(6, 6), False)])
def test_what_is_cheap_to_compute_of_what_is_recorded_is_not_recorded(norm: nn.Module, *, again: bool) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 6), PreNorm(norm), nn.Linear(6, 3)).eval()
    block = module[1]
    assert isinstance(block, PreNorm)
    x = images(5, 6)
    start = PartialForward(ForwardTrace(module, x[:2]), block.first)
    assert set(start.boundary) == ({module[0]} if again else {module[0], block.norm})
    _, kept = record_outputs(module, start.boundary, x)
    same(start.run({}, [kept[m] for m in start.boundary], x), module(x))
    # What a block has computed in between is neither cheap nor made of what is recorded.
    assert module[0] in PartialForward(ForwardTrace(module, x[:2]), block.second).boundary
