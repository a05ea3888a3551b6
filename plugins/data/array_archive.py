"""Read arrays of an .npz archive that nobody vouches for: all sizes are checked before anything is decompressed.

An .npz file is a zip archive of .npy files. Its directory announces the size of each member, and the header of a member
announces type and shape of its array. Both must agree, and stay within limits.
"""

import math
import os
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ledger.errors import DataError
from ledger.named_files import open_named

MOST_MEMBERS = 64
"""Most members of an archive, those that are not read included."""
MOST_EXPANDED_BYTES = 2**28
"""Bytes of all arrays that a small archive may expand to."""
MOST_EXPANSION = 32
"""How many times its own size a larger archive may expand to. Real images expand about twice, line drawings ten times;
zip reaches a thousand times."""
MACHINE_MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
"""Bytes of this machine's memory."""
MOST_HEADER_BYTES = 10_000
"""Largest header of an .npy file, as in NumPy."""
MOST_DIMENSIONS = 8
COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""What NumPy writes. The others may expand a block to gigabytes at once."""
LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}
"""Bytes that hold the length of a header, by version of the format. Version 3 is for named fields only."""
# numpy.lib.format, the documented reader of the format.
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return the named arrays that an archive holds; others in it are not read.

    Raises:
        DataError: There is no such file, it is not a readable archive, or one of the arrays is not a plain one; names
            the array.
    """
    try:
        with open_named(path) as file, zipfile.ZipFile(file) as archive:
            members = _members(archive, names, os.fstat(file.fileno()).st_size)
            for name, member in members.items():
                _check_header(archive, name, member)
            return {name: _read(archive, member) for name, member in members.items()}
    except FileNotFoundError:
        raise DataError(f"there is no file {path}", "check the path after npz:") from None
    except DataError as error:
        detail = f"{path} is not a readable .npz archive of plain arrays: {error.message}"
        raise DataError(detail, error.hint) from error.__cause__
    # What the readers of broken archives raise is not written down anywhere.
    except Exception as error:
        raise DataError(f"{path} is not a readable .npz archive of plain arrays: {str(error)[:200]}") from error


def _members(archive: zipfile.ZipFile, names: Collection[str], size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members that hold the arrays, once all of them together are within the limits."""
    listed = archive.infolist()
    if len(listed) > MOST_MEMBERS:
        raise DataError(f"it has {len(listed)} members, more than {MOST_MEMBERS}")
    members: dict[str, zipfile.ZipInfo] = {}
    for member in listed:
        name = member.filename.removesuffix(".npy")
        if name not in names:
            continue
        if name in members:
            raise DataError(f"it holds {name} twice")
        if member.compress_type not in COMPRESSIONS or member.flag_bits & 1:
            raise DataError(f"{name} is compressed in another way than NumPy's, or encrypted", "write it with np.savez")
        members[name] = member
    total = sum(member.file_size for member in members.values())
    most = min(max(MOST_EXPANDED_BYTES, MOST_EXPANSION * size), MACHINE_MEMORY_BYTES)
    if total > most:
        largest = max(members, key=lambda name: members[name].file_size)
        raise DataError(
            f"its arrays announce {total:,} bytes, more than {most:,}; the largest is {largest}",
            "write it without compression, with np.savez, if that is right",
        )
    return members


def _check_header(archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> None:
    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version not in LENGTH_BYTES:
            raise DataError(f"{name} is written in version {version} of NumPy's format")
        # The length is read twice: NumPy would read a header of any length before it refuses it.
        length = int.from_bytes(file.read(LENGTH_BYTES[version]), "little")
        begin = npy.MAGIC_LEN + LENGTH_BYTES[version] + length
    if length > MOST_HEADER_BYTES:
        raise DataError(f"{name} has a header of {length:,} bytes, more than {MOST_HEADER_BYTES:,}")
    with archive.open(member) as file:
        npy.read_magic(file)
        try:
            shape, _, dtype = _READERS[version](file, max_header_size=MOST_HEADER_BYTES)
        except (ValueError, RecursionError, MemoryError) as error:
            raise DataError(f"the header of {name} makes no sense: {str(error)[:200]}") from error
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None or dtype.itemsize == 0:
        raise DataError(f"{name} does not hold plain arrays of numbers or texts, but {str(dtype)[:50]}")
    if len(shape) > MOST_DIMENSIONS or any(type(side) is not int or side < 0 for side in shape):
        raise DataError(f"{name} has a shape that makes no sense: {str(shape)[:100]}")
    if begin + math.prod(shape) * dtype.itemsize != member.file_size:
        raise DataError(f"{name} has {member.file_size:,} bytes, which its shape {str(shape)[:100]} does not explain")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        array: np.ndarray = npy.read_array(file, allow_pickle=False, max_header_size=MOST_HEADER_BYTES)
        return array
