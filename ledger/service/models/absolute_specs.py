"""Specifications whose files are named by absolute paths: what is registered is opened from elsewhere later."""

from pathlib import Path

from ledger.domain.data_record import PATH_SPECS
from ledger.errors import UsageError


def absolute_spec(spec: str) -> str:
    """Return ``KIND:PATH``, ``torchvision:NAME:PATH`` or ``FILE.py:factory`` with an absolute path.

    Later commands run elsewhere. A URL is the same everywhere.
    """
    if "://" in spec:
        return spec
    kind, colon, path = spec.partition(":")
    if colon and kind in (*PATH_SPECS, "local-dir"):
        path, mark, rest = path.partition("?") if kind == "parquet" else (path, "", "")
        return f"{kind}:{_expanded(path).resolve()}{mark}{rest}"
    if kind == "torchvision" and ":" in path:
        name, _, path = path.partition(":")
        return f"{kind}:{name}:{_expanded(path).resolve()}"
    if kind == "hfds" and _expanded(path.partition("?")[0]).is_dir():
        path, mark, rest = path.partition("?")
        return f"{kind}:{_expanded(path).resolve()}{mark}{rest}"
    file, _, factory = spec.rpartition(":")
    return f"{_expanded(file).resolve()}:{factory}" if file.endswith(".py") else spec


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path} cannot be expanded: {error}", "write the path without ~") from error
