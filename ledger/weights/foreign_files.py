"""Say what a file is that was given as weights and is no safetensors file: by its first bytes, not by its name.

Downloads go wrong, and frameworks have formats of their own. "Not a safetensors file" would send people to look for
damage where there is none.
"""

from dataclasses import dataclass
from pathlib import Path

from ledger.domain.command_lines import command, quoted

BEGINNING = 1024
"""Bytes that are looked at."""
TAR_MAGIC = slice(257, 262)
# Every pickle of protocol 2 or later starts with \x80; torch.save wraps one in a zip archive.
PICKLE_MAGICS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
ZIP_MAGIC = b"PK\x03\x04"
PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"})
AGAIN = "download or copy it again"
OTHER_FRAMEWORK = (
    "weights must be those of a torch network: load them with the framework that wrote them, or look for a release of "
    "the model for PyTorch"
)


@dataclass(frozen=True)
class ForeignFile:
    """What a file is instead."""

    what: str
    """With its article, e.g. ``a web page``."""
    hint: str


COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip -k"),
    b"BZh": ("bzip2", "bunzip2 -k"),
    b"\xfd7zXZ\x00": ("xz", "unxz -k"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip", "7z x"),
    b"Rar!": ("RAR", "unrar x"),
}
MAGICS = {
    b"\x89HDF\r\n\x1a\n": ForeignFile("an HDF5 file, as Keras writes it", OTHER_FRAMEWORK),
    b"\x93NUMPY": ForeignFile("a NumPy array", "save a state dict of torch tensors with safetensors.torch.save_file"),
    b"GGUF": ForeignFile("a GGUF file, as llama.cpp reads it", OTHER_FRAMEWORK),
    b"%PDF": ForeignFile("a PDF document", "name the weights file"),
    b"\x89PNG": ForeignFile("a PNG image", "name the weights file"),
    b"\xff\xd8\xff": ForeignFile("a JPEG image", "name the weights file"),
    b"\x7fELF": ForeignFile("a program", "name the weights file"),
    b"SQLite format 3": ForeignFile("an SQLite database", "name the weights file"),
}


WEB_PAGE = ForeignFile(
    "a web page",
    "the download needs a login or another address; on Hugging Face, /resolve/ leads to the file and /blob/ to a page",
)
DOCUMENTS = {
    **dict.fromkeys((b"<!doctype html", b"<html", b"<head"), WEB_PAGE),
    b"<?xml": ForeignFile("an XML document, as storage services answer errors", "check the address of the download"),
}
LEAST_TEXT = 8
"""Fewest bytes that are called a text."""


def recognise(path: Path, beginning: bytes) -> ForeignFile | None:
    """Return what a file is, if that can be told and it is no safetensors file.

    Args:
        path: Its name, for commands in hints, and for formats without a mark of their own.
        beginning: Its first :data:`BEGINNING` bytes, or all of them.
    """
    if not beginning:
        return ForeignFile("empty", AGAIN)
    for magic, found in MAGICS.items():
        if beginning.startswith(magic):
            return found
    for magic, (name, unpack) in COMPRESSED.items():
        if beginning.startswith(magic):
            return ForeignFile(f"compressed with {name}", f"unpack it first: {unpack} {quoted(str(path))}")
    if beginning[TAR_MAGIC] == b"ustar":
        return ForeignFile("a tar archive", f"unpack it first: tar -xf {quoted(str(path))}")
    return _pickle(path, beginning) or _text(path, beginning) or _other_framework(path, beginning)


def convert_command(path: Path, *options: str) -> str:
    """Return the command that makes a safetensors file of another weights file."""
    stem = path.name.partition(".")[0] or "weights"
    out = f"{stem}.converted.safetensors"
    if path.name == out:
        # It was converted once before, with other options.
        out = f"{stem}.again.safetensors"
    return command("weights", "convert", path, out, *options)


def _pickle(path: Path, beginning: bytes) -> ForeignFile | None:
    if beginning.startswith(ZIP_MAGIC):
        name = beginning[30 : 30 + int.from_bytes(beginning[26:28], "little")]
        if name.endswith(b".npy"):
            return ForeignFile(
                "an archive of NumPy arrays", "save a state dict of torch tensors with safetensors.torch.save_file"
            )
        if name in (b"metadata.json", b"config.json", b"[Content_Types].xml", b"META-INF/MANIFEST.MF"):
            return ForeignFile("a zip archive of something else", OTHER_FRAMEWORK)
    if beginning.startswith((ZIP_MAGIC, *PICKLE_MAGICS)):
        return ForeignFile(
            "a pickle, which can run any code when it is loaded",
            f"convert it once, without running its code: {convert_command(path)}",
        )
    return None


def _text(path: Path, beginning: bytes) -> ForeignFile | None:
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"{", b"["):
        if b'"weight_map"' in text or path.name.endswith(".index.json"):
            return ForeignFile("an index of several weights files", f"join them: {convert_command(path)}")
        return ForeignFile("a JSON document", "name the weights file")
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        pull = f"fetch the file itself: git lfs pull --include {quoted(path.name)}"
        return ForeignFile("a Git LFS pointer, which stands for the file", pull)
    for begins, found in DOCUMENTS.items():
        if text[:14].lower().startswith(begins):
            return found
    if len(beginning) >= LEAST_TEXT and _is_text(beginning):
        return ForeignFile("a text file", "name the weights file")
    return None


def _is_text(beginning: bytes) -> bool:
    if not all(byte in b"\t\n\r" or byte >= ord(" ") for byte in beginning):
        return False
    try:
        # A character may be cut at the end.
        beginning[:-3].decode()
    except UnicodeDecodeError:
        return False
    return True


def _other_framework(path: Path, beginning: bytes) -> ForeignFile | None:
    suffix = path.suffix.lower()
    if beginning[4:8] == b"TFL3":
        return ForeignFile("a TensorFlow Lite model", OTHER_FRAMEWORK)
    # Protocol buffers carry no mark: the first field of ONNX is its version, the second the producer's name.
    if suffix == ".onnx" or (beginning[:1] == b"\x08" and beginning[1] < ord(" ") and beginning[2:3] == b"\x12"):
        return ForeignFile("an ONNX model", OTHER_FRAMEWORK)
    if suffix in (".pb", ".tflite", ".index", ".meta") or ".data-000" in path.name:
        return ForeignFile("a file of TensorFlow", OTHER_FRAMEWORK)
    if suffix in (".mlmodel", ".params", ".caffemodel", ".pdparams", ".engine", ".h5", ".keras", ".msgpack"):
        return ForeignFile(f"a {suffix} file of another framework", OTHER_FRAMEWORK)
    return None


def recognise_folder(path: Path) -> str:
    """Return what to do about a folder that was given as weights."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError:
        names = []
    place = quoted(str(path))
    if ".metadata" in names or any(name.endswith(".distcp") for name in names):
        return (
            "it is a distributed checkpoint of torch; join it where it was made: "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {place} joined.pth"
        )
    if any("zero_pp_rank" in name or name.startswith("global_step") for name in names):
        return f"it is a checkpoint of DeepSpeed; join it where it was made: python zero_to_fp32.py {place} joined.bin"
    if "saved_model.pb" in names:
        return f"it is a saved model of TensorFlow; {OTHER_FRAMEWORK}"
    for ending in (".safetensors", ".index.json", *sorted(PICKLE_SUFFIXES)):
        found = [name for name in names if name.endswith(ending)]
        if found:
            return f"name a file in it: {', '.join(str(path / name) for name in found[:5])}"
    return "name the safetensors file in it"
