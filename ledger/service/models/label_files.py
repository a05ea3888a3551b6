"""Files of class labels in output order: plain text, or JSON as training programs write it."""

from collections import Counter
from pathlib import Path
from typing import Any

from ledger.errors import UsageError
from ledger.json_shapes import read_unique_json_as
from ledger.named_files import read_text

HINT = (
    'labels in output order, one a line, or JSON: ["cat", "dog"], {"cat": 0, "dog": 1} or {"0": "cat", "1": "dog"}, '
    "also under class_to_idx, id2label, label2id or label_names of a config.json"
)
LISTS = ("label_names", "class_names", "classes", "labels", "categories", "names")
INDICES = ("class_to_idx", "label2id", "class_indices")
NAMES = ("id2label", "idx_to_class", "idx2label")
"""Keys under which programs keep a list of labels, the index of each label, and the label of each index."""
INNER = ("pretrained_cfg", "config", "model_config")
"""Keys under which a configuration holds another."""
MOST_INDEX_CHARACTERS = 9


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class labels in output order from a file.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read, or does not hold one label for each output.
    """
    try:
        # Editors on Windows begin a file with a byte order mark.
        text = read_text(path, "labels file").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read labels from {path}: {error}", "save it as UTF-8") from error
    try:
        labels = _from_json(text) if text.lstrip()[:1] in ("[", "{") else _lines(text)
    except ValueError as error:
        raise UsageError(f"cannot read labels from {path}: {error}", HINT) from error
    if not labels:
        raise UsageError(f"cannot read labels from {path}: it holds none", HINT)
    return labels


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _from_json(text: str) -> tuple[str, ...]:
    if text.lstrip().startswith("["):
        return _listed(read_unique_json_as(list[Any], text))
    value = read_unique_json_as(dict[str, Any], text)
    found = _in_config(value)
    return _by_index(value) if found is None else found


def _in_config(value: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the labels under the keys of known programs; None if there is no such key."""
    for key in (*NAMES, *INDICES):
        if isinstance(value.get(key), dict):
            return _by_index(value[key], names=key in NAMES)
    for key in (*LISTS, *NAMES):
        if isinstance(value.get(key), list):
            return _listed(value[key])
    for key in (*LISTS, *INNER):
        if isinstance(value.get(key), dict):
            inner = value[key]
            return _in_config(inner) if key in INNER else _by_index(inner)
    return None


def _listed(value: list[Any]) -> tuple[str, ...]:
    # Names that are numbers are often written without quotation marks.
    return tuple(_label(one) for one in value)


def _by_index(value: dict[str, Any], *, names: bool | None = None) -> tuple[str, ...]:
    """Return labels from a mapping of labels to indices, or of indices to labels.

    Args:
        value: The mapping.
        names: Whether its values are the labels; None to tell from what they are: numbers are indices.
    """
    if names is None:
        names = not all(_is_index(one) and not isinstance(one, str) for one in value.values()) and all(
            _is_index(key) for key in value
        )
    pairs = [(key, one) if names else (one, key) for key, one in value.items()]
    wrong = [index for index, _ in pairs if not _is_index(index)]
    if wrong:
        raise ValueError(f"{str(wrong[0])[:40]!r} is not the index of an output")
    found = {int(index): _label(name) for index, name in pairs}
    if len(found) < len(pairs):
        twice = [index for index, count in Counter(int(index) for index, _ in pairs).items() if count > 1]
        raise ValueError(f"index {twice[0]} stands for more than one label")
    missing = next((index for index in range(len(found)) if index not in found), None)
    if missing is not None:
        raise ValueError(f"indices must be 0 to {len(found) - 1}, and {missing} is missing")
    return tuple(found[index] for index in range(len(found)))


def _is_index(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) <= MOST_INDEX_CHARACTERS
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _label(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{str(value)[:40]!r} is not a label")
    return value.strip()
