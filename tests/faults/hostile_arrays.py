"""Archives of arrays that somebody might hand us. Used by ``test_hostile_data``."""

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tests.faults.hostile_images import Named

MANY = 2**25


def archives() -> Iterator[Named]:
    """Yield hostile archives; every one must be refused."""
    yield from _bombs()
    yield from _headers()
    yield from _types()
    yield from _directories()
    whole = packed(good())
    for at in (1, 4, 30, 200, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        yield f"cut at {at}", whole[:at]
    for at in range(0, len(whole), len(whole) // 25):
        yield f"inverted at {at}", whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]


def good() -> dict[str, np.ndarray]:
    """Return what a source consists of."""
    noise = np.random.default_rng(0)
    return {
        "x_train": noise.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8),
        "y_train": np.arange(6) % 3,
        "x_test": noise.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8),
        "y_test": np.arange(3),
    }


def npy(array: np.ndarray) -> bytes:
    """Return an array as an .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def packed(members: Mapping[str, Any], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive; a member is an array, or bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, value in members.items():
            archive.writestr(name + ".npy", value if isinstance(value, bytes) else npy(value))
    return file.getvalue()


def described(text: str, data: bytes = bytes(288), *, version: bytes = b"\1\0") -> bytes:
    """Return an .npy file with a header of our own making."""
    header = text.encode() + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2 if version == b"\1\0" else 4, "little") + header + data


def header(**changes: object) -> str:
    """Return the text of a header."""
    return repr({"descr": "|u1", "fortran_order": False, "shape": (6, 4, 4, 3)} | changes)


def _bombs() -> Iterator[Named]:
    yield "a MB for images of a GB", packed(good() | {"x_train": np.zeros((20_000, 160, 160, 2), dtype=np.uint8)})
    yield "images without end, LZMA", packed(good() | {"x_train": np.zeros(MANY, np.uint8)}, zipfile.ZIP_LZMA)
    yield "images without end, bzip2", packed(good() | {"x_train": np.zeros(MANY, np.uint8)}, zipfile.ZIP_BZIP2)
    many = {"x_train": np.zeros((2**27, 1, 1), np.uint8), "y_train": np.zeros(2**27, np.uint8)}
    yield "millions of images of a pixel", packed(good() | many)
    yield "millions of classes", packed(good() | {"labels": np.arange(2**22)})
    yield "millions of classes by index", packed(good() | {"y_train": np.array([0, 1, 2, 0, 1, 2**62])})
    yield "one image of a line", packed(good() | {"x_train": np.zeros((6, 1, 40_000_000), np.uint8)})
    yield "names of gigabytes", packed(good() | {"labels": np.zeros(3, "<U80000000")})


def _headers() -> Iterator[Named]:
    texts = {
        "negative": header(shape=(-6, 4, 4, -3)),
        "beyond 64 bits": header(shape=(2**64 + 6, 4, 4, 3)),
        "overflowing": header(shape=(2**32, 2**32, 4)),
        "huge and empty": header(shape=(6, 2**62, 0)),
        "floating": header(shape=(6.0, 4, 4, 3)),
        "boolean": header(shape=(True, 4, 4, 18)),
        "a text": header(shape="6443"),
        "of thousands": header(shape=(1,) * 2000),
        "of nine": header(shape=(6, 4, 4, 3, 1, 1, 1, 1, 1)),
        "larger": header(shape=(7, 4, 4, 3)),
        "smaller": header(shape=(5, 4, 4, 3)),
        "code": "__import__('pathlib').Path('exploded').touch()",
        "deep": "(" * 4000 + ")" * 4000,
        "long": header() + " " * 40_000,
        "number of digits": header(shape=(10**4000,)),
        "not even a dictionary": "[]",
        "more keys": header(extra=1),
        "nothing": "",
    }
    for name, text in texts.items():
        yield f"shape {name}", packed(good() | {"x_train": described(text)})
    yield "header of 4 GB", packed(good() | {"x_train": b"\x93NUMPY\2\0" + b"\xff" * 4 + bytes(10**6)})
    yield "header of 300 MB, there", packed(good() | {"x_train": described(" " * 300_000_000, b"", version=b"\2\0")})
    for version in (b"\0\0", b"\3\0", b"\xff\xff"):
        yield f"version {version!r}", packed(good() | {"x_train": described(header(), version=version)})
    yield "no magic", packed(good() | {"x_train": b"hello"})
    yield "empty member", packed(good() | {"x_train": b""})


def _types() -> Iterator[Named]:
    for descr in (
        "|O",
        "|V288",
        "<M8[s]",
        "|S0",
        "<U0",
        [("a", "|u1")],
        "|u1,|u1",
        "(4,)|u1",
        ">f4",
        "<f16",
        "<c8",
        "hello",
        7,
    ):
        size = {"<f16": 16, ">f4": 4, "<c8": 8, "<M8[s]": 8}.get(str(descr), 1)
        yield f"type {descr}", packed(good() | {"x_train": described(header(descr=descr), bytes(288 * size))})
    yield "pickled", packed(good() | {"labels": np.array([{}, {}, {}], dtype=object)})
    for name, labels in {
        "negative": np.array([0, 1, -2, 0, 1, 2]),
        "floating": np.zeros(6),
        "texts": np.array(list("abcabc")),
        "booleans": np.zeros(6, bool),
        "a table": np.zeros((6, 1), int),
        "a number": np.array(3),
        "short": np.zeros(5, int),
        "beyond": np.array([0, 1, 2, 0, 1, 2**63], np.uint64),
    }.items():
        yield f"labels, {name}", packed(good() | {"y_train": labels})
    yield "images, a number", packed(good() | {"x_train": np.array(3, np.uint8)})
    yield "images, beyond one", packed(good() | {"x_train": np.full((6, 4, 4, 3), 1.5)})
    yield "names, a table", packed(good() | {"labels": np.array([["a", "b", "c"]])})
    yield "names, a number", packed(good() | {"labels": np.array(3)})


def _directories() -> Iterator[Named]:
    for name in good():
        yield f"without {name}", packed({key: value for key, value in good().items() if key != name})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in good().items():
            archive.writestr(name, npy(array))
            archive.writestr(name + ".npy", npy(array))
    yield "twice", file.getvalue()
    yield "many members", packed(good() | {f"more{n}": b"" for n in range(100)})
    yield "100,000 members", packed(good() | {f"{n}": b"" for n in range(100_000)}, zipfile.ZIP_STORED)
    whole = packed(good())
    first = whole.index(b"PK\1\2")
    for size in (0, 1, 2**31, 2**32 - 1):
        lying = whole[: first + 24] + struct.pack("<I", size) + whole[first + 28 :]
        yield f"directory says {size} bytes", lying
    yield "encrypted", whole[: first + 8] + b"\1" + whole[first + 9 :]
    yield "unknown compression", whole[: first + 10] + b"\x63" + whole[first + 11 :]
    yield "not an archive", b"not an archive"
    yield "nothing", b""
    yield "end only", b"PK\5\6" + bytes(18)
    yield "directory of 4 GB", b"PK\5\6" + bytes(4) + struct.pack("<HHIIH", 1, 1, 2**32 - 1, 0, 0)
    yield "lies at the end of 9 MB", bytes(9_000_000) + whole[:-1]
    yield "pickle", b"\x80\x04N."
