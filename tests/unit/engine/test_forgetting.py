"""The method without a ledger: any network and loader in, edited weights and a report out."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ledger.algebra.map_factors import MapFactors
from ledger.algebra.strength import Strength
from ledger.domain.settings import Settings
from ledger.engine.forgetting import forget
from ledger.errors import DataError, LedgerError, TooFewRetainedError, UnsupportedLayerError, UsageError
from tests.fixtures.small_networks import Images, blobs

SETTINGS = Settings(retain_samples=40, forget_samples=40, calibration_samples=20, rows_per_class=80)
CLASSES = 4


@pytest.fixture(scope="module")
def images() -> Images:
    return blobs(CLASSES, 80, 40, signal=1.5)


@pytest.fixture(scope="module")
def network(images: Images) -> nn.Sequential:
    """A network that knows the blobs; it must, or forgetting would prove nothing."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    labels = torch.from_numpy(images.train_labels)
    for _ in range(60):
        optimiser.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(module(images.train), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert min(recognised(module, images).values()) > 0.9
    return module


def loader(images: Images, size: int = 32) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(images.train, torch.from_numpy(images.train_labels)), batch_size=size)


def recognised(module: nn.Module, images: Images, state: dict[str, Tensor] | None = None) -> dict[int, float]:
    """Return the accuracy on test images of each class."""
    with torch.inference_mode():
        answers = torch.func.functional_call(module, state or dict(module.state_dict()), (images.test,)).argmax(1)
    labels = torch.from_numpy(images.test_labels)
    return {k: float((answers[labels == k] == k).double().mean()) for k in range(CLASSES)}


def test_the_class_is_forgotten_and_the_others_are_kept(network: nn.Module, images: Images) -> None:
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    state, report = forget(network, loader(images), [2], settings=SETTINGS)
    after = recognised(network, images, state)
    assert after[2] <= 0.05
    assert min(share for k, share in after.items() if k != 2) > 0.85
    assert report.passed
    assert report.classes[0].index == 2
    assert report.classes[0].before > 0.9
    # The caller's network is as it was, and shares nothing with what came out.
    assert network.training
    assert all(torch.equal(own[name], tensor) for name, tensor in network.state_dict().items())
    assert {t.data_ptr() for t in state.values()}.isdisjoint({t.data_ptr() for t in network.state_dict().values()})
    network.eval().load_state_dict(state)
    assert recognised(network, images) == after
    network.load_state_dict(own)


def test_batches_do_not_show_in_the_bytes(network: nn.Module, images: Images) -> None:
    one, other = (forget(network, loader(images, size), [1], settings=SETTINGS).state for size in (7, 320))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_solver_of_ones_own_takes_part(network: nn.Module, images: Images) -> None:
    class Silencing:
        """Silence the outputs of forgotten classes, and do nothing else."""

        name = "silencing"
        seen = 0

        def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
            Silencing.seen += 1
            change = torch.zeros_like(factors.weight)
            if factors.own_outputs is not None:
                change[list(factors.own_outputs)] = -100 * factors.weight.abs().max()
            return change

    state, report = forget(network, loader(images), [0], solvers=[Silencing()], settings=SETTINGS)
    assert Silencing.seen
    assert report.solver == "silencing"
    assert {trial.solver for trial in report.trials} == {"silencing"}
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, state[name])}
    assert changed <= {"3.weight"}
    beside = forget(network, loader(images), [0], solvers=["redirect", Silencing()], settings=SETTINGS).report
    assert beside.solver == "redirect"  # graded solvers go first


def test_what_was_forgotten_before_needs_no_images(network: nn.Module, images: Images) -> None:
    first = forget(network, loader(images), [3], settings=SETTINGS)
    kept = torch.from_numpy(images.train_labels) != 3
    rest = DataLoader(TensorDataset(images.train[kept], torch.from_numpy(images.train_labels)[kept]), batch_size=32)
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(first.state)
    then = forget(network, rest, [1], forgotten_before=[3], settings=SETTINGS)
    after = recognised(network, images, then.state)
    network.load_state_dict(own)
    assert max(after[1], after[3]) <= 0.05
    assert min(after[0], after[2]) > 0.85


def test_a_loader_that_yields_once_is_enough(network: nn.Module, images: Images) -> None:
    def once() -> Iterator[tuple[Tensor, Tensor]]:
        yield from [(x, y) for x, y in loader(images)]

    assert forget(network, once(), [2], settings=SETTINGS).report.passed


def test_the_report_is_a_table_and_a_data_frame(network: nn.Module, images: Images) -> None:
    report = forget(network, loader(images), [2], settings=SETTINGS).report
    frame = report.to_pandas()
    assert list(frame["role"]) == ["forgotten", "retained"]
    assert "class 2" in report._repr_html_()
    with pytest.raises(AttributeError):
        report.passed = False  # type: ignore[misc]


class Unknown(nn.Module):
    """A layer that no handler knows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(36))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_a_layer_that_nobody_knows_is_named(images: Images) -> None:
    module = nn.Sequential(nn.Flatten(), Unknown(), nn.Linear(36, CLASSES))
    with pytest.raises(UnsupportedLayerError, match=r"1\.weight"):
        forget(module, loader(images), [2], settings=SETTINGS)


@pytest.mark.parametrize(
    ("classes", "kind"),
    [([], UsageError), ([4], UsageError), ([True], UsageError), (["2"], UsageError), ([0, 1, 2], TooFewRetainedError)],
)
def test_classes_that_cannot_be_forgotten(network: nn.Module, images: Images, classes: list[int], kind: type) -> None:
    with pytest.raises(kind):
        forget(network, loader(images), classes, settings=SETTINGS)


X, Y = torch.zeros(8, 1, 6, 6), torch.arange(8) % CLASSES


@pytest.mark.parametrize(
    "batches",
    [
        [],
        [X],
        [(X,)],
        [(X, Y.float())],
        [(X, Y[:3])],
        [(X.long(), Y)],
        [(X, Y + 1)],
        [(X, Y - 1)],
        [(X, Y * 0)],
        [(X / 0, Y)],
        [(X, Y), (torch.zeros(8, 1, 7, 7), Y)],
        [(torch.zeros(8, 3, 5, 5), Y)],
        ["text"],
        [(X, "text")],
    ],
    ids=str,
)
def test_a_loader_that_yields_something_else(network: nn.Module, batches: list[object]) -> None:
    with pytest.raises(DataError) as raised:
        forget(network, batches, [2], settings=SETTINGS)  # type: ignore[arg-type]
    assert raised.value.message


def test_two_solvers_of_one_name(network: nn.Module, images: Images) -> None:
    with pytest.raises(UsageError):
        forget(network, loader(images), [2], solvers=["redirect", "redirect"], settings=SETTINGS)
    with pytest.raises(LedgerError, match="no solver is called"):
        forget(network, loader(images), [2], solvers=["redirekt"], settings=SETTINGS)
