"""Write the package of a new plugin: an example of each kind, and tests that hold each to its contract."""

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from ledger.durable_files import is_vacant, reason
from ledger.errors import ConflictError, LedgerError, UsageError
from ledger.service.output_files import require_outside_ledgers

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 60
TEMPLATE = "template"
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "init.py": "src/$module/__init__.py",
    "evaluator.py": "src/$module/evaluator.py",
    "solver.py": "src/$module/solver.py",
    "data.py": "src/$module/data.py",
    "layer.py": "src/$module/layer.py",
    "test_contract.py": "tests/test_contract.py",
}
"""Of each file of the template, where it goes."""


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Write the package of a new plugin into a folder, and return its files.

    Args:
        name: What the plugin is called: lower-case letters, digits, and ``-`` between them.
        folder: New, or empty.

    Raises:
        UsageError: The name is none.
        ConflictError: The folder is not empty.
        RefusedError: The folder belongs to a ledger, or is a link.
        LedgerError: The folder cannot be written.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"{name[:LONGEST]!r} cannot be a plugin's name",
            "use lower-case letters, digits, and '-' between: my-plugin",
        )
    module = name.replace("-", "_")
    if module in ("ledger", "unledger", "test", "tests"):
        raise UsageError(f"{name} is the name of another package", "choose another name")
    require_outside_ledgers(None, folder)
    if folder.exists() and not is_vacant(folder):
        raise ConflictError(f"{folder} is not an empty folder", "name a new folder with --into")
    said = {"name": name, "module": module}
    source = files("ledger.testing") / TEMPLATE
    texts = {
        Template(place).substitute(said): Template((source / f"{kept}.txt").read_text()).substitute(said)
        for kept, place in FILES.items()
    }
    try:
        for place, text in texts.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text)
    except OSError as error:
        raise LedgerError(
            f"cannot write to {folder}: {reason(error)}", "check permissions, or name another folder"
        ) from error
    return [folder / place for place in texts]
