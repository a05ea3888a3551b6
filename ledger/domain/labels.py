"""The label map of a model, which finds the class that a person names."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ledger.errors import AmbiguousClassError, RowError, UnknownClassError

MOST_SHOWN = 200
"""Characters of an unknown name that an error repeats."""
MOST_COMPARED = 10**8
"""Largest product of characters up to which similar labels are looked for: a word against ten thousand long labels."""

_NUMBER = re.compile(r"\s*[+-]?\d+([.,]\d+)?\s*")
"""What looks like a number to a person who names a class, in any script's digits."""


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class LabelMap:
    """Class labels in the order of the model's outputs: ``labels[k]`` names logit ``k``."""

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(_normal(label) for label in self.labels))
        twice = sorted(label for label, count in Counter(self.labels).items() if count > 1)
        if twice:
            raise AmbiguousClassError(
                f"label map names {', '.join(map(repr, twice))} more than once",
                "give every class a label of its own",
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> str:
        """Return the label of an index.

        Raises:
            RowError: There is no such class: rows that somebody changed name classes that a model never had.
        """
        if not 0 <= index < len(self.labels):
            raise RowError(
                f"a row names class {index}, and the model has {len(self.labels)} classes",
                "see all differences with: unledger audit verify",
            )
        return self.labels[index]

    def names(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Return the labels of some classes, in class order."""
        return tuple(self[i] for i in sorted(indices))

    @cached_property
    def numbered(self) -> bool:
        """Whether a label looks like a number, so that a bare number is a label and never an index."""
        return any(_NUMBER.fullmatch(label) for label in self.labels)

    def resolve(self, text: str) -> int:
        """Return the index of the class that ``text`` names: by label, or else by index.

        A text is a label first. Where a label looks like a number, a bare number is only ever a label; the prefixes
        ``name:X`` and ``index:N`` say which of the two is meant in any case. A misspelt label is not corrected; the
        error suggests similar ones.

        Args:
            text: A label, an index, or either with its prefix.

        Raises:
            UnknownClassError: There is no such label or index.
        """
        wanted = _normal(text)
        found = None
        if not wanted.startswith("index:"):
            found = self._by_name(wanted.removeprefix("name:"))
        if found is None and wanted.startswith("index:"):
            found = self._by_index(wanted.removeprefix("index:"))
        elif found is None and not wanted.startswith("name:") and not self.numbered:
            found = self._by_index(wanted)
        if found is not None:
            return found
        shown = text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "..."
        if wanted.startswith("index:"):
            raise UnknownClassError(f"no class is called {shown!r}", f"indices go from 0 to {len(self) - 1}")
        raise UnknownClassError(f"no class is called {shown!r}", self._suggestion(wanted))

    def ambiguity(self, text: str) -> str:
        """Say which class a text was taken for, where it may be taken for another; else return an empty text.

        Args:
            text: A label, an index, or either with its prefix, that names a class.
        """
        k = self.resolve(text)
        label = self.labels[k]
        if label == str(k) or (_normal(text) == label and not _NUMBER.fullmatch(label)):
            return ""
        return f"class {self.labels[k]} (index {k})"

    def resolve_all(self, texts: Sequence[str]) -> frozenset[int]:
        """Return the indices of several classes; a class may be named twice."""
        return frozenset(self.resolve(text) for text in texts)

    def _by_name(self, name: str) -> int | None:
        return self.labels.index(name) if name in self.labels else None

    def _by_index(self, text: str) -> int | None:
        # Indices are shorter than 18 digits, and int() raises on thousands of them.
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            return None
        return int(text) if int(text) < len(self.labels) else None

    def _suggestion(self, wanted: str) -> str:
        folded = {label.casefold(): label for label in self.labels}
        # Comparing takes a time that grows with both lengths.
        if len(wanted) * sum(map(len, folded)) > MOST_COMPARED:
            folded = {}
        near = difflib.get_close_matches(wanted.casefold(), list(folded), n=3, cutoff=0.5)
        if near:
            meant = "did you mean " + " or ".join(repr(folded[n]) for n in near) + "?"
            return meant if self._by_index(wanted) is None else f"{meant} Or {self._of_index(wanted)}"
        shown = ", ".join(self.labels[:10]) + (", ..." if len(self) > 10 else "")
        return f"classes: {shown} (or {self._of_index(wanted)})"

    def _of_index(self, wanted: str) -> str:
        k = self._by_index(wanted)
        if k is not None:
            return f"--index {k} for {self.labels[k]!r}, which is the class of that index"
        return f"an index from 0 to {len(self) - 1}" + (": --index N" if self.numbered else "")
