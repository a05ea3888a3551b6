"""How long it takes to read 60,000 images for the first time, and to see later that none of them changed.

Compared with listing them, which any check has to do: names and sizes of all files, in order. The least that can be
done, asking for every file's status and keeping nothing, is printed as well.

    python benchmarks/image_digests.py [FOLDER] [--images 60000] [--classes 10] [--side 32]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ledger.plugins.data import image_contents
from ledger.plugins.data.folder import FolderSource
from PIL import Image

from ledger.domain.data_record import DataOptions

ROUNDS = 7
"""Repetitions of what is quick; the median counts."""


def write_images(root: Path, images: int, classes: int, side: int) -> int:
    """Write random images in five sixths for training and one for test; return their bytes."""
    noise = np.random.default_rng(0)
    total = 0
    for index in range(images):
        split, label = ("test" if index % 6 == 5 else "train"), f"class_{index // 6 % classes:04d}"
        path = root / split / label / f"image_{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path, compress_level=1)
        total += path.stat().st_size
    return total


def list_files(root: str) -> list[tuple[str, int]]:
    """Return path and size of every file below a folder, in order."""
    found: list[tuple[str, int]] = []
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir():
                found += list_files(entry.path)
            else:
                found.append((entry.path, entry.stat().st_size))
    found.sort()
    return found


def ask_for_status(root: str) -> int:
    """Ask for the status of every file below a folder; return how many there are."""
    count = 0
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir():
                count += ask_for_status(entry.path)
            else:
                entry.stat()
                count += 1
    return count


def seconds(
    action: Callable[[], object], rounds: int = ROUNDS, clock: Callable[[], float] = time.process_time
) -> float:
    """Return the median time of an action: the processor's, which other work on the machine hardly changes."""
    times = []
    for _ in range(rounds):
        began = clock()
        action()
        times.append(clock() - began)
    return sorted(times)[rounds // 2]


def check(root: Path, cache: Path, *, decode: bool = False) -> None:
    """Open the images and compute the digest of each class, as before every request."""
    FolderSource(root, DataOptions(), cache).contents(lambda _total: lambda: None, check=decode)


@contextmanager
def folder_of(name: Path | None) -> Iterator[Path]:
    """Give the block a folder: the named one, or one that goes afterwards."""
    if name is not None:
        yield name
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--side", type=int, default=32)
    options = parser.parse_args()
    with folder_of(options.folder) as folder, tempfile.TemporaryDirectory() as beside:
        root, cache = folder / "images", Path(beside) / "cache.db"
        size = write_images(root, options.images, options.classes, options.side)
        # Files of a moment ago count as settled, so that the memory is used at once.
        image_contents.SETTLED_NS = -1
        first = seconds(lambda: check(root, cache), 1, time.perf_counter)
        decoded = seconds(lambda: check(root, cache, decode=True), 1, time.perf_counter)
        listed = seconds(lambda: list_files(str(root)))
        asked = seconds(lambda: ask_for_status(str(root)))
        again = seconds(lambda: check(root, cache))
        print(f"{options.images:,} images of {size / options.images:,.0f} bytes in {options.classes} classes")
        print(f"read for the first time   {first:8.2f} s  ({size / first / 1e6:,.0f} MB/s)")
        print(f"read and decoded          {decoded:8.2f} s")
        print(f"asked for status          {asked:8.3f} s")
        print(f"listed                    {listed:8.3f} s")
        print(f"compared, nothing changed {again:8.3f} s  ({again / listed:.2f} times listing)")


if __name__ == "__main__":
    main()
