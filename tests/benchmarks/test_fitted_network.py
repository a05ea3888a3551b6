"""A network whose classifier was solved for recognises images that it was not solved from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform

CLASSES = 8


@pytest.fixture(scope="module")
def images(script: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("textures")
    script("imagenet_scale").make_images(root, CLASSES)
    return root


@pytest.mark.parametrize("arch", ["test_vit", "test_resnet", "test_convnext"])
def test_classes_are_recognised_in_images_that_were_not_looked_at(
    arch: str, images: Path, script: Callable[[str], Any]
) -> None:
    fitted_network = script("fitted_network").fitted_network
    network = fitted_network(arch, images / "train", seed=0)
    transform = create_transform(**resolve_data_config({}, model=network))  # type: ignore[no-untyped-call]
    files = [file for folder in sorted((images / "test").iterdir()) for file in folder.iterdir()]
    shown = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.inference_mode():
        answers = network(shown)
    assert answers.shape == (CLASSES, CLASSES)
    right = int((answers.argmax(1) == torch.arange(CLASSES)).sum())
    assert right >= CLASSES - 2
    # The same weights each time.
    again = fitted_network(arch, images / "train", seed=0)
    assert all(torch.equal(again.state_dict()[name], one) for name, one in network.state_dict().items())
