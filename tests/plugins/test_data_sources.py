"""The built-in data sources: what they yield, that it is always the same, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ledger.domain.settings import Preprocessing
from ledger.errors import DataError, UnknownDataSpecError
from ledger.images.loading import load_images
from ledger.plugin_manager import Plugins, build_plugins


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return build_plugins()


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for split, count in (("train", 3), ("val", 2)):
        for label, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
            for n in range(count):
                paint(tmp_path / split / label / f"{n}.png", colour)
    return tmp_path


RGB = Preprocessing(3, 8, 8, (0.0,) * 3, (1.0,) * 3)


def test_digits_are_split_once_and_for_all(plugins: Plugins) -> None:
    first, second = plugins.data_source("digits"), plugins.data_source("digits")
    assert first.digest == second.digest
    assert list(first.labels) == [str(d) for d in range(10)]
    assert len(first.train.labels) + len(first.test.labels) == 1797
    pixels = first.train.pixels([0, 5], Preprocessing(1, 16, 16))
    assert pixels.shape == (2, 1, 16, 16)
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1


def test_folder_orders_classes_and_files(plugins: Plugins, photos: Path) -> None:
    source = plugins.data_source(f"folder:{photos}")
    assert list(source.labels) == ["blue", "red"]
    assert list(source.train.labels) == [0, 0, 0, 1, 1, 1]
    assert list(source.test.labels) == [0, 0, 1, 1]
    torch.testing.assert_close(source.train.pixels([0, 5], RGB)[:, :, 0, 0], torch.tensor([[0.0, 0, 1], [1.0, 0, 0]]))


def test_folder_resizes_the_shorter_side_and_crops_the_centre(plugins: Plugins, photos: Path) -> None:
    wide = Image.new("RGB", (32, 16), (0, 0, 0))
    wide.paste((255, 255, 255), (8, 0, 24, 16))
    wide.save(photos / "train" / "blue" / "0.png")
    pixels = plugins.data_source(f"folder:{photos}").train.pixels([0], RGB)
    assert pixels.shape == (1, 3, 8, 8)
    assert float(pixels[..., 2:6].min()) > 0.99


def test_folder_digest_follows_the_files(plugins: Plugins, photos: Path) -> None:
    before = plugins.data_source(f"folder:{photos}").digest
    assert before == plugins.data_source(f"folder:{photos}").digest
    (photos / "train" / "red" / "2.png").unlink()
    assert plugins.data_source(f"folder:{photos}").digest != before


def test_an_unreadable_image_is_named_and_never_skipped(plugins: Plugins, photos: Path) -> None:
    (photos / "train" / "red" / "1.png").write_bytes(b"\x89PNG but no more")
    source = plugins.data_source(f"folder:{photos}")
    with pytest.raises(DataError, match=r"red/1\.png"):
        source.train.pixels(range(6), RGB)


@pytest.mark.parametrize("missing", ["train", "val"])
def test_folder_needs_both_splits(plugins: Plugins, photos: Path, missing: str) -> None:
    (photos / missing).rename(photos / "elsewhere")
    with pytest.raises(DataError, match="no train/ folder beside"):
        plugins.data_source(f"folder:{photos}")


def test_folder_refuses_a_test_class_never_trained_on(plugins: Plugins, photos: Path) -> None:
    paint(photos / "val" / "green" / "0.png", (0, 255, 0))
    with pytest.raises(DataError, match="green"):
        plugins.data_source(f"folder:{photos}")


def archive(path: Path, **changes: np.ndarray) -> str:
    noise = np.random.default_rng(0)
    arrays = {
        "x_train": noise.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": noise.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8),
        "y_test": np.array([0, 1, 2]),
    }
    np.savez(path, allow_pickle=True, **(arrays | changes))
    return f"npz:{path}"


def test_npz_reads_integers_and_floats_alike(plugins: Plugins, tmp_path: Path) -> None:
    spec = archive(tmp_path / "a.npz", labels=np.array(["x", "y", "z"]))
    source = plugins.data_source(spec)
    assert list(source.labels) == ["x", "y", "z"]
    integers = source.train.pixels([0, 1], Preprocessing(3, 4, 4))
    with np.load(tmp_path / "a.npz") as arrays:
        floats = archive(tmp_path / "b.npz", x_train=arrays["x_train"] / 255.0)
    same = plugins.data_source(floats)
    assert list(same.labels) == ["0", "1", "2"]
    torch.testing.assert_close(same.train.pixels([0, 1], Preprocessing(3, 4, 4)), integers)
    assert source.digest != same.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((6, 4))}, "shape"),
        ({"x_train": np.full((6, 4, 4, 3), np.nan)}, "floating values in"),
        ({"x_train": np.zeros((6, 4, 4, 3), dtype=np.int64)}, "uint8"),
        ({"labels": np.array(["x", "y"])}, "names only 2"),
    ],
)
def test_npz_refuses_what_is_no_image(
    plugins: Plugins, tmp_path: Path, changes: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        plugins.data_source(archive(tmp_path / "a.npz", **changes))


def test_npz_refuses_missing_arrays_objects_and_garbage(plugins: Plugins, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x_train=np.zeros((1, 4, 4)))
    with pytest.raises(DataError, match="lacks y_train"):
        plugins.data_source(f"npz:{tmp_path / 'few.npz'}")
    with pytest.raises(DataError, match="plain arrays"):
        plugins.data_source(archive(tmp_path / "objects.npz", labels=np.array([{}, {}, {}], dtype=object)))
    (tmp_path / "garbage.npz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match="readable"):
        plugins.data_source(f"npz:{tmp_path / 'garbage.npz'}")
    with pytest.raises(DataError, match="no file"):
        plugins.data_source(f"npz:{tmp_path / 'absent.npz'}")


def test_channels_must_fit_the_network(plugins: Plugins, tmp_path: Path) -> None:
    source = plugins.data_source(archive(tmp_path / "a.npz"))
    with pytest.raises(DataError, match="3 channels, the model takes 1"):
        source.train.pixels([0], Preprocessing(1, 4, 4))
    grey = plugins.data_source("digits").train.pixels([0], Preprocessing(3, 8, 8))
    torch.testing.assert_close(grey[:, 0], grey[:, 2])


def test_images_are_normalised_per_channel(plugins: Plugins, photos: Path) -> None:
    source = plugins.data_source(f"folder:{photos}")
    batch = load_images(source.train, [5], Preprocessing(3, 8, 8, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0)))
    torch.testing.assert_close(batch[0, :, 0, 0], torch.tensor([1.0, -1.0, 0.0]))


def test_an_unknown_specification_is_refused(plugins: Plugins) -> None:
    with pytest.raises(UnknownDataSpecError, match="tape:drive"):
        plugins.data_source("tape:drive")
