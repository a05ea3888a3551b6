"""Imports go downwards only, and some rooms may know only a few others. Read from the source, not from a run."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = {"ledger": "ledger", "plugins": "ledger.plugins", "cli": "ledger.cli", "migrations": "ledger.migrations"}
FLOORS = [
    {"ledger.cli", "ledger.front", "ledger.web"},
    {"ledger.desk"},
    {"ledger.documents", "ledger.report"},
    {"ledger.service"},
    {"ledger.candidates", "ledger.engine", "ledger.testing", "ledger.units"},
    {"ledger.answers", "ledger.spaces"},
    {"ledger.networks"},
    {
        "ledger.config",
        "ledger.images",
        "ledger.plugin_manager",
        "ledger.builtin_plugins",
        "ledger.store",
        "ledger.weights",
    },
    {
        "ledger.hookspecs",
        "ledger.evaluator_input",
        "ledger.exporter",
        "ledger.algebra",
        "ledger.certificates",
        "ledger.durable_files",
        "ledger.named_files",
    },
    {"ledger.audit"},
    {"ledger.digest", "ledger.json_shapes", "ledger.shown_tables"},
    {"ledger.domain"},
    {"ledger.errors", "ledger.garbage_collection", "ledger.installation", "ledger"},
]
"""From the top down. A module may import from its own floor and from those below."""
FILES = {"ledger.durable_files", "ledger.named_files"}
"""Reading a file that a person names, and writing one whole or not at all: the same everywhere."""
CLI_MAY_IMPORT = {
    "ledger.desk",
    "ledger.documents",
    "ledger.web",
    "ledger.service",
    "ledger.report",
    "ledger.domain",
    "ledger.errors",
    "ledger.__version__",
    *FILES,
    "ledger.garbage_collection",
    "ledger.installation",
    "ledger.json_shapes",
}
CLI_EXCEPTIONS = {"ledger.cli.commands.demo": {"ledger.testing"}}
"""The demonstration trains a model, and no service does that."""
PLUGINS_MAY_IMPORT = {
    "ledger.hookspecs",
    "ledger.installation",
    "ledger.durable_files",
    "ledger.evaluator_input",
    "ledger.domain",
    "ledger.errors",
    "ledger.algebra",
    "ledger.digest",
    "ledger.named_files",
}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield every module's import name and file."""
    for folder, name in HOUSES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([name, *(part for part in parts if part != "__init__")]), path


def imported(name: str, path: Path) -> Iterator[str]:
    """Yield the absolute names a module imports, function-level imports included, type-only ones left out."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    skipped = {
        node
        for guard in ast.walk(tree)
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING"
        for node in ast.walk(guard)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = f"{base}.{node.module}" if base and node.module else base or node.module or ""
            yield from (f"{source}.{alias.name}" for alias in node.names)


def floor_of(name: str) -> int | None:
    """Return the index of a module's floor: the longest listed prefix decides."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        for index, rooms in enumerate(FLOORS):
            if prefix in rooms and (prefix != "ledger" or len(parts) <= 2):
                return index
    return None


MODULES = dict(modules())
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}
HALLS = {package for package in PACKAGES if any(other.startswith(package + ".") for other in PACKAGES)}
"""Packages with rooms in them. A module that stands in one, beside the rooms, counts as a room of its own."""


def room_of(module: str) -> str:
    """Return the folder of a module, or the module itself where its folder has folders."""
    folder = module if module in PACKAGES else module.rpartition(".")[0]
    return module if folder in HALLS else folder


def within(name: str, room: str) -> bool:
    """Return whether a name is a room or lies in it."""
    return name == room or name.startswith(room + ".")


def test_the_walk_finds_the_code() -> None:
    assert {
        "ledger.errors",
        "ledger.plugins.layers.conv",
        "ledger.cli.main",
        "ledger.store.database.engine",
    } <= MODULES.keys()
    assert "ledger.errors.LedgerError" in set(imported("ledger.cli.main", MODULES["ledger.cli.main"]))


@pytest.mark.parametrize(
    "name", sorted(n for n in MODULES if not n.startswith(("ledger.plugins", "ledger.migrations")))
)
def test_imports_go_downwards(name: str) -> None:
    own = floor_of(name)
    assert own is not None, f"{name} stands on no floor: add it to FLOORS"
    uphill = [
        target
        for target in imported(name, MODULES[name])
        if target.split(".")[0] == "ledger" and (floor := floor_of(target)) is not None and floor < own
    ]
    assert uphill == []


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.startswith("ledger.") and ".cli" not in n))
def test_the_core_knows_neither_plugins_nor_faces(name: str) -> None:
    if name.startswith("ledger.plugins"):
        return
    assert [t for t in imported(name, MODULES[name]) if t.startswith(("ledger.plugins", "ledger.cli"))] == []


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.startswith("ledger.plugins.")))
def test_plugins_know_only_what_any_plugin_may(name: str) -> None:
    foreign = [
        target
        for target in imported(name, MODULES[name])
        if target.startswith("ledger.")
        and not target.startswith("ledger.plugins")
        and not any(target.startswith(allowed) for allowed in PLUGINS_MAY_IMPORT)
    ]
    assert foreign == []


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.split(".")[:2] == ["ledger", "cli"]))
def test_the_command_line_calls_services(name: str) -> None:
    allowed = CLI_MAY_IMPORT | {"ledger.cli"} | CLI_EXCEPTIONS.get(name, set())
    foreign = [
        target
        for target in imported(name, MODULES[name])
        if target.startswith("ledger.") and not any(within(target, room) for room in allowed)
    ]
    assert foreign == []


def test_the_command_line_reads_no_database() -> None:
    # A service hands out the ledger with its database; only services may use it.
    for name, path in MODULES.items():
        if within(name, "ledger.cli"):
            attributes = {
                node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
            }
            assert not attributes & {"database", "blobs"}, name


def test_no_circle_between_rooms() -> None:
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        for target in imported(name, path):
            module = target if target in MODULES else target.rpartition(".")[0]
            if module in MODULES and room_of(module) != room_of(name):
                graph.setdefault(room_of(name), set()).add(room_of(module))
    assert {"ledger.service.requests", "ledger.cli.commands", "ledger.plugins.layers"} <= graph.keys()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_every_public_class_has_one_definition() -> None:
    found: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, set()).add(name)
    assert "Request" in found
    assert {kind: modules for kind, modules in found.items() if len(modules) > 1} == {}


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("ledger.algebra", {"torch"}),
        ("ledger.audit", {"cryptography"}),
        ("ledger.certificates", {"cryptography"}),
        ("ledger.domain", set()),
        ("ledger.errors", set()),
    ],
)
def test_pure_packages_import_only(package: str, allowed: set[str]) -> None:
    for name, path in MODULES.items():
        if name == package or name.startswith(package + "."):
            roots = {target.split(".")[0] for target in imported(name, path)}
            assert roots - sys.stdlib_module_names - {"ledger"} <= allowed, name


def test_one_module_checks_the_shape_of_foreign_json() -> None:
    knowing = {n for n, path in MODULES.items() if "msgspec" in {t.split(".")[0] for t in imported(n, path)}}
    # The other two write and read what is the ledger's own, sealed, and no JSON.
    assert knowing == {"ledger.json_shapes", "ledger.store.replay.packed_rows", "ledger.store.replay.snapshot"}


def test_sql_stays_in_the_store() -> None:
    for name, path in MODULES.items():
        knows_sql = any(t.split(".")[0] in ("sqlalchemy", "alembic") for t in imported(name, path))
        assert not knows_sql or name.startswith(("ledger.store", "ledger.migrations")), name


def test_pickle_is_nowhere() -> None:
    for name, path in MODULES.items():
        assert not any(t.split(".")[0] in ("pickle", "cloudpickle", "dill") for t in imported(name, path)), name
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                # One room reads what torch.save wrote, for a conversion, and never lets it run code.
                assert name == "ledger.weights.pickled_files", name
                assert "weights_only=True" in ast.unparse(node)


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "misc"])
def test_no_room_without_a_concept(name: str) -> None:
    assert not [module for module in MODULES if module.rpartition(".")[2] == name]


def test_modules_are_of_readable_size() -> None:
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 500}
    assert long == {}


@pytest.mark.parametrize("statement", ["import ledger", "import ledger.hookspecs", "import ledger.cli.main"])
def test_light_imports_stay_light(statement: str) -> None:
    heavy = "{'torch', 'timm', 'numpy', 'sqlalchemy', 'sklearn'}"
    code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert result.stdout.strip() == "[]"
