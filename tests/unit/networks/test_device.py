"""Which device computes: by name, and only where there is one."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from ledger.errors import UsageError
from ledger.networks.device import AUTO, choose_device

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


def test_the_processor_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@no_cuda
def test_auto_is_the_processor_where_there_is_nothing_else() -> None:
    assert choose_device(AUTO) == torch.device("cpu")


@no_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:99"])
def test_a_device_that_this_machine_lacks_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"this machine has no device '{name}'") as refused:
        choose_device(name)
    assert refused.value.hint is not None
    assert "cpu" in refused.value.hint


@pytest.mark.parametrize("name", ["tpu", "meta", "mps", "", "cuda:x", "cuda:-1", "gpu", "CPU"])
def test_what_is_no_device_to_compute_on_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no device to compute on") as refused:
        choose_device(name)
    assert refused.value.hint == "use auto, cpu, cuda or cuda:N"


SWITCHES: tuple[tuple[Any, str, bool], ...] = (
    (torch.backends.cuda.matmul, "allow_tf32", True),
    (torch.backends.cudnn, "allow_tf32", True),
    (torch.backends.cudnn, "deterministic", False),
    (torch.backends.cudnn, "benchmark", True),
)
"""What decides how CUDA computes, set to the contrary of what is wanted."""


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Pretend that the machine has so many CUDA devices, and put torch's switches back afterwards."""
    before = [getattr(backend, switch) for backend, switch, _ in SWITCHES]
    for backend, switch, value in SWITCHES:
        setattr(backend, switch, value)

    def have(devices: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)

    yield have
    for (backend, switch, _), value in zip(SWITCHES, before, strict=True):
        setattr(backend, switch, value)


def test_auto_is_cuda_where_there_is_one(pretend: Callable[[int], None]) -> None:
    pretend(2)
    assert choose_device(AUTO) == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="no device 'cuda:2'"):
        choose_device("cuda:2")


def test_on_cuda_nothing_is_rounded_or_tried_out(pretend: Callable[[int], None]) -> None:
    pretend(1)
    choose_device("cpu")
    assert torch.backends.cudnn.benchmark
    choose_device("cuda")
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
