"""Hostile images and arrays: the error is ours and names the file, time and memory are bounded, no program is run.

All are tried in one child process, which forks for each; run by itself, this file is that child.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.domain.settings import Preprocessing
from tests.faults.bounded import Outcome, outcomes_of_child, run_bounded
from tests.faults.hostile_arrays import archives, good, packed
from tests.faults.hostile_artifacts import CANARY, specials
from tests.faults.hostile_images import images

pytestmark = [
    pytest.mark.slow,
    # Read once at import: tests run with the environment guarded.
    pytest.mark.skipif(os.environ.get("FULL_SIZE") != "1", reason="takes minutes: FULL_SIZE=1 runs it"),
]
MOST_FILE_BYTES = 10**7
MOST_SECONDS = 10.0
"""Of processor time, for a file of that size."""
MOST_GROWTH = 10**9
"""Bytes of memory beyond what was imported."""
INPUT = Preprocessing(3, 224, 224)
READ = {
    *("1 x 65,535.png", "65,535 x 1.png", "65,535 x 976.png", "64 MP, grey.png", "64 MP, 16 bits and alpha.png"),
    *("more data than announced.png", "800,000 chunks behind.png", "100,000 frames.png", "PNG cut at 12411.png"),
    *("64 MP announced.jpg", "64 MP.jpg", "32 MP, four colours.jpg", "64 MP, progressive.jpg", "64 MP, 20 scans.jpg"),
    *("exif loop.jpg", "64 MP.gif.png", "frames.png", "2 MP, runs of one.bmp", "2 MP, ends of lines.bmp", "64 MP.tif"),
    *("small, strip of 4 GB.tif", "profile of 4 GB.tif", "bits of digits.pbm.png", "2 MP, rescaled.ppm"),
    *("2 MP of digits.pgm", "32 MP, WEBP.png", "32 MP, AVIF.png", "frames.webp", "folder"),
}
"""What may be read: it was made to take much, and takes little. Everything else is refused."""
Try = tuple[str, Callable[[], object]]


# -- the child ----------------------------------------------------------------------------------------


def _small(content: bytes) -> bytes:
    # What is refused shall not be refused for the size of its file.
    if len(content) > MOST_FILE_BYTES:
        raise AssertionError(len(content))
    return content


def _read_first(split: Any) -> None:
    if split.labels:
        split.pixels([0], INPUT)


def _image_tries(folder: Path) -> Iterator[Try]:
    from ledger.plugins.data.folder import FolderSplit
    from ledger.plugins.data.image_listing import LeftOut, list_images

    from ledger.domain.data_record import DataOptions

    def split(place: Path, name: str) -> Any:
        return FolderSplit([(place / name, name, list_images(place / name, name, LeftOut()))], DataOptions())

    inside = folder / "class"
    inside.mkdir()
    for name, content in images():
        path = inside / name
        path.write_bytes(_small(content))
        yield name, lambda: split(folder, "class").pixels([0], INPUT)
        path.unlink()
    for number, (name, make) in enumerate(specials(str(folder / CANARY))):
        place = folder / f"special{number}"
        place.mkdir()
        make(place / "x.jpg")
        # Listing refuses what is not a regular file; what is one, but no image, is refused when it is read.
        yield name, lambda place=place: _read_first(split(place, ""))  # type: ignore[misc]


def _exchanged_tries(folder: Path) -> Iterator[Try]:
    """Yield images that were regular files when they were listed, and are something else by now."""
    from ledger.plugins.data.image_files import decode

    for number, (name, make) in enumerate(specials(str(folder / CANARY))):
        path = make(folder / f"exchanged{number}.jpg")
        yield f"exchanged: {name}", lambda path=path: decode(path, INPUT)  # type: ignore[misc]


def _archive_tries(folder: Path) -> Iterator[Try]:
    from ledger.plugins.data.npz import NpzSource

    path = folder / "a.npz"
    path.write_bytes(packed(good()))
    expected = NpzSource(path).digest

    def read(path: Path) -> None:
        source = NpzSource(path)
        source.train.pixels(range(6), Preprocessing(3, 4, 4))
        # A changed bit of what is not data, such as a date, may go unnoticed.
        if source.digest != expected:
            raise AssertionError(path)

    for name, content in archives():
        path.write_bytes(_small(content))
        yield f"npz: {name}", lambda: read(path)
    for number, (name, make) in enumerate(specials(str(folder / CANARY))):
        special = make(folder / f"archive{number}")
        yield f"npz: {name}", lambda special=special: read(special)  # type: ignore[misc]


def main(folder: Path) -> None:
    """Try everything and print what came of it, one JSON object a line."""
    import torch
    from ledger.plugins.data.image_files import decode

    torch.set_num_threads(1)
    # The first image loads libraries, which is not what is measured.
    (folder / "first.png").write_bytes(next(content for name, content in images() if name == "1 x 65,535.png"))
    decode(folder / "first.png", INPUT)
    for tries in (_image_tries, _exchanged_tries, _archive_tries):
        for name, call in tries(folder):
            print(run_bounded(name, call).to_line(), flush=True)  # noqa: T201


# -- the tests ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """What came of every file."""
    folder = tmp_path_factory.mktemp("hostile")
    found = outcomes_of_child(Path(__file__), folder, seconds=900)
    assert not any(CANARY in name for _, _, names in os.walk(folder) for name in names)
    return found


def test_there_are_enough_of_them(outcomes: list[Outcome]) -> None:
    assert len({o.name for o in outcomes}) == len(outcomes) >= 200


def test_every_error_is_ours_and_short(outcomes: list[Outcome]) -> None:
    assert [o for o in outcomes if o.error and o.error != "DataError"] == []
    assert [o for o in outcomes if o.error and (not o.message.isprintable() or len(o.message) >= 600)] == []


def test_what_is_no_image_is_refused(outcomes: list[Outcome]) -> None:
    read = {o.name for o in outcomes if not o.error and not o.name.startswith("npz: inverted")}
    assert read <= READ
    assert len(read) > 20


def test_time_and_memory_are_bounded(outcomes: list[Outcome]) -> None:
    assert [o for o in outcomes if o.seconds > MOST_SECONDS] == []
    assert [o for o in outcomes if o.growth > MOST_GROWTH] == []


if __name__ == "__main__":
    main(Path(sys.argv[1]))
