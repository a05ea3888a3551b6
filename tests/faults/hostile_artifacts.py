"""Files that somebody might hand us: each function makes one in a folder. Used by ``test_hostile_artifacts``."""

import io
import json
import os
import pickle
import socket
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

CANARY = "exploded"
Maker = Callable[[Path], Path]
W, B = (
    {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]},
)
TIB = 2**40


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(self.canary),))


def good() -> dict[str, torch.Tensor]:
    """Return weights that the network of the test takes."""
    return {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


def with_header(header: Any, data: bytes = bytes(32), *, length: int | None = None) -> bytes:
    """Return a safetensors file with a header of our own making."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(**changes: Any) -> bytes:
    """Return a file whose weight is described in another way."""
    return with_header({"weight": {**W, **changes}, "bias": B})


def named(name: str) -> bytes:
    """Return a well-formed file whose weight has another name."""
    return with_header({name: W, "bias": B})


def contents(canary: str) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of hostile regular files."""
    yield from _pickles(canary)
    yield from _archives()
    yield from _strangers(canary)
    yield from _lengths()
    yield from _texts()
    yield from _descriptions()
    yield from _names()
    yield from _values()


def _pickles(canary: str) -> Iterator[tuple[str, bytes]]:
    bomb = Bomb(canary)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle, protocol {protocol}.safetensors", pickle.dumps({"weight": bomb}, protocol)
    yield "pickle.pt", pickle.dumps(bomb)
    yield "joblib.pkl", b"\x80\x04" + pickle.dumps(bomb)[2:]
    for new in (True, False):
        file = io.BytesIO()
        torch.save({"weight": bomb}, file, _use_new_zipfile_serialization=new)
        yield f"torch, {'zip' if new else 'legacy'}.safetensors", file.getvalue()
        yield f"torch, {'zip' if new else 'legacy'}.bin", file.getvalue()
    array = io.BytesIO()
    np.save(array, np.array([bomb], dtype=object), allow_pickle=True)
    yield "numpy objects.npy", array.getvalue()


def _archives() -> Iterator[tuple[str, bytes]]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../exploded", bytes(50 * 2**20))
    yield "zip bomb with a way out.safetensors", packed.getvalue()
    yield "zip bomb, cut.zip", packed.getvalue()[:1000]
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive_:
        inside = tarfile.TarInfo("../exploded")
        inside.size = 20 * 2**20
        archive_.addfile(inside, io.BytesIO(bytes(inside.size)))
    yield "tar bomb.tar", tarred.getvalue()
    yield "gzip bomb.safetensors", zlib.compress(bytes(100 * 2**20), wbits=31)


def _strangers(canary: str) -> Iterator[tuple[str, bytes]]:
    yield "script.safetensors", f"#!/bin/sh\ntouch {canary}\n".encode()
    yield "python.safetensors", f"import pathlib; pathlib.Path({canary!r}).touch()".encode()
    yield "yaml.safetensors", f"!!python/object/apply:os.system ['touch {canary}']".encode()
    yield "html.safetensors", b"<html><script>alert(1)</script></html>"
    yield "elf.safetensors", b"\x7fELF\x02\x01\x01" + bytes(57)
    yield "hdf5.safetensors", b"\x89HDF\r\n\x1a\n" + bytes(100)


def _lengths() -> Iterator[tuple[str, bytes]]:
    whole = save(good())
    for size in (0, 1, 7, 8):
        yield f"{size} zero bytes.safetensors", bytes(size)
    for length in (2**64 - 1, 2**63, 2**40, len(whole), len(whole) - 7, 100_000_001):
        yield f"header of {length} bytes.safetensors", struct.pack("<Q", length) + whole[8:]
    yield "header of blanks.safetensors", with_header(b" " * 200)
    yield "header of 5 MiB.safetensors", with_header(b"{" + b" " * (5 * 2**20) + b"}", b"")
    for at in sorted({*range(9, len(whole), 13), len(whole) - 1}):
        yield f"cut at {at}.safetensors", whole[:at]


def _texts() -> Iterator[tuple[str, bytes]]:
    for name, text in {
        "list": b"[]",
        "text": b'"weight"',
        "number": b"1",
        "null": b"null",
        "no UTF-8": b'{"\xff\xfe": {}}',
        "byte order mark": b"\xef\xbb\xbf{}",
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "garbage behind": json.dumps({"weight": W, "bias": B}).encode() + b"}",
        "deep": b'{"weight":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "deep objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        "commas": b'{"weight":[' + b"1," * 1_000_000 + b"1]}",
        "brackets": b'{"weight":[' + b"[]," * 1_000_000 + b"[]]}",
        "NaN": b'{"weight": NaN}',
        "infinity": b'{"weight": 1e999}',
        "long number": b'{"weight": ' + b"9" * 4_000_000 + b"}",
        "twice": b'{"weight": %s, "weight": %s}' % ((json.dumps(W).encode(),) * 2),
        "twice within": b'{"weight": {"dtype": "F32", "dtype": "F64", "shape": [2,3], "data_offsets": [0, 24]}}',
        "lone surrogate": b'{"\\ud800": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}',
    }.items():
        yield f"JSON, {name}.safetensors", with_header(text)
    yield "metadata, list.safetensors", with_header({"__metadata__": [], "weight": W, "bias": B})
    yield "metadata, number.safetensors", with_header({"__metadata__": {"a": 1}, "weight": W, "bias": B})
    yield "metadata, tensor.safetensors", with_header({"__metadata__": W, "bias": B})


def _descriptions() -> Iterator[tuple[str, bytes]]:
    described: dict[str, dict[str, Any]] = {
        "type unknown": {"dtype": "F31"},
        "type number": {"dtype": 32},
        "type list": {"dtype": ["F32"]},
        "type wider": {"dtype": "F64"},
        "type narrower": {"dtype": "F16"},
        "shape negative": {"shape": [-2, -3]},
        "shape float": {"shape": [2.0, 3]},
        "shape text": {"shape": "23"},
        "shape boolean": {"shape": [True, 6]},
        "shape 2^63": {"shape": [2**63]},
        "shape 2^63 - 1": {"shape": [2**63 - 1]},
        "shape 2^64": {"shape": [2**64 + 6]},
        "shape overflowing": {"shape": [2**32, 2**32, 6]},
        "shape huge and empty": {"shape": [2**62, 2**62, 0]},
        "shape of many": {"shape": [1] * 60 + [6]},
        "shape other": {"shape": [3, 3]},
        "offsets reversed": {"data_offsets": [24, 0]},
        "offsets overlapping": {"data_offsets": [8, 32]},
        "offsets beyond": {"data_offsets": [32, 56]},
        "offsets gap": {"data_offsets": [0, 20]},
        "offsets negative": {"data_offsets": [-24, 0]},
        "offsets three": {"data_offsets": [0, 24, 24]},
        "offsets huge": {"data_offsets": [0, 2**63 - 1]},
        "offsets 2^64": {"data_offsets": [2**64, 2**64 + 24]},
        "offsets float": {"data_offsets": [0.0, 24.0]},
        "more than belongs": {"stride": [3, 1]},
    }
    for name, changes in described.items():
        yield f"{name}.safetensors", entry(**changes)
    yield "no shape.safetensors", with_header({"weight": {"dtype": "F32", "data_offsets": [0, 32]}})
    yield "same place twice.safetensors", with_header({"weight": W, "bias": {**B, "data_offsets": [0, 8]}}, bytes(24))
    yield "bytes left over.safetensors", with_header({"weight": W, "bias": B}, bytes(33))
    one = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    for count in (50_001, 1_000_000):
        yield (
            f"{count} tensors.safetensors",
            with_header(f"{{{','.join(one % n for n in range(count))}}}".encode(), b""),
        )


def _names() -> Iterator[tuple[str, bytes]]:
    for name in (
        "../../../exploded",
        "/etc/passwd",
        "C:\\exploded",
        "",
        "weight\x00.txt",
        "weight\n",
        "\x1b[2Jweight",
        "\u202eweight",
        "ｗeight",
        "w" * 100_000,
        "__class__",
        "__dict__.weight",
    ):
        yield f"name {name[:20]!r}.safetensors".replace("/", "|"), named(name)
    pair = {"\u00e9": W, "e\u0301": B}
    yield "names in two spellings.safetensors", with_header(json.dumps(pair, ensure_ascii=False).encode())


def _values() -> Iterator[tuple[str, bytes]]:
    for value in (float("nan"), float("inf"), -float("inf")):
        yield f"value {value}.safetensors", save({**good(), "bias": torch.tensor([0.0, value])})
    yield "value NaN, half.safetensors", save({**good(), "bias": torch.tensor([0.0, float("nan")]).half()})
    yield "value NaN, complex.safetensors", save({**good(), "bias": torch.tensor([0, complex(0, float("nan"))])})
    yield "value NaN, 8 bits.safetensors", save({**good(), "bias": torch.tensor([0, np.nan]).to(torch.float8_e4m3fn)})
    yield "integers.safetensors", save({**good(), "bias": torch.tensor([1, 2])})
    yield "another shape.safetensors", save({**good(), "bias": torch.ones(3)})


def link(target: str | Path) -> Maker:
    """Return a maker of links."""

    def make(path: Path) -> Path:
        path.symlink_to(target)
        return path

    return make


def sparse(beginning: bytes, size: int) -> Maker:
    """Return a maker of files that are mostly holes."""

    def make(path: Path) -> Path:
        path.write_bytes(beginning)
        os.truncate(path, size)
        return path

    return make


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as endpoint:
        # By a short name: a socket's path may have a hundred characters.
        here = Path.cwd()
        os.chdir(path.parent)
        endpoint.bind(path.name)
        os.chdir(here)
    return path


def _device(path: Path) -> Path:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except OSError:
        path.symlink_to("/dev/zero")  # as somebody without the right to make one would
    return path


def specials(canary: str) -> Iterator[tuple[str, Maker]]:
    """Yield names and makers of what is no regular file, or a very large one."""

    def linked_bomb(path: Path) -> Path:
        path.with_suffix(".bomb").write_bytes(pickle.dumps(Bomb(canary)))
        return link(path.with_suffix(".bomb"))(path)

    yield "pipe", _pipe
    yield "folder", _folder
    yield "socket", _socket
    yield "device", _device
    yield "link to a device", link("/dev/zero")
    yield "link to itself", lambda path: link(path)(path)
    yield "link to nothing", link("nowhere")
    yield "link to a pickle", linked_bomb
    yield "link to memory", link("/proc/self/mem")
    header = {"weight": {"dtype": "U8", "shape": [TIB], "data_offsets": [0, TIB]}}
    beginning = with_header(header, b"")
    yield "a TiB that is well-formed", sparse(beginning, len(beginning) + TIB)
    yield "a TiB of nothing", sparse(b"", TIB)
    yield "a TiB behind a header", sparse(with_header({"weight": W, "bias": B}), TIB)
