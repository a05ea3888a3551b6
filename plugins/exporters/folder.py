"""Exporter ``folder:PATH``: a folder for each model, in which a link called ``live`` leads to one of two folders.

    PATH/MODEL/blue/            model.safetensors, config.json, README.md, unledger.json
    PATH/MODEL/green/           the version before, or empty
    PATH/MODEL/live -> blue     changed in one step

Whoever serves opens ``PATH/MODEL/live``, and never finds half of a version: the files of the next one are written to
the folder that is not live, and the link is replaced by another. Readers with open files keep them.
"""

import json
import shutil
from pathlib import Path

from ledger.digest import sha256_hex
from ledger.durable_files import TEMPORARY, Existing, make_folder, reason, sync_folder, write_file, write_folder
from ledger.errors import LedgerError, UsageError
from ledger.hookspecs import Exporter, LiveFacts, LiveVersion, hookimpl

PREFIX = "folder:"
LINK = "live"
COLOURS = ("blue", "green")
FACTS = "unledger.json"
"""What is known of the version in a folder."""
WEIGHTS = "model.safetensors"


class FolderExporter:
    """Puts live versions into folders of this machine.

    Args:
        root: Where the folders of models are.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(self, live: LiveVersion) -> str:
        """Write a version to the folder that is not live, and switch to it."""
        folder, facts = self._root / live.facts.model, live.facts
        if self._holds(folder / LINK, facts):
            return self.describe(facts)
        try:
            make_folder(folder)
            colour = next(one for one in COLOURS if one != _leads_to(folder / LINK))
            # What is there is the version before the last, or what an interrupted switch left.
            shutil.rmtree(folder / colour, ignore_errors=True)
            write_folder(folder / colour, {**live.files, FACTS: _told(facts)})
            _switch(folder, colour)
        except OSError as error:
            raise _unwritten(folder, error) from error
        return f"{folder / LINK} leads to {colour}, which holds version {facts.version}"

    def describe(self, facts: LiveFacts) -> str:
        """Replace what is said of the live version."""
        folder = self._root / facts.model
        if not self._holds(folder / LINK, facts):
            raise LedgerError(
                f"{folder / LINK} does not hold version {facts.version}", "somebody changed it: unledger exporter run"
            )
        try:
            write_file((folder / LINK).resolve() / FACTS, [_told(facts)], existing=Existing.REPLACE)
        except OSError as error:
            raise _unwritten(folder, error) from error
        return f"{folder / LINK / FACTS} tells what is known of version {facts.version}"

    def remove(self, model: str, weights: frozenset[str]) -> str:
        """Destroy the folder that is not live, if it holds purged weights."""
        folder, gone = self._root / model, []
        for colour in COLOURS:
            file = folder / colour / WEIGHTS
            if colour == _leads_to(folder / LINK) or not file.is_file():
                continue
            try:
                if sha256_hex(file.read_bytes()) in weights:
                    shutil.rmtree(folder / colour)
                    sync_folder(folder)
                    gone.append(str(folder / colour))
            except OSError as error:
                raise _unwritten(folder, error) from error
        return f"destroyed {', '.join(gone)}" if gone else f"{folder} holds no purged weights"

    def _holds(self, place: Path, facts: LiveFacts) -> bool:
        """Whether a version is there whole: its facts are written with it, in one step."""
        try:
            said = json.loads((place / FACTS).read_bytes())
            return (said["version"], said["weights"]) == (facts.version, facts.weights) and (place / WEIGHTS).is_file()
        except (OSError, ValueError, KeyError, TypeError):
            return False


def _leads_to(link: Path) -> str | None:
    try:
        return link.readlink().name
    except OSError:
        return None


def _switch(folder: Path, colour: str) -> None:
    """Let the link lead to another folder, in one step."""
    link = folder / LINK
    if link.exists() and not link.is_symlink():
        raise LedgerError(f"{link} is no link, so it cannot be switched", "move it away; then: unledger exporter run")
    temporary = folder / f"{TEMPORARY}{LINK}"
    temporary.unlink(missing_ok=True)
    # By its name alone, so that the folder can be moved, or mounted elsewhere.
    temporary.symlink_to(colour, target_is_directory=True)
    temporary.replace(link)
    sync_folder(folder)


def _told(facts: LiveFacts) -> bytes:
    said = {
        "model": facts.model,
        "version": facts.version,
        "weights": facts.weights,
        "kind": facts.kind,
        "live_since": facts.live_since.isoformat(),
        "tags": dict(facts.tags),
    }
    return (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode()


def _unwritten(folder: Path, error: OSError) -> LedgerError:
    return LedgerError(f"cannot write to {folder}: {reason(error)}", "free some space or check permissions")


@hookimpl
def unledger_exporter(spec: str) -> Exporter | None:
    """Open a folder.

    Raises:
        UsageError: It is named by no absolute path.
    """
    if not spec.startswith(PREFIX):
        return None
    root = Path(spec.removeprefix(PREFIX))
    if not root.is_absolute():
        raise UsageError(f"{spec} names no folder by an absolute path", "e.g. folder:/srv/models")
    return FolderExporter(root)
