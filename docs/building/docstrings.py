"""Docstrings as they are shown: Google style, references by last name, and the exit code of each error."""

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util.nodes import make_refnode

from ledger.errors import LedgerError

SENTENCES = {"attribute", "data", "property"}
"""What is described in sentences alone. Napoleon would take what stands before a colon in them for a type."""
CONFIG: Any = Config(napoleon_use_rtype=False)
ELSEWHERE = (
    "collections",
    "concurrent",
    "contextlib",
    "datetime",
    "enum",
    "nn",
    "np",
    "numpy",
    "pathlib",
    "pd",
    "torch",
)
"""Modules, or their usual short names, that others describe: their pages cannot be looked up without a network."""
ELSEWHERE_NAMES = {"Tensor", "Path", "Protocol"}
NOT_SHOWN = {
    "ledger.algebra.displacement.Displacement",
    "ledger.algebra.summed_moments.SummedMoments",
    "ledger.desk.desk.Desk",
    "ledger.engine.choosing.PhaseObserver",
    "ledger.front.values.Shown",
    "ledger.networks.network.Network",
    "ledger.plugin_manager.Plugins.layer_handlers",
    "ledger.service.ledger.Ledger",
    "ledger.service.models.registration.register",
    "ledger.service.progress.Progress",
}
"""Names of the inner rooms that docstrings of the outer ones refer to."""


def rewrite(_app: Sphinx, what: Any, _name: str, shown: Any, _options: Any, lines: list[str]) -> None:
    """Turn a docstring into what Sphinx reads."""
    if what not in SENTENCES:
        lines[:] = GoogleDocstring(lines, CONFIG, what=what, obj=shown).lines()
    if isinstance(shown, type) and issubclass(shown, LedgerError):
        lines += ["", f"Exit code {shown.exit_code}.", ""]


def sign(
    _app: Sphinx, _what: str, _name: str, _shown: Any, _options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write defaults as Python can be read: functions by name, and nothing for what is made anew each time."""
    if signature is not None:
        signature = re.sub(r"<function (\w+)[^<>]*>", r"\1", signature)
        signature = re.sub(r"<\w[^<>]*(<lambda>[^<>]*)?>", "...", signature)
    return signature, returned


def find(app: Sphinx, _environment: BuildEnvironment, wanted: addnodes.pending_xref, text: nodes.Element) -> Any:
    """Resolve a reference that does not say where its target is, as long as only one thing is called so."""
    if wanted.get("refdomain") != "py":
        return None
    target = wanted["reftarget"]
    found = list(_called(app, target))
    if len(found) == 1:
        page, place = found[0]
        return make_refnode(app.builder, wanted["refdoc"], page, place, text)
    elsewhere = target.split(".")[0] in ELSEWHERE or target in ELSEWHERE_NAMES
    return text if elsewhere or target in NOT_SHOWN else None


def _called(app: Sphinx, name: str) -> Iterator[tuple[str, str]]:
    last = name if name.count(".") <= 1 else name.rpartition(".")[2]
    for full, entry in app.env.domains.python_domain.objects.items():
        if not entry.aliased and (full == name or full.endswith(f".{last}")) and entry.objtype != "module":
            yield entry.docname, entry.node_id
