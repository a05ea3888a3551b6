"""With the modules of the engine and of the server out of reach, in a process of its own."""

import json
import re
from base64 import b64decode
from pathlib import Path

import pytest

from tests.installation.story import CODES, REFUSED, WORKS, answers, ledger_made_elsewhere


def test_what_keeps_and_reads_a_ledger_works(tmp_path: Path) -> None:
    root = ledger_made_elsewhere(tmp_path)
    failed = [
        f"{line}: {code} {crash}\n{out}\n{err}"
        for line, (code, out, err, crash) in zip(WORKS, answers(root, WORKS), strict=True)
        if (code, crash) != (CODES.get(line, 0), None)
    ]
    assert not failed, "\n".join(failed)


def test_what_computes_says_what_to_install_and_begins_nothing(tmp_path: Path) -> None:
    root = ledger_made_elsewhere(tmp_path)
    [*ready, before] = answers(root, ["db upgrade", "audit adopt digits --yes", "audit log --json"])
    assert [code for code, *_ in ready] == [0, 0]
    told = answers(root, [*REFUSED, "audit log --json"])
    for line, (code, out, err, crash) in zip(REFUSED, told[:-1], strict=True):
        assert (code, crash) == (1, None), f"{line}\n{out}\n{err}"
        assert "hint: pip install 'unledger[engine]'" in err, line
        assert "Traceback" not in err
    assert told[-1][1] == before[1], "something was recorded by a command that cannot be carried out"
    assert not (tmp_path / "demonstration").exists()
    document = json.loads(told[REFUSED.index("work --drain --json")][1])
    assert (document["error"], document["extra"]) == ("NotInstalledError", "engine")


def test_what_is_missing_is_said_in_a_sentence(tmp_path: Path) -> None:
    root = ledger_made_elsewhere(tmp_path)
    _, doctor, plugins = answers(root, ["db upgrade", "doctor --json", "plugins"])
    checks = {check["name"]: check for check in json.loads(doctor[1])["items"]}
    assert checks["engine"]["ok"]
    assert "pip install 'unledger[engine]'" in checks["engine"]["detail"]
    assert plugins[2].count("pip install 'unledger[engine]'") == 1
    assert "warning" not in plugins[2]


def test_a_certificate_names_the_same_tests_without_the_engine(tmp_path: Path) -> None:
    """What was not tested must not depend on where the certificate was issued."""
    from ledger.plugin_manager import build_plugins, offered_names

    plugins = build_plugins()
    assert list(offered_names().evaluators) == list(plugins.evaluators())
    assert set(offered_names().solvers) == set(plugins.solvers(offered_names().solvers))
    root = ledger_made_elsewhere(tmp_path)
    lines = ["db upgrade", "audit adopt digits --yes", "certificate issue 1 -o ../certificate.json --json"]
    [_, _, issued] = answers(root, lines)
    assert issued[0] == 0, issued
    [envelope] = re.findall(r'"payload":\s*"([^"]+)"', (tmp_path / "certificate.json").read_text())
    statement = b64decode(envelope).decode()
    assert all(f'"{name}"' in statement for name in ("rmia", "probe", "relearning"))


def test_an_error_of_another_module_is_not_taken_for_a_missing_engine() -> None:
    from ledger.installation import as_not_installed

    assert as_not_installed(ModuleNotFoundError("No module named 'elsewhere'", name="elsewhere")) is None
    # It is there: what fails is something else, and must be seen.
    assert as_not_installed(ModuleNotFoundError("No module named 'torch.odd'", name="torch.odd")) is None


@pytest.mark.parametrize("extra", ["engine", "server"])
def test_nothing_is_missing_where_the_tests_run(extra: str) -> None:
    from ledger.installation import lacks, require

    assert not lacks(extra)
    require(extra, "testing")
