"""The same command lines on a ledger of this machine and on a server: same tables, same JSON, same exit codes."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from ledger.cli.main import app
from typer.testing import CliRunner

from ledger.config import find_config
from ledger.desk.local.jobs import JOB_DOCUMENTS
from ledger.domain.access import ALL_SCOPES, Scope
from ledger.service.access.tokens import create_token
from ledger.service.ledger import open_ledger
from ledger.service.progress import Silent
from ledger.service.requests.job_worker import carry_out_jobs
from tests.fixtures.documents import check_output
from tests.ledgers.command_line import Answer, Cli, leaves
from tests.ledgers.served import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

READS = """
model list
model show digits
model show digits:1
model show digits:9
model show nobody
model versions digits
model versions digits --at now
model versions digits --at 2020-01-01
model spaces digits
request list
request list digits --state fulfilled --limit 1
request list --after 1
request list nobody
request show 1
request show 7
request show 0
status
status digits
status --overdue
audit log
audit log digits --after 3
audit verify
audit verify --against 3:00
audit key
audit proof 1
audit proof 999
audit export
certificate list
certificate show 1
certificate show 1 --openings
certificate show 9
certificate issue 2 --dry-run
certificate issue 2 --dry-run --live
certificate issue 9 --dry-run
rollback digits --to 1 --dry-run
rollback digits --to 2 --dry-run
rollback digits --to -1 --dry-run
purge digits --older-than 0 --dry-run
token list
webhook list
webhook deliveries 1
request export
request export --format jsonl --state fulfilled
request export -o FOLDER/requests.csv
request calendar
forget digits -f FOLDER/many.txt --dry-run
forget digits -f FOLDER/wrong.txt --dry-run
report digits -o FOLDER/page.html
report digits -o FOLDER/page.html
report digits -o FOLDER/page.html --force --csv FOLDER/numbers
report --all -o FOLDER/pages
"""
"""Commands that change nothing, right and wrong ones."""
CHANGES = """
forget digits -c 5 --reason why --basis gdpr-17 --external-id T-1 --due +30d --needs-approval
forget digits -c 5 --idempotency-key once
forget digits -c 5 --idempotency-key once
forget digits -c 6 --idempotency-key once
forget digits -c 77
forget digits -c 1 -c 2 -c 4 -c 0 -c 5 -c 6 -c 8 -c 9
forget nobody -c 1
forget digits -f FOLDER/many.txt
forget digits -f FOLDER/wrong.txt
request show 3
request approve 3 --reason fine
request approve 3
request extend 3 --due +200d --reason later
request extend 3 --due +1d --reason sooner
request hold 3
request release 3
request release 3 --force
request deny 3 --reason no
request cancel 4
request retry 1
request retry 3
request withdraw 3
request list
status
audit checkpoint
certificate issue 1
certificate issue 2
certificate issue 2
certificate issue 2 --renew
certificate issue 3
certificate erase-openings 1
certificate erase-openings 1 --yes
certificate erase-openings 1 --yes
certificate show 1
rollback digits --to 1
rollback digits --to 1 --yes --reason why
rollback digits --to 1 --yes
request retry 2 --solver nobody
request retry 2 --reason again
request cancel 2
purge digits --older-than 0
purge digits --older-than 0 --yes
token create somebody --scope read --scope file --expires +30d
token create somebody --scope everything
token revoke nobody
token sessions
token end-sessions somebody
token end-sessions
token end-sessions --everybody
token revoke 00
webhook add https://example.org/hook --kind request.*
webhook add http://127.0.0.1/hook
webhook list
webhook test 9
webhook remove 1
webhook remove 0
model versions digits
audit log
"""
"""Commands that build on each other."""
HERE_ONLY = """
model add x --arch timm/resnet18 --weights w --data digits
model coverage digits
model verify digits
model diff digits 0 1
model export digits -o FOLDER/exported
model rebind digits
forget digits -c 1 --wait
work
evaluate digits
fsck
gc
backup FOLDER/backup
recover
doctor
plugins
db current
db check
db upgrade
audit adopt digits
audit witness FOLDER/witness
audit import FOLDER/export
exporter add here folder:FOLDER/served
exporter list
exporter status
exporter run
exporter remove here
"""
"""Commands that take images, weights or files of the ledger."""
ELSEWHERE = {
    "init",
    "demo",
    "restore",
    "weights convert",
    "weights inspect",
    "plugin new",
    "serve",
    "certificate verify",
    "preview",
}
"""Commands that ask no ledger, or none that an option names; and two that have tests of their own."""
THERE = (r" \(on the ledger's machine\)", "")
"""What hints from afar say more."""
WITHOUT_JSON = ("request export", "request calendar", "certificate show 1 --openings", "audit export")
"""Lines that print a file as it is."""
PASSING = [
    (r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", "MOMENT"),
    (r"\d{4}-\d\d-\d\d( \d\d:\d\d UTC)?", "MOMENT"),
    (r'"(remaining|idle)": [\d.]+', "SECONDS"),
    (r"in \d+ s|\d+ s ago", "SECONDS"),
    (r"\d{8}T\d{6}Z", "MOMENT"),
]
"""What differs between two looks at one ledger."""
OWN = [
    *PASSING,
    (r"ul_[0-9a-f]+_\S+?(?=[\"\s])", "TOKEN"),
    (r"whsec_[A-Za-z0-9+/=]+", "SECRET"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"[A-Za-z0-9+/]{40,}=*", "SIGNED"),
    (r"\b[0-9a-f]{16}\b", "REVISION"),
    (r"\b[0-9a-f]{12}\b", "ID"),
    (r"\b[0-9a-f]{8}\b", "DIGEST"),
]
"""What differs between two ledgers to which the same was done."""


@dataclass(frozen=True)
class Afar:
    """Runs commands on a server."""

    url: str
    token: str | None

    def __call__(self, *arguments: str, code: int | None = 0) -> Answer:
        """Run a command, which must end with an exit code (None: any)."""
        environment = {"UNLEDGER_TOKEN": self.token}
        result = CliRunner().invoke(app, ["--server", self.url, *arguments], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert code is None or result.exit_code == code, result.output
        return Answer(result.exit_code, result.stdout, result.stderr, None)


@dataclass(frozen=True)
class Ways:
    """One ledger, here and behind a server; or two that were equal when they were made."""

    here: Cli
    there: Afar
    folder: Path

    def compare(self, line: str, differing: list[tuple[str, str]]) -> None:
        """Run a command line both ways, without and with ``--json``, and compare what is answered."""
        for more in ([],) if line.startswith(WITHOUT_JSON) else ([], ["--json"]):
            # What one of them wrote is not in the other's way.
            told = []
            for name, run in (("here", self.here), ("there", self.there)):
                folder = self.folder / "written" / name / ("json" if more else "table")
                folder.mkdir(parents=True, exist_ok=True)
                words = line.replace("FOLDER", str(folder)).split()
                (folder / "many.txt").write_text('0\n{"classes": ["1"], "reason": "it"}\n')
                (folder / "wrong.txt").write_text("0\nnothing\n")
                answer = run(*words, *more, code=None)
                told.append((answer.code, _masked(answer.out, differing, folder)))
                if more and answer.out:
                    check_output(answer.out)
            assert told[0] == told[1], line


def _masked(text: str, differing: list[tuple[str, str]], folder: Path) -> str:
    for shape, mask in [
        (re.escape(str(folder)), "FOLDER"),
        (r"unledger (-L|--server) \S+", "unledger"),
        THERE,
        *differing,
    ]:
        text = re.sub(shape, mask, text)
    # Widths of columns follow what was masked.
    return re.sub(r" +", " ", text)


@pytest.fixture(scope="module")
def _prepared_served(tmp_path_factory: pytest.TempPathFactory, _prepared_forgotten: Path) -> tuple[Path, str]:
    """A ledger with two versions, a certificate and a token that may do everything, and the token."""
    root = tmp_path_factory.mktemp("served") / "ledger"
    shutil.copytree(_prepared_forgotten, root)
    Cli(root)("certificate", "issue", "1", "-o", str(root.parent / "certificate.json"))
    ledger = open_ledger(find_config(root), "tester")
    try:
        _, token = create_token(ledger, "tester", ALL_SCOPES)
    finally:
        ledger.close()
    return root, token


@pytest.fixture
def one(tmp_path: Path, _prepared_served: tuple[Path, str]) -> Iterator[Ways]:
    """The same ledger both ways."""
    root, token = _prepared_served
    shutil.copytree(root, tmp_path / "ledger")
    with served(tmp_path / "ledger") as url:
        yield Ways(Cli(tmp_path / "ledger"), Afar(url, token), tmp_path)


@pytest.fixture
def two(tmp_path: Path, _prepared_served: tuple[Path, str]) -> Iterator[Ways]:
    """Two ledgers that are equal."""
    root, token = _prepared_served
    for name in ("here", "there"):
        shutil.copytree(root, tmp_path / name)
    with served(tmp_path / "there") as url:
        yield Ways(Cli(tmp_path / "here"), Afar(url, token), tmp_path)


def test_what_is_read_from_afar_reads_the_same(one: Ways) -> None:
    for line in READS.strip().splitlines():
        one.compare(line, PASSING)


def test_what_is_done_from_afar_does_the_same(two: Ways) -> None:
    """Each line is run twice, without and with ``--json``: the second time it often meets another state."""
    for line in CHANGES.strip().splitlines():
        two.compare(line, OWN)
    two.here.verified()
    assert json.loads(two.there("audit", "verify", "--json").out)["ok"] is True


def test_every_command_is_run_both_ways_or_says_where_it_runs(one: Ways) -> None:
    names = [" ".join(name) for name in dict(leaves(typer_command()))]
    lines = f"{READS}{CHANGES}{HERE_ONLY}".strip().splitlines()
    unknown = [name for name in names if not any(f"{line} ".startswith(f"{name} ") for line in lines)]
    assert set(unknown) <= ELSEWHERE
    with one.here.unchanged():
        for line in HERE_ONLY.strip().splitlines():
            answer = one.there(*line.replace("FOLDER", str(one.folder)).split(), code=2)
            assert "on the ledger's machine" in answer.err, line


def test_who_acts_is_whoever_the_token_was_made_for(one: Ways) -> None:
    one.there("request", "list")
    one.there("forget", "digits", "-c", "5")
    assert one.here.json("request", "show", "3")["actor"] == "tester"
    refused = one.there("--actor", "somebody", "status", code=2)
    assert "whoever the token was made for" in refused.err


def test_a_certificate_from_afar_verifies_here_and_there(one: Ways) -> None:
    file = one.folder / "certificate.json"
    one.there("certificate", "show", "1", "-o", str(file))
    assert "certificate ok" in one.there("certificate", "verify", str(file)).err
    assert "certificate ok" in one.here("certificate", "verify", str(file)).err


def test_an_export_from_afar_verifies_without_the_server(one: Ways) -> None:
    file = one.folder / "export"
    one.there("audit", "checkpoint", "-o", str(one.folder / "kept"))
    one.there("audit", "export", "-o", str(file))
    key = one.there("audit", "key").out.strip()
    one.here("audit", "verify", "--file", str(file), "--key", key, "--against", str(one.folder / "kept"))
    one.there("audit", "verify", "--against", str(one.folder / "kept"))


def worker_in(folder: Path) -> Callable[[float], None]:
    """Return what carries out the jobs of a ledger while somebody waits for their answers."""

    def let_it_work(_seconds: float) -> None:
        ledger = open_ledger(find_config(folder), "worker")
        try:
            assert [*carry_out_jobs(ledger, Silent(), JOB_DOCUMENTS)]
        finally:
            ledger.close()

    return let_it_work


WITHDRAWALS = """
request withdraw 2 --waive why --solver nobody
request withdraw 2 --reason why
request withdraw 2 --reason again
request show 2
model versions digits
audit log
forget digits -c 7
request withdraw 3 --reason again
rollback digits --to 0 --yes
request withdraw 1 --reason why --solver projection
request withdraw 1 --waive why
request withdraw 1 --reason why
"""
"""A fulfilled request, with new weights; one that changes none; and one that a rollback reopened."""


def test_a_withdrawal_from_afar_is_carried_out_by_a_worker_there(two: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is run twice, without and with ``--json``: the second time the request is withdrawn already."""
    monkeypatch.setattr("ledger.cli.remote_jobs.time.sleep", worker_in(two.folder / "there"))
    for line in WITHDRAWALS.strip().splitlines():
        two.compare(line, OWN)
    two.here.verified()
    assert json.loads(two.there("audit", "verify", "--json").out)["ok"] is True


def test_a_withdrawal_from_afar_answers_in_json_as_here(two: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.cli.remote_jobs.time.sleep", worker_in(two.folder / "there"))
    answers = [run("request", "withdraw", "1", "--reason", "why", "--json") for run in (two.here, two.there)]
    made = [json.loads(answer.out)["version"]["weights"] for answer in answers]
    assert made[0] == made[1]
    assert len({_masked(answer.out, OWN, two.folder) for answer in answers}) == 1


def test_a_gate_that_a_withdrawal_misses_ends_alike_from_afar(two: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.cli.remote_jobs.time.sleep", worker_in(two.folder / "there"))
    for name in ("here", "there"):
        with (two.folder / name / "unledger.toml").open("a") as settings:
            settings.write('\n[gates]\nconditions = ["forgotten_accuracy <= -1"]\n')
    two.compare("request withdraw 2 --reason why", OWN)
    assert two.there("request", "withdraw", "2", code=6).code == 6
    two.compare("request withdraw 2 --waive enough", OWN)


def test_a_preview_from_afar_is_computed_by_a_worker_there(one: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.cli.remote_jobs.time.sleep", worker_in(one.here.root))
    kept = one.folder / "preview.json"
    there = one.there("preview", "digits", "-c", "5", "-o", str(kept))
    assert there.out == one.here("preview", "digits", "-c", "5").out
    one.there("forget", "digits", "-c", "5", "--preview", str(kept))
    assert "unknown" not in one.there("preview", "digits", "-c", "77", code=2).out


def test_what_a_token_may_not_do_is_refused_as_such(one: Ways) -> None:
    ledger = open_ledger(find_config(one.here.root), "tester")
    try:
        _, reader = create_token(ledger, "reader", [Scope.READ])
    finally:
        ledger.close()
    there = Afar(one.there.url, reader)
    there("model", "list")
    there("request", "calendar")
    assert "scope" in there("forget", "digits", "-c", "5", code=7).err
    for token in (None, "ul_0_0", reader[:-1]):
        answer = Afar(one.there.url, token)("model", "list", code=7)
        assert answer.out == ""
        assert "UNLEDGER_TOKEN" in answer.err
        # Another command would be let in as little.
        assert "unledger " not in answer.err


def test_no_hint_from_afar_leads_to_what_cannot_be_run_there(one: Ways) -> None:
    assert "a worker on the ledger's machine carries it out" in one.there("forget", "digits", "-c", "5").err
    unattended = one.there("status").err
    assert "unledger work" in unattended
    assert "--server" not in unattended
    assert "on the ledger's machine" in unattended
    assert f"unledger --server {one.there.url} request list" in one.there("request", "show", "99", code=3).err


def test_a_server_that_is_away_is_a_matter_of_later(one: Ways) -> None:
    gone = Afar("http://127.0.0.1:9", one.there.token)
    answer = gone("status", "--json", code=75)
    assert json.loads(answer.out)["error"] == "UnreachableError"
    assert "cannot reach the server" in answer.err


@pytest.mark.parametrize("address", ["ledger.example.org", "ftp://x", "http://", "http://u:p@x", "http://x:y", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    answer = Afar(address, None)("status", code=None)
    # An empty one is none: then a ledger of this machine is looked for.
    assert answer.code == (3 if not address else 2)


def test_two_ledgers_at_once_are_refused(one: Ways) -> None:
    result = CliRunner().invoke(app, ["--server", one.there.url, "-L", str(one.here.root), "status"])
    assert result.exit_code == 2
    assert "two ledgers" in result.stderr


def test_the_environment_names_the_server(one: Ways) -> None:
    environment = {"UNLEDGER_SERVER": one.there.url, "UNLEDGER_TOKEN": one.there.token}
    result = CliRunner().invoke(app, ["model", "list", "--json"], env=environment)
    assert json.loads(result.stdout)["items"][0]["name"] == "digits"
    named = CliRunner().invoke(app, ["-L", str(one.folder / "none"), "model", "list"], env=environment)
    assert named.exit_code == 3


def typer_command() -> object:
    """Return the whole program."""
    import typer

    return typer.main.get_command(app)
