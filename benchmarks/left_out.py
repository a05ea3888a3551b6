"""A data source without the images of some classes: what a network that never sees them is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ledger.domain.settings import Preprocessing
from ledger.hookspecs import DataSource, Split


@dataclass(frozen=True)
class Part:
    """Some images of a split."""

    split: Split
    indices: Sequence[int]

    @cached_property
    def labels(self) -> Sequence[int]:
        """Class index of each image, as in the whole."""
        return [self.split.labels[i] for i in self.indices]

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Return images, counted within this part."""
        return self.split.pixels([self.indices[i] for i in indices], preprocessing)


@dataclass(frozen=True)
class Without:
    """A data source without the images of some classes; labels keep their indices."""

    whole: DataSource
    left_out: frozenset[int]

    @property
    def labels(self) -> Sequence[str]:
        """All labels, those left out too."""
        return self.whole.labels

    @property
    def digest(self) -> str:
        """Digest of the whole: this source is never registered."""
        return self.whole.digest

    @property
    def train(self) -> Part:
        """Training images of the others."""
        return self._others(self.whole.train)

    @property
    def test(self) -> Part:
        """Test images of the others."""
        return self._others(self.whole.test)

    def _others(self, split: Split) -> Part:
        return Part(split, [i for i, label in enumerate(split.labels) if label not in self.left_out])
