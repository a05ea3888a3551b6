"""Check the images of a model before anything rests on them: every one is decoded once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ledger.domain.data_record import BadImage, BadImages, DataOptions, SourceContents
from ledger.errors import DataError
from ledger.hookspecs import DataSource
from ledger.service.computation.registered_data import open_source, read_contents
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress

MOST_LISTED = 10
"""Bad images that an error names."""
MOST_SKIPPED = 100_000
"""Most images that can be left out: each is recorded."""


@dataclass(frozen=True)
class CheckedData:
    """A data source whose images can all be read."""

    source: DataSource
    options: DataOptions
    contents: SourceContents | None
    """None if the source only has a digest of the whole."""


def open_checked(
    ledger: Ledger, spec: str, options: DataOptions, progress: Progress, bad_images: BadImages
) -> CheckedData:
    """Open a data source and decode every image that was not decoded before.

    The person is told of what is left out or read in another way than they may expect.

    Args:
        ledger: The ledger; it remembers what was decoded.
        spec: The data specification.
        options: How files are read. What it skips is looked at again: it stays out while it cannot be read.
        progress: Told about a phase of as many steps as there are images to be read.
        bad_images: Whether images that cannot be read are refused or left out.

    Raises:
        DataError: Images cannot be read, and shall not be left out; names the first ten with the cause of each.
    """
    out_before = frozenset(options.skipped)
    options = replace(options, skipped=())
    source = open_source(ledger, spec, options)
    contents = read_contents(source, _phase(progress), check=True)
    if contents is None:
        return CheckedData(source, options, None)
    for note in contents.notes:
        ledger.tell(f"note: {note}")
    if not contents.bad:
        return CheckedData(source, options, contents)
    new = [bad for bad in contents.bad if bad.name not in out_before]
    if new and (bad_images is not BadImages.SKIP or len(contents.bad) > MOST_SKIPPED):
        raise DataError(
            f"cannot read {_images(len(new))} of {spec}: {_listed(new)}",
            "replace or remove them, or leave them out, which is recorded: --bad-images skip",
        )
    verb = "is" if len(contents.bad) == 1 else "are"
    ledger.tell(f"note: {_images(len(contents.bad))} cannot be read and {verb} left out: {_listed(contents.bad)}")
    options = replace(options, skipped=tuple(sorted(bad.name for bad in contents.bad)))
    source = open_source(ledger, spec, options)
    return CheckedData(source, options, read_contents(source, _phase(progress), check=True))


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _listed(bad: Sequence[BadImage]) -> str:
    named = "; ".join(f"{one.name}: {one.cause}" for one in bad[:MOST_LISTED])
    return named + (f"; and {len(bad) - MOST_LISTED:,} more" if len(bad) > MOST_LISTED else "")


def _phase(progress: Progress) -> Callable[[int], Callable[[], None]]:
    def begin(total: int) -> Callable[[], None]:
        progress.phase("read images", total)
        return progress.step

    return begin
