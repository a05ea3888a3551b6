"""Certificates by commands, and the verifier by itself: one file, without unledger, database or network."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cryptography
import pytest

from ledger.certificates import verifier
from ledger.digest import sha256_hex
from ledger.errors import (
    ConflictError,
    LedgerError,
    NotFoundError,
    PurgedError,
    RefusedError,
    SignatureError,
    UsageError,
)

if TYPE_CHECKING:
    from tests.ledgers.command_line import Cli

VERIFIER = Path(verifier.__file__)
GOLDEN = Path(__file__).parents[1] / "golden" / "certificates"
ALONE = """
import runpy, sys

sys.path.append(sys.argv[1])
# "org": the standard library's copy module looks whether it runs on Jython.
allowed = sys.stdlib_module_names | {"cryptography", "_cffi_backend", "__main__", "org"}

def guard(event, arguments):
    if event.startswith(("socket.", "sqlite3.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork")):
        raise RuntimeError(f"the verifier tried {event}")
    if event == "open" and set(arguments[1] or "r") & set("wax+"):
        raise RuntimeError(f"the verifier tried to write {arguments[0]}")
    if event == "import" and arguments[0].split(".")[0] not in allowed:
        raise RuntimeError(f"the verifier imported {arguments[0]}")

sys.addaudithook(guard)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a file where a copy of it sees the standard library and ``cryptography``, and may neither write nor connect."""


def key_of(cli: Cli) -> str:
    """Return the ledger's verifier key."""
    return cli("audit", "key").out.strip()


@pytest.fixture
def issued(forgotten: Cli, tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of request 1 and its opening, as files."""
    certificate, opening = tmp_path / "certificate.json", tmp_path / "openings.json"
    forgotten("certificate", "issue", "1", "-o", str(certificate), "--openings", str(opening))
    return certificate, opening


# -- commands -----------------------------------------------------------------------------------------


def test_a_certificate_is_issued_listed_shown_and_verified(forgotten: Cli, tmp_path: Path) -> None:
    forgotten("evaluate", "digits:1", "-e", "accuracy")
    answer = forgotten("certificate", "issue", "1")
    assert "issued certificate 1 for request 1, version 1" in answer.err
    assert answer.document.keys() == {"format", "envelope", "leaf", "proof"}
    [listed] = forgotten.json("certificate", "list")["items"]
    assert (listed["id"], listed["request"], listed["model"], listed["version"]) == (1, 1, "digits", 1)
    assert listed["openings"] is True
    assert "kept" in forgotten("certificate", "list").out
    assert forgotten("certificate", "show", "1", "--json").out == answer.out
    shown = forgotten("certificate", "show", "1").out
    assert "membership, " in " ".join(shown.split()).partition("did not run ")[2]
    assert "not tested, L4 against retrained: " in " ".join(shown.split())
    assert "version 0" in shown
    again = forgotten("certificate", "issue", "1")
    assert "already says this" in again.err
    assert again.out == answer.out
    assert forgotten("certificate", "issue", "1", "--renew").out != answer.out

    file = tmp_path / "certificate.json"
    forgotten("certificate", "show", "1", "-o", str(file))
    assert file.read_text() == answer.out
    said = forgotten.json("certificate", "verify", str(file), "--key", key_of(forgotten))
    assert said["ok"] is True
    assert said["classes"] is None
    assert said["statement"]["predicate"]["evidence"]["level"] == "L1 outputs"
    assert said["statement"]["subject"][0]["digest"]["sha256"] == forgotten.versions()[1]["weights"]
    plain = forgotten("certificate", "verify", str(file))
    assert "approximate unlearning with recorded evidence" in plain.out
    assert f"own key: {key_of(forgotten)}" in plain.err
    for word in ("erased", "compliant"):
        assert word not in answer.out + plain.out + json.dumps(said)


def test_what_would_be_certified_is_said_before_anything_is_signed(forgotten: Cli, tmp_path: Path) -> None:
    with forgotten.unchanged():
        answer = forgotten("certificate", "issue", "1", "--dry-run")
        planned = forgotten.json("certificate", "issue", "1", "--dry-run")
    assert answer.out == ""
    assert "to be certified: version 1 of digits, which is not live: version 2 is" in answer.err
    assert "evidence on these weights: L1 outputs (what the network answers to test images)" in answer.err
    assert "for what is live: unledger certificate issue 1 --live" in answer.advice
    assert (planned["version"], planned["live_version"], planned["is_live"]) == (1, 2, False)
    assert planned["not_tested"]["L2 membership"] == ["membership", "rmia"]
    assert all(f"note: {sentence}" in answer.err for sentence in planned["caveats"])
    issued = forgotten("certificate", "issue", "1", "--live", "-o", str(tmp_path / "certificate.json"))
    said = [issued.err.index(part) for part in ("to be certified: version 2", "which is live", "issued certificate 1")]
    assert said == sorted(said)
    forgotten("forget", "digits", "-c", "8", "--wait")
    assert "since then: what is live now is version 3" in forgotten("certificate", "show", "1").err


def test_what_cannot_be_certified_is_refused_before_torch_is_loaded(forgotten: Cli) -> None:
    forgotten("request", "withdraw", "1")
    code = (
        "import sys\nfrom ledger.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    refused = [sys.executable, "-c", code, "--ledger", str(forgotten.root), "certificate", "issue", "1"]
    ended = subprocess.run(refused, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["4", "False"], ended.stderr
    assert "request 1 is withdrawn" in ended.stderr
    # Nor does it take torch where there is something to certify: names of evaluators are known without.
    ended = subprocess.run([*refused[:-1], "2", "-n"], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["0", "False"], ended.stderr
    forgotten("purge", "digits", "--older-than", "0d", "--yes", "--clock-is-right")
    ended = subprocess.run([*refused[:-1], "2"], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["4", "False"], ended.stderr
    assert "was purged" in ended.stderr


def test_an_opening_names_the_classes(forgotten: Cli, issued: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, opening = issued
    said = forgotten.json("certificate", "verify", str(certificate), "--opening", str(opening))
    assert said["classes"] == [{"index": 3, "label": "3"}]
    assert "3 (index 3)" in forgotten("certificate", "verify", str(certificate), "--opening", str(opening)).out
    assert forgotten("certificate", "show", "1", "--openings").out == opening.read_text()
    document = json.loads(opening.read_text())
    document["classes"][0]["label"] = "7"
    false = tmp_path / "false.json"
    false.write_text(json.dumps(document))
    verify = ("certificate", "verify", str(certificate), "--opening")
    forgotten.refused(SignatureError, 5, *verify, str(false))
    forgotten.refused(NotFoundError, 3, *verify, str(tmp_path / "nowhere"))
    assert forgotten("certificate", "verify", str(certificate), "--opening", str(false), "--json", code=5).document == {
        "schema": "unledger.certificate/1",
        "ok": False,
        "problem": "the opening does not verify: class 1 of the opening is none that this certificate commits to",
    }


def test_openings_are_erased_on_a_persons_word(forgotten: Cli, issued: tuple[Path, Path]) -> None:
    certificate, opening = issued
    forgotten.refused(RefusedError, 7, "certificate", "erase-openings", "1")
    forgotten.refused(NotFoundError, 3, "certificate", "erase-openings", "9", "--yes")
    forgotten("certificate", "erase-openings", "1", "--yes")
    assert "before" in forgotten("certificate", "erase-openings", "1", "--yes").err
    forgotten.refused(PurgedError, 4, "certificate", "show", "1", "--openings")
    forgotten("certificate", "verify", str(certificate), "--opening", str(opening))
    assert forgotten("certificate", "show", "1", "--json").out == certificate.read_text()
    assert "were erased" in forgotten("certificate", "show", "1").err
    assert "erased" in forgotten("certificate", "list").out


def test_the_certificate_must_be_about_what_it_is_shown_for(forgotten: Cli, issued: tuple[Path, Path]) -> None:
    verify = ("certificate", "verify", str(issued[0]))
    forgotten("model", "export", "digits:1", "-o", str(issued[0].parent / "one"))
    forgotten("model", "export", "digits:2", "-o", str(issued[0].parent / "two"))
    weights = [str(issued[0].parent / name / "model.safetensors") for name in ("one", "two")]
    forgotten(*verify, "--request", "1", "--weights", weights[0])
    forgotten.refused(SignatureError, 5, *verify, "--request", "2")
    forgotten.refused(SignatureError, 5, *verify, "--weights", weights[1])
    forgotten.refused(NotFoundError, 3, *verify, "--weights", weights[1] + "x")


def test_bad_calls_are_refused(forgotten: Cli, issued: tuple[Path, Path], empty_folder: Path) -> None:
    certificate, opening = map(str, issued)
    forgotten.refused(ConflictError, 4, "certificate", "issue", "2", "-o", certificate)
    forgotten.refused(ConflictError, 4, "certificate", "issue", "2", "--openings", opening)
    forgotten.refused(NotFoundError, 3, "certificate", "issue", "99")
    forgotten.refused(NotFoundError, 3, "certificate", "show", "99")
    forgotten.refused(UsageError, 2, "certificate", "verify", certificate, "--key", "nonsense")
    forgotten.refused(SignatureError, 5, "certificate", "verify", opening)
    forgotten.refused(NotFoundError, 3, "certificate", "verify", certificate + "x")
    forgotten("forget", "digits", "-c", "8")
    forgotten.refused(ConflictError, 4, "certificate", "issue", "3")
    forgotten.refused(LedgerError, 1, "certificate", "show", "1", "-o", f"{empty_folder}/nowhere/certificate.json")
    answer = run_cli(empty_folder, "certificate", "verify", certificate)
    assert answer.returncode == 2
    assert "name it with --key" in answer.stderr
    assert run_cli(empty_folder, "certificate", "verify", certificate, "--key", key_of(forgotten)).returncode == 0


@pytest.fixture
def empty_folder(tmp_path: Path) -> Path:
    """A folder without a ledger in it or above."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def run_cli(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, without a ledger."""
    return subprocess.run(
        [sys.executable, "-m", "ledger.cli", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_verifying_needs_no_torch_and_no_database(forgotten: Cli, issued: tuple[Path, Path]) -> None:
    code = (
        "import sys; from ledger.cli.main import app\n"
        f"try: app(['certificate', 'verify', {str(issued[0])!r}, '--key', {key_of(forgotten)!r}])\n"
        "except SystemExit as done: assert done.code == 0, done.code\n"
        "print(sorted({'torch', 'sqlalchemy', 'numpy', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# -- the verifier alone -------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A folder with a copy of the verifier, and beside it what Python may import beyond its standard library."""
    folder = tmp_path / "alone"
    libraries = folder / "libraries"
    libraries.mkdir(parents=True)
    shutil.copy(VERIFIER, folder / "certificate_verifier.py")
    package = Path(cryptography.__file__).parent
    for entry in (package, *package.parent.glob("_cffi_backend*")):
        (libraries / entry.name).symlink_to(entry)
    return folder


def run_alone(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the copy in an isolated Python, cut off from the network where the system can do that."""
    cut_off = ["unshare", "--map-root-user", "--net"]
    able = (
        shutil.which("unshare") and not subprocess.run([*cut_off, "true"], check=False, capture_output=True).returncode
    )
    python = [sys.executable, "-I", "-S", "-B", "-c", ALONE, folder / "libraries", folder / "certificate_verifier.py"]
    command = [*(cut_off if able else []), *python, *arguments]
    return subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False, env={})


def test_one_file_verifies_by_itself(forgotten: Cli, issued: tuple[Path, Path], alone: Path) -> None:
    certificate, opening = issued
    key = key_of(forgotten)
    done = run_alone(alone, certificate, "--key", key, "--opening", opening)
    assert (done.returncode, done.stderr) == (0, "")
    assert "classes: 3 (index 3)" in done.stdout
    assert forgotten.versions()[1]["weights"] in done.stdout
    forged = certificate.with_name("forged.json")
    forged.write_text(certificate.read_text().replace("\\nindex ", "\\nindex 1"))
    assert run_alone(alone, forged, "--key", key).returncode == 5
    assert run_alone(alone, certificate, "--key", "nonsense").returncode == 2


def test_the_guard_around_the_verifier_works(alone: Path) -> None:
    # Otherwise the test above would pass whatever the verifier does.
    for line in (
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import sqlite3; sqlite3.connect(':memory:')",
        "open('here', 'w')",
        "import ledger",
        "import numpy",
    ):
        (alone / "certificate_verifier.py").write_text(line)
        assert "the verifier" in run_alone(alone).stderr, line


def test_it_imports_nothing_of_the_ledger() -> None:
    tree = ast.parse(VERIFIER.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {f"{'.' * node.level}{node.module}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in names}
    assert roots - sys.stdlib_module_names == {"cryptography"}


# -- certificates of every release --------------------------------------------------------------------


@pytest.mark.parametrize("release", sorted(path.name for path in GOLDEN.iterdir()))
def test_certificates_of_every_release_verify(release: str, alone: Path) -> None:
    # Written by the commands of their release, and never again: a certificate must verify for as long as it is kept.
    folder = GOLDEN / release
    certificates = sorted(folder.glob("certificate-*.json"))
    assert certificates
    key = (folder / "key.txt").read_text().strip()
    for certificate in certificates:
        opening = certificate.with_name(certificate.name.replace("certificate", "openings"))
        verified = verifier.verify(certificate.read_bytes(), verifier.Key.parse(key))
        opened = verifier.verify_opening(opening.read_bytes(), verified)
        assert len(opened) == len(verified.commitments)
        assert run_alone(alone, certificate, "--key", key, "--opening", opening).returncode == 0
    expected = json.loads((folder / "expected.json").read_text())
    assert {
        path.name: sha256_hex(path.read_bytes()) for path in folder.glob("*.json") if path.stem != "expected"
    } == expected
