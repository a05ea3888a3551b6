"""The built-in data sources: what they yield, that it is always the same, and what they refuse."""

import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from ledger.plugins.data import image_arrays, image_fitting
from ledger.plugins.data.image_files import MODES, decode
from ledger.plugins.data.image_fitting import RESAMPLING
from ledger.plugins.data.memory_budget import MemoryBudget
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


def formerly(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Return what releases before the limits made of an image."""
    height, width = preprocessing.height, preprocessing.width
    with Image.open(path) as opened:
        image = opened.convert(MODES[preprocessing.channels])
    if image.size != (width, height):
        scale = max(width / image.width, height / image.height) / preprocessing.crop_fraction
        enlarged = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
        image = image.resize(enlarged, RESAMPLING.get(preprocessing.interpolation, Image.Resampling.BICUBIC))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


KINDS = [
    *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("TIFF", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("GIF", mode) for mode in ("L", "P")),
    *(("BMP", mode) for mode in ("L", "P", "RGB")),
    *(("PPM", mode) for mode in ("L", "RGB")),
]


@pytest.mark.parametrize(("kind", "mode"), KINDS)
@pytest.mark.parametrize("size", [(37, 80), (224, 224), (300, 7)])
def test_images_within_the_limits_give_the_same_bytes_as_ever(
    tmp_path: Path, kind: str, mode: str, size: tuple[int, int]
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = Image.fromarray(values)
    picture = picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)
    picture.save(tmp_path / "x.png", kind)
    for channels in (1, 3, 4):
        for interpolation, fraction in (("bicubic", 0.875), ("nearest", 1.0), ("lanczos", 0.5)):
            expected = Preprocessing(channels, 32, 24, interpolation=interpolation, crop_fraction=fraction)
            assert np.array_equal(decode(tmp_path / "x.png", expected), formerly(tmp_path / "x.png", expected))


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_photographs_give_the_same_bytes_as_ever(name: str) -> None:
    path = Path(str(files("sklearn.datasets.images").joinpath(name)))
    for side, fraction in ((224, 0.875), (32, 1.0), (640, 0.9)):
        expected = Preprocessing(3, side, side, crop_fraction=fraction)
        assert np.array_equal(decode(path, expected), formerly(path, expected))


def test_only_the_crop_of_a_long_and_narrow_image_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shades = np.linspace(0, 255, 400 * 3 * 3).reshape(400, 3, 3).astype(np.uint8)
    Image.fromarray(shades).save(tmp_path / "x.png")
    wanted = Preprocessing(3, 32, 32, crop_fraction=0.875)
    whole = decode(tmp_path / "x.png", wanted).astype(int)
    monkeypatch.setattr(image_fitting, "MOST_RESIZED_PIXELS", 0)
    part = decode(tmp_path / "x.png", wanted).astype(int)
    # Positions are rounded in another way.
    assert np.abs(whole - part).max() <= 1


def test_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "x.png", "GIF", save_all=True, append_images=frames[1:])
    assert decode(tmp_path / "x.png", RGB)[0, 0].tolist() == [255, 0, 0]


def test_links_are_followed_and_folders_are_searched_whatever_they_are_called(plugins: Plugins, photos: Path) -> None:
    paint(photos / "elsewhere.png", (0, 255, 0))
    (photos / "train" / "red" / "link.png").symlink_to(photos / "elsewhere.png")
    paint(photos / "train" / "red" / "more.jpg" / "x.png", (0, 0, 255))
    (photos / "train" / "red" / "loop").symlink_to(photos / "train" / "red")
    source = plugins.data_source(f"folder:{photos}")
    assert list(source.train.labels) == [0, 0, 0, 1, 1, 1, 1, 1]
    assert source.train.pixels([6, 7], RGB)[:, :, 0, 0].tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def test_a_budget_lets_wait_what_does_not_fit_beside_the_rest() -> None:
    budget, began = MemoryBudget(10), threading.Event()

    def work() -> None:
        with budget.reserved(5):
            began.set()

    with budget.reserved(100):
        waiting = threading.Thread(target=work)
        waiting.start()
        assert not began.wait(0.1)
    waiting.join()
    with budget.reserved(5), ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(timeout=10)


def test_large_arrays_are_resized_in_parts_with_the_same_result(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plugins.data_source(archive(tmp_path / "a.npz"))
    wanted = Preprocessing(3, 9, 9)
    whole = source.train.pixels(range(6), wanted)
    monkeypatch.setattr(image_arrays, "MOST_BYTES", 400)
    assert torch.equal(source.train.pixels(range(6), wanted), whole)
