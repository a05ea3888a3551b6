"""Data in the forms of other libraries, written by these libraries: the same pixels, classes and digests as folders."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import webdataset
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from ledger.plugins.data import parquet
from ledger.plugins.data.folder import FolderSource
from PIL import Image
from pyarrow import parquet as pq

from ledger.domain.data_record import DataOptions, SourceContents
from ledger.domain.settings import CropMode, Preprocessing
from ledger.errors import DataError, UsageError
from ledger.plugin_manager import Plugins, build_plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ledger.hookspecs import DigestedSource

RGB = Preprocessing(3, 16, 16, (0.0,) * 3, (1.0,) * 3, "bilinear", 0.9, CropMode.CENTER)
CLASSES = ("cat", "dog", "eel")
EACH = {"train": 6, "test": 3}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return build_plugins()


def _bytes(split: str, number: int) -> bytes:
    """Return an image file: noise of odd sizes, so that each is another one."""
    generator = np.random.default_rng([len(split), number])
    pixels = generator.integers(0, 256, (20 + number % 5, 18 + number % 7, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def _images(split: str) -> Iterator[tuple[int, bytes]]:
    """Yield class and file of each image, in order of classes."""
    for k in range(len(CLASSES)):
        for number in range(EACH[split]):
            yield k, _bytes(split, 10 * k + number)


def _folder(root: Path) -> str:
    for split in EACH:
        for number, (k, data) in enumerate(_images(split)):
            path = root / split / CLASSES[k] / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return f"folder:{root}"


def _csv(root: Path) -> str:
    _folder(root)
    with (root / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        writer.writerows(
            [p.relative_to(root), p.parent.name, p.parent.parent.name] for p in sorted(root.rglob("*.png"))
        )
    return f"csv:{root / 'table.csv'}"


def _dataset(split: str) -> Dataset:
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=list(CLASSES))})
    rows = [{"image": {"bytes": data, "path": None}, "label": k} for k, data in _images(split)]
    return Dataset.from_list(rows, features=features)


def _hfds(root: Path) -> str:
    DatasetDict({split: _dataset(split) for split in EACH}).save_to_disk(str(root), num_shards=dict.fromkeys(EACH, 2))
    return f"hfds:{root}"


def _parquet_of_datasets(root: Path) -> str:
    (root / "data").mkdir(parents=True)
    for split in EACH:
        _dataset(split).to_parquet(str(root / "data" / f"{split}-00000-of-00001.parquet"))
    return f"parquet:{root}"


def _parquet_of_pyarrow(root: Path) -> str:
    root.mkdir()
    for split in EACH:
        pairs = list(_images(split))
        table = pa.table({"picture": [d for _, d in pairs], "class": [CLASSES[k] for k, _ in pairs]})
        pq.write_table(table, root / f"{split}.parquet", row_group_size=4)
    return f"parquet:{root}"


def _wds(root: Path) -> str:
    root.mkdir()
    for split in EACH:
        with webdataset.ShardWriter(str(root / f"{split}-%06d.tar"), maxcount=5, verbose=0) as shards:
            for number, (k, data) in enumerate(_images(split)):
                shards.write({"__key__": f"{number:06}", "png": data, "cls": k})
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return f"wds:{root}"


KINDS: dict[str, Callable[[Path], str]] = {
    "csv": _csv,
    "hfds": _hfds,
    "parquet of datasets": _parquet_of_datasets,
    "parquet of pyarrow": _parquet_of_pyarrow,
    "wds": _wds,
}


def _opened(plugins: Plugins, spec: str, cache: Path | None = None, **options: Any) -> DigestedSource:
    source: Any = plugins.data_source(spec, DataOptions(**options), cache)
    found: DigestedSource = source
    return found


def _contents(source: DigestedSource, counts: list[int] | None = None, *, check: bool = True) -> SourceContents:
    def begin(total: int) -> Callable[[], None]:
        if counts is not None:
            counts.append(total)
        return lambda: None

    return source.contents(begin, check=check)


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_those_of_a_folder(plugins: Plugins, tmp_path: Path, kind: str) -> None:
    expected = FolderSource(tmp_path / "plain", DataOptions(), None) if _folder(tmp_path / "plain") else None
    assert expected is not None
    found = _opened(plugins, KINDS[kind](tmp_path / "made"))
    assert list(found.labels) == list(CLASSES)
    for ours, theirs in ((found.train, expected.train), (found.test, expected.test)):
        assert list(ours.labels) == list(theirs.labels)
        order = [len(ours.labels) - 1, 0, 3, 3, *range(len(ours.labels))]
        torch.testing.assert_close(ours.pixels(order, RGB), theirs.pixels(order, RGB), rtol=0, atol=0)
    contents = _contents(found)
    assert contents.bad == ()
    counts = {label: (one.train_images, one.test_images) for label, one in contents.classes.items()}
    assert counts == dict.fromkeys(CLASSES, (EACH["train"], EACH["test"]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_is_known_by_class_and_nothing_is_read_twice(
    plugins: Plugins, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.plugins.data.records.SETTLED_NS", 0)
    cache, read = tmp_path / "digests.db", list[int]()
    spec = KINDS[kind](tmp_path / "made")
    before = _contents(_opened(plugins, spec, cache), read)
    assert _contents(_opened(plugins, spec, cache), read) == before
    assert read == [sum(len(CLASSES) * count for count in EACH.values())]
    # Elsewhere, its content is the same.
    (tmp_path / "made").rename(tmp_path / "moved")
    moved = spec.replace(str(tmp_path / "made"), str(tmp_path / "moved"))
    assert _contents(_opened(plugins, moved, cache)).classes == before.classes
    # Another image of one class is a change of that class alone.
    monkeypatch.setattr(f"{__name__}._bytes", lambda split, number: ORIGINAL(split, 99 if number == 10 else number))
    after = _contents(_opened(plugins, KINDS[kind](tmp_path / "made"), cache)).classes
    assert [label for label in CLASSES if after[label] != before.classes[label]] == ["dog"]


ORIGINAL = _bytes


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_cannot_be_read_is_named_and_can_be_left_out(
    plugins: Plugins, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        f"{__name__}._bytes", lambda split, number: b"no image" if number == 10 else ORIGINAL(split, number)
    )
    spec = KINDS[kind](tmp_path / "made")
    bad = _contents(_opened(plugins, spec)).bad
    assert len(bad) == 2
    assert all("not an image" in one.cause for one in bad)
    rest = _opened(plugins, spec, skipped=tuple(one.name for one in bad))
    assert _contents(rest).bad == ()
    assert len(rest.train.labels) == len(CLASSES) * EACH["train"] - 1
    with pytest.raises(DataError, match="cannot read the image"):
        _opened(plugins, spec).train.pixels([6], RGB)


def _one_part(kind: str, root: Path) -> str:
    """Return a source with training images only."""
    spec = KINDS[kind](root)
    if kind == "csv":
        lines = (root / "table.csv").read_text().splitlines()
        (root / "table.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
        return spec
    if kind == "hfds":
        _dataset("train").save_to_disk(str(root / "alone"))
        return f"hfds:{root / 'alone'}"
    if kind.startswith("parquet"):
        return f"parquet:{next(root.rglob('train*.parquet'))}"
    for path in root.glob("test*"):
        path.unlink()
    return spec


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_without_test_images_is_split_when_asked(plugins: Plugins, tmp_path: Path, kind: str) -> None:
    spec = _one_part(kind, tmp_path / "made")
    with pytest.raises(DataError, match="training images only") as caught:
        _opened(plugins, spec)
    assert "--split 0.8/0.2" in caught.value.hint
    first, second = (_opened(plugins, spec, test_share=1 / 3, split_seed=seed) for seed in (0, 1))
    again = _opened(plugins, spec, test_share=1 / 3, split_seed=0)
    each = len(first.train.labels) // len(CLASSES), len(first.test.labels) // len(CLASSES)
    assert each == ((6, 3) if kind == "csv" else (4, 2))
    assert sorted(first.test.labels) == sorted(list(range(len(CLASSES))) * each[1])
    assert first.digest == again.digest != second.digest
    assert any("set aside" in note for note in _contents(first).notes)


def test_a_large_row_group_is_streamed(plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are decoded a few at a time, and only what was read last is held."""
    monkeypatch.setattr(parquet, "AT_ONCE", 2)
    monkeypatch.setattr(parquet, "MOST_HELD_BYTES", 4000)
    source = _opened(plugins, _parquet_of_pyarrow(tmp_path / "made"))
    expected = FolderSource(tmp_path / "plain", DataOptions(), None) if _folder(tmp_path / "plain") else None
    assert expected is not None
    order = [17, 0, 9, 4, 4, 16]
    torch.testing.assert_close(source.train.pixels(order, RGB), expected.train.pixels(order, RGB), rtol=0, atol=0)
    held = source.train.records.fetch._held  # type: ignore[attr-defined]
    assert 0 < sum(map(len, held.values())) <= 4000


# -- torchvision --------------------------------------------------------------------------------------


def _idx(array: np.ndarray) -> bytes:
    """Return an array as MNIST's files hold it. Source: http://yann.lecun.com/exdb/mnist, "the IDX file format"."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, count in (("train", 40), ("t10k", 20)):
        (folder / f"{name}-images-idx3-ubyte").write_bytes(_idx(generator.integers(0, 256, (count, 28, 28))))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(_idx(np.arange(count) % 10))
    return tmp_path / "data"


def test_datasets_of_torchvision_are_read_from_disk(plugins: Plugins, mnist: Path) -> None:
    import torchvision

    source = _opened(plugins, f"torchvision:FashionMNIST:{mnist}")
    theirs = torchvision.datasets.FashionMNIST(str(mnist), train=False)
    assert list(source.labels) == theirs.classes
    assert list(source.test.labels) == theirs.targets.tolist()
    pixels = source.test.pixels([5], Preprocessing(1, 28, 28, (0.0,), (1.0,), crop_mode=CropMode.CENTER))
    torch.testing.assert_close(pixels[0, 0], theirs.data[5] / 255)
    before = _contents(source).classes
    path = mnist / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    after = _contents(_opened(plugins, f"torchvision:FashionMNIST:{mnist}")).classes
    assert [label for label in before if before[label] != after[label]] == ["Ankle boot"]


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("torchvision:FashionMNIST", UsageError, "names no folder"),
        ("torchvision:FashonMNIST:data", UsageError, "no data set called 'FashonMNIST'"),
        ("torchvision:CIFAR10:{root}", DataError, "holds no CIFAR10 as torchvision keeps it"),
        ("hfds:{root}/none", DataError, "there is no folder"),
        ("parquet:{root}/none", DataError, "there is no file or folder"),
        ("parquet:{root}", DataError, "has no .parquet files"),
        ("wds:{root}", DataError, "has no .tar files"),
        ("csv:{root}/none.csv", DataError, "there is no file"),
    ],
)
def test_what_is_not_there_is_named(
    plugins: Plugins, tmp_path: Path, spec: str, error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(error, match=said):
        _opened(plugins, spec.format(root=tmp_path))


# -- tables that are not what they should be ------------------------------------------------------------

TABLES: dict[str, tuple[str, str]] = {
    "empty": ("", "has no column called path"),
    "other columns": ("a,b\n1,2\n", "has no column called path"),
    "no label": ("path,split\nx.png,train\n", "has no column called label"),
    "no rows": ("path,label\n", "has no rows"),
    "a gap": ("path,label,split\nx.png,,train\n", "line 2 of .* has no label"),
    "short row": ("path,label,split\nx.png,cat\n", "line 2 of .* has no split"),
    "twice": ("path,label\nx.png,cat\nx.png,dog\n", "names 1 images twice: x.png"),
    "no train": ("path,label,split\nx.png,cat,test\n", "no row whose split is train"),
    "open quote": ('path,label\n"x.png,cat\n', "is not a table"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_must_make_sense(plugins: Plugins, tmp_path: Path, kind: str) -> None:
    text, said = TABLES[kind]
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        _opened(plugins, f"csv:{tmp_path / 'table.csv'}", test_share=0.5)


def test_tables_of_other_programs_are_read(plugins: Plugins, tmp_path: Path) -> None:
    _folder(tmp_path)
    lines = ["Filename;Class;Subset;size"]
    lines += [f"{p.relative_to(tmp_path)};{p.parent.name};{p.parent.parent.name};1" for p in tmp_path.rglob("*.png")]
    (tmp_path / "table.csv").write_text("\r\n".join([*lines, "lost.png;cat;holdout;1"]), encoding="utf-8-sig")
    source = _opened(plugins, f"csv:{tmp_path / 'table.csv'}")
    assert (len(source.train.labels), len(source.test.labels)) == (18, 9)
    assert any("other splits are left out: 1 (holdout)" in note for note in _contents(source).notes)


def test_columns_can_be_named(plugins: Plugins, tmp_path: Path) -> None:
    data = [data for _, data in _images("train")]
    labels = [k for k, _ in _images("train")]
    pq.write_table(pa.table({"a": data, "b": data, "x": labels, "y": labels}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="which column holds the image") as caught:
        _opened(plugins, f"parquet:{tmp_path / 't.parquet'}", test_share=0.5)
    assert "image=COLUMN" in caught.value.hint
    source = _opened(plugins, f"parquet:{tmp_path / 't.parquet'}?image=b&label=y", test_share=0.5)
    assert list(source.labels) == ["0", "1", "2"]
    with pytest.raises(UsageError, match="cannot read 'images=b'"):
        _opened(plugins, f"parquet:{tmp_path / 't.parquet'}?images=b", test_share=0.5)


def test_shards_may_call_classes_by_name(plugins: Plugins, tmp_path: Path) -> None:
    for split in EACH:
        with webdataset.TarWriter(str(tmp_path / f"{split}.tar")) as shard:
            for number, (k, data) in enumerate(_images(split)):
                shard.write({"__key__": f"{number:03}", "png": data, "json": {"label": CLASSES[k]}})
    assert list(_opened(plugins, f"wds:{tmp_path}").labels) == list(CLASSES)
    with webdataset.TarWriter(str(tmp_path / "train.tar")) as shard:
        shard.write({"__key__": "7", "png": b"x"})
    with pytest.raises(DataError, match="has no class beside the image 7"):
        _opened(plugins, f"wds:{tmp_path}")
    (tmp_path / "train.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DataError, match="cannot read the shard"):
        _opened(plugins, f"wds:{tmp_path}")
    (tmp_path / "train.tar").rename(tmp_path / "train.tar.gz")
    with pytest.raises(DataError, match="is compressed") as caught:
        _opened(plugins, f"wds:{tmp_path}")
    assert "gunzip" in caught.value.hint


def test_what_datasets_of_the_hub_hold_is_read_from_its_cache(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "datasets--me--pets"
    commit = "0" * 40
    _parquet_of_datasets(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert list(_opened(plugins, "hfds:me/pets").labels) == list(CLASSES)
    with pytest.raises(DataError, match="nor in the cache of huggingface_hub") as caught:
        _opened(plugins, "hfds:me/other")
    assert "hf download --repo-type dataset me/other" in caught.value.hint


def test_a_description_that_names_files_elsewhere_is_refused(plugins: Plugins, tmp_path: Path) -> None:
    spec = _hfds(tmp_path / "made")
    state = tmp_path / "made" / "train" / "state.json"
    for text in (json.dumps({"_data_files": [{"filename": "../../x.arrow"}]}), "{}", "["):
        state.write_text(text)
        with pytest.raises(DataError):
            _opened(plugins, spec)


def test_a_table_that_only_names_files_reads_none(plugins: Plugins, tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": "/etc/hostname"}, {"bytes": None, "path": None}] * 2
    pq.write_table(pa.table({"image": pa.array(rows, kind), "label": [0, 0, 1, 1]}), tmp_path / "t.parquet")
    causes = [one.cause for one in _contents(_opened(plugins, f"parquet:{tmp_path / 't.parquet'}", test_share=0.5)).bad]
    assert sorted(causes) == sorted(
        ["the table names a file instead of holding the image", "the table holds no image here"] * 2
    )
