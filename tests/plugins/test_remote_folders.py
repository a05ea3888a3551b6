"""Folders behind a URL: the same images and digests as on a disk, fetched once, with copies of bounded size."""

from __future__ import annotations

import io
import uuid
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pytest
import torch
from ledger.plugins.data.folder import unledger_data_source
from ledger.plugins.data.image_cache import ImageCache
from ledger.plugins.data.remote_files import RemoteFiles
from PIL import Image

from ledger.domain.data_record import DataOptions
from ledger.domain.settings import Preprocessing
from ledger.errors import DataError, TransientError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREPROCESSING = Preprocessing(3, 8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
OPTIONS = DataOptions()
NAMES = ("train/cat/1.png", "train/cat/below/2.jpg", "train/dog/3.png", "test/cat/4.png", "test/dog/5.png")


def picture(seed: int, kind: str) -> bytes:
    """Return the bytes of an image file."""
    values = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG" if kind.endswith("jpg") else "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server of our own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix with images of two classes."""
    name = f"unledger-{uuid.uuid4().hex[:8]}"
    if request.param == "s3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_server"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir(name)
    root = f"{request.param}://{name}/photos"
    for seed, file in enumerate(NAMES):
        write(f"{root}/{file}", picture(seed, file))
    write(f"{root}/train/cat/.hidden.png", b"")
    write(f"{root}/train/notes.txt", b"notes")
    return root


def write(url: str, data: bytes) -> None:
    with fsspec.open(url, "wb") as file:
        file.write(data)


def opened(url: str, cache: Path | None = None, options: DataOptions = OPTIONS) -> Any:
    source = unledger_data_source(f"folder:{url}", options, cache)
    assert source is not None
    return source


def contents(source: Any, read: list[int] | None = None, *, check: bool = False) -> Any:
    """Return what a source consists of; note how many images were read for it."""

    def begin(total: int) -> Any:
        if read is not None:
            read.append(total)
        return lambda: None

    return source.contents(begin, check=check)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are fetched, in order."""
    names: list[str] = []
    original = RemoteFiles._cat

    def noting(self: RemoteFiles, paths: list[str]) -> Any:
        names.extend(paths)
        return original(self, paths)

    monkeypatch.setattr(RemoteFiles, "_cat", noting)
    return names


def test_pixels_and_digests_are_those_of_the_same_tree_on_a_disk(url: str, tmp_path: Path) -> None:
    for seed, file in enumerate(NAMES):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(picture(seed, file))
    here, there = opened(str(tmp_path)), opened(url)
    assert there.labels == here.labels == ["cat", "dog"]
    for mine, theirs in ((here.train, there.train), (here.test, there.test)):
        assert list(theirs.labels) == list(mine.labels)
        every = range(len(mine.labels))
        assert torch.equal(theirs.pixels(every, PREPROCESSING), mine.pixels(every, PREPROCESSING))
    found = contents(there, check=True)
    assert found.classes == contents(here).classes
    assert there.digest == here.digest
    assert not found.bad
    assert any("hidden" in note for note in found.notes)
    assert any("outside the folders of classes" in note for note in found.notes)


@pytest.mark.parametrize("top", ["train", ""])
def test_a_part_is_set_aside_as_on_a_disk(url: str, tmp_path: Path, top: str) -> None:
    options = DataOptions(test_share=0.25, split_seed=3)
    names = [f"{top}/{label}/{k}.png".lstrip("/") for label in ("cat", "dog") for k in range(8)]
    away = f"{url}/pets"
    for seed, name in enumerate(names):
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed, name))
        write(f"{away}/{name}", picture(seed, name))
    here, there = opened(str(tmp_path / "pets"), options=options), opened(away, options=options)
    assert there.labels == here.labels == ["cat", "dog"]
    assert [len(part.labels) for part in (there.train, there.test)] == [12, 4]
    for mine, theirs in ((here.train, there.train), (here.test, there.test)):
        every = range(len(mine.labels))
        assert torch.equal(theirs.pixels(every, PREPROCESSING), mine.pixels(every, PREPROCESSING))
    assert contents(there).classes == contents(here).classes
    assert any("set aside" in note for note in contents(there).notes)
    skipped = DataOptions(test_share=0.25, split_seed=3, skipped=(f"{top or 'pets'}/cat/{_first(here)}",))
    assert [len(opened(place, options=skipped).train.labels) for place in (away, str(tmp_path / "pets"))] == [11, 11]


def _first(source: Any) -> str:
    return str(source.train.classes[0][2].files[0].name)


def test_nothing_is_set_aside_where_there_are_test_images(url: str) -> None:
    with pytest.raises(UsageError, match="has test images of its own"):
        opened(url, options=DataOptions(test_share=0.25))


def test_without_test_images_the_way_on_is_named(url: str) -> None:
    write(f"{url}/only/train/cat/1.png", picture(1, "1.png"))
    with pytest.raises(DataError, match="no train/ folder beside") as caught:
        opened(f"{url}/only")
    assert "--split 0.8/0.2" in str(caught.value.hint)


def test_what_has_not_changed_is_neither_fetched_nor_read_again(url: str, tmp_path: Path, fetched: list[str]) -> None:
    cache, read = tmp_path / "digests.db", list[int]()
    before = contents(opened(url, cache), read)
    assert (read, len(fetched)) == ([len(NAMES)], len(NAMES))
    fetched.clear()
    again = opened(url, cache)
    assert contents(again, read) == before
    again.train.pixels(range(3), PREPROCESSING)
    assert (read, fetched) == ([len(NAMES)], [])

    write(f"{url}/{NAMES[0]}", picture(99, NAMES[0]))
    changed = contents(opened(url, cache), read)
    assert read == [len(NAMES), 1]
    assert [path.rpartition("/")[2] for path in fetched] == ["1.png"]
    assert changed.classes["dog"] == before.classes["dog"]
    assert changed.classes["cat"].train != before.classes["cat"].train


def test_copies_of_what_was_deleted_are_deleted(url: str, tmp_path: Path) -> None:
    cache = tmp_path / "digests.db"
    contents(opened(url, cache))
    copies = tmp_path / "image-copies"
    assert len(list(copies.iterdir())) == len(NAMES)
    assert copies.stat().st_mode & 0o077 == 0
    fs, path = fsspec.core.url_to_fs(f"{url}/{NAMES[1]}")
    fs.rm_file(path)
    opened(url, cache)
    assert len(list(copies.iterdir())) == len(NAMES) - 1


def test_an_image_that_went_away_is_named(url: str) -> None:
    source = opened(url)
    fs, path = fsspec.core.url_to_fs(f"{url}/{NAMES[2]}")
    fs.rm_file(path)
    with pytest.raises(DataError, match=r"3\.png: it is not there any more"):
        source.train.pixels([2], PREPROCESSING)
    assert source.train.pixels([0, 1], PREPROCESSING).shape == (2, 3, 8, 8)


def test_bad_images_are_named_and_can_be_left_out(url: str) -> None:
    write(f"{url}/train/dog/broken.png", b"no image")
    found = contents(opened(url), check=True)
    assert [bad.name for bad in found.bad] == ["train/dog/broken.png"]
    skipping = opened(url, options=DataOptions(skipped=("train/dog/broken.png",)))
    assert not contents(skipping, check=True).bad
    assert len(skipping.train.labels) == 3


@pytest.mark.parametrize("url", ["memory"], indirect=True)
@pytest.mark.parametrize(
    ("added", "said"),
    [(("test/bird/1.png",), "test images of classes without training images: bird"), ((), "")],
)
def test_classes_of_the_test_images_alone_are_refused(url: str, added: tuple[str, ...], said: str) -> None:
    for name in added:
        write(f"{url}/{name}", picture(7, name))
    if said:
        with pytest.raises(DataError, match=said):
            opened(url)
    else:
        assert opened(url).labels == ["cat", "dog"]


def test_a_place_that_is_empty_or_unknown_is_told() -> None:
    with pytest.raises(DataError, match="there are no files"):
        opened(f"memory://{uuid.uuid4().hex}")
    with pytest.raises(DataError, match="names no place"):
        opened("nosuch://bucket/prefix")


def test_a_store_that_is_away_says_nothing_about_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ENDPOINT_URL", "http://127.0.0.1:9"), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(TransientError, match="cannot be reached"):
        opened("s3://bucket/prefix")


def test_copies_keep_within_their_bound(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "copies", 1000)
    for number in range(10):
        cache.put(f"{number}", bytes([number]) * 268)
    kept = [number for number in range(10) if cache.get(f"{number}") is not None]
    assert kept == [7, 8, 9]
    again = ImageCache(tmp_path / "copies", 1000)
    assert again.get("9") == bytes([9]) * 268
    [victim] = [path for path in (tmp_path / "copies").iterdir() if path.read_bytes()[:1] == b"\x08"]
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    assert again.get("8") is None, "a damaged copy is none"
    assert ImageCache(None, 1000).get("9") is None
    nothing = ImageCache(tmp_path / "none", 0)
    nothing.put("1", b"x")
    assert not (tmp_path / "none").exists()
