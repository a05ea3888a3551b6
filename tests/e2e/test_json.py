"""``--json``: one document from every command, errors included, each as its schema says."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from jsonschema import Draft202012Validator
from ledger.cli.main import app
from typer.testing import CliRunner

from ledger import errors
from ledger.documents.requests import trouble_document
from ledger.errors import BusyError
from ledger.service.requests.daemon import Trouble
from tests.fixtures.documents import PARTS, check_document, check_output, schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ledgers.command_line import Cli
    from tests.ledgers.rows import Rows

STORY = """
doctor -> checks
plugins --check -> plugins
db current -> schema
db check -> schema
db upgrade -> schema
model list -> models
model show digits:1 -> model
model versions digits -> versions
model diff digits 0 2 -> diff
model verify digits -> verification
model coverage digits -> coverage
model spaces digits -> class_spaces
preview digits -c 0 -> preview
evaluate digits --train-per-class 5 -> evaluation
report digits -o FOLDER/report.html --csv FOLDER/numbers -> report
report --all -o FOLDER/pages -> report
model export digits:1 -o FOLDER/exported -> exported
audit checkpoint -> checkpoint
audit checkpoint -o FOLDER/checkpoint -> checkpoint
audit key -> key
audit proof 1 -> proof
audit proof 1 -o FOLDER/proof.json -> proof
audit witness FOLDER/witness -> witnessed
audit export -o FOLDER/export -> audit_export
audit import FOLDER/export --into FOLDER/archive -> imported
audit verify -> verification
audit verify --file FOLDER/export -> verification
audit log -> audit
certificate issue 1 --dry-run -> certificate_plan
certificate issue 1 -> issued
certificate issue 2 -o FOLDER/certificate.json --openings FOLDER/openings.json -> issued
certificate list -> certificates
certificate show 1 -> certificate_file
certificate verify FOLDER/certificate.json --opening FOLDER/openings.json -> certificate
certificate erase-openings 1 --yes -> openings_erased
rollback digits --to 1 --dry-run -> rollback
rollback digits --to 1 --yes -> rollback
request retry 2 -> decision
work -> outcome
forget digits -c 0 --needs-approval -> receipts
request approve 3 -> decision
request hold 3 -> decision
request release 3 -> decision
request deny 3 -> decision
forget digits -c 1 -> receipts
forget digits -f FOLDER/requests.csv --dry-run -> bulk_check
request extend 4 --due +90d --reason complex -> decision
request cancel 4 -> decision
request withdraw 1 -> decision
request show 1 -> request
request list -> requests
status -> status
fsck --read-data -> fsck
recover -> recovery
gc --older-than 0 -> gc
backup FOLDER/backup --with-keys FOLDER/keys -> backup
restore FOLDER/backup --into FOLDER/restored --keys FOLDER/keys -> restored
audit adopt digits --dry-run -> adopted
purge digits --older-than 0 --dry-run -> purge
purge digits --older-than 0 --yes -> purge
model rebind digits -> model
token create ci --scope read -> token
token list -> tokens
token sessions -> sessions
token end-sessions --everybody -> sessions_ended
webhook add https://receiver.invalid/hook --kind request.* -> webhook
webhook list -> webhooks
exporter add prod folder:FOLDER/served -> exporter
exporter status -> exporter_status
exporter run -> exported_live
exporter list -> exporters
exporter remove prod -> exporter
plugin new my-plugin --into FOLDER/my-plugin -> written_plugin
init FOLDER/new -> created
"""
"""Commands that build on each other, and the kind of document that each answers with."""
ONLY_SOMETIMES = {"error", "trouble"}
OF_SERVERS = {"ledger", "lease", "evidence", "certificate_record", "preview_job", "withdrawal_job"}
"""What no command prints; tests of the desk check these."""


def commands(group: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """Yield every command with its name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *words, name)
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_every_command_answers_as_its_schema_says(forgotten: Cli, tmp_path: Path, rows: Rows) -> None:
    """Each command that has --json is run, and each schema is the schema of an answer."""
    (tmp_path / "requests.csv").write_text("classes,reason\n2,asked\n")
    seen: dict[str, set[str]] = {}
    for line in STORY.strip().splitlines():
        command, kind = line.split(" -> ")
        name = next(name for name in COMMANDS if f"{command} ".startswith(f"{name} "))
        answer = forgotten(*command.replace("FOLDER", str(tmp_path)).split(), "--json")
        assert check_output(answer.out) == [kind], command
        seen.setdefault(name, set()).add(kind)
    seen["model add"] = {*check_output(forgotten("model", "add", "pets", *rows.options(), "--json").out)}
    convert = forgotten("weights", "convert", str(rows.weights), str(tmp_path / "converted.safetensors"), "--json")
    seen["weights convert"] = {*check_output(convert.out)}
    seen["weights inspect"] = {*check_output(forgotten("weights", "inspect", str(rows.weights), "--json").out)}
    # Nobody is there: the answer says so, and so does the exit code.
    seen["webhook test"] = {*check_output(forgotten("webhook", "test", "1", "--json", code=1).out)}
    for word in ("deliveries", "remove"):
        seen[f"webhook {word}"] = {*check_output(forgotten("webhook", word, "1", "--json").out)}
    (token,) = forgotten.json("token", "list")["items"]
    seen["token revoke"] = {*check_output(forgotten("token", "revoke", token["id"], "--json").out)}
    with_json = {n for n, c in COMMANDS.items() if any("--json" in option.opts for option in c.params)}
    assert seen.keys() == with_json
    # The other two write files of other programs, one of which is JSON Lines.
    assert COMMANDS.keys() - with_json == {"demo", "serve", "request export", "request calendar"}
    assert set().union(*seen.values()) | ONLY_SOMETIMES | OF_SERVERS == schemas().keys() - {PARTS}


def test_schemas_are_schemas() -> None:
    for name, schema in schemas().items():
        Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
        assert schema["$id"].startswith(f"urn:unledger:schema:{name}")
        assert schema["title"]


def test_a_document_with_a_field_too_many_or_too_few_is_none() -> None:
    key = {"schema": "unledger.key/1", "key": "k"}
    assert check_document(key) == "key"
    for other in ({**key, "more": 1}, {"schema": "unledger.key/1"}, {**key, "key": 1}):
        with pytest.raises(Exception, match=r"more|required|not of type"):
            check_document(other)


@pytest.mark.parametrize(
    ("command", "error", "code"),
    [
        ("model show nobody", "NotFoundError", 3),
        ("request approve 1", "TransitionError", 4),
        ("forget digits -c 11", "UnknownClassError", 2),
        ("forget digits", "UsageError", 2),
        ("rollback digits --to 0", "RefusedError", 7),
        ("certificate verify nowhere.json", "NotFoundError", 3),
        ("work nobody", "NotFoundError", 3),
        ("request approve one", "UsageError", 2),
        ("model list --bogus", "UsageError", 2),
        ("model versions", "UsageError", 2),
    ],
)
def test_an_error_is_a_document_too(forgotten: Cli, command: str, error: str, code: int) -> None:
    with forgotten.unchanged():
        plain = forgotten(*command.split(), code=code)
        answer = forgotten(*command.split(), "--json", code=code)
    assert answer.err == plain.err
    said = answer.document
    assert (said["schema"], said["error"], said["exit_code"]) == ("unledger.error/1", error, code)
    assert said["message"]
    if answer.error is not None:
        assert (said["message"], said["hint"]) == (answer.error.message, answer.error.hint)


def test_a_global_option_that_nobody_knows_is_an_error_too() -> None:
    result = CliRunner().invoke(app, ["--bogus", "model", "list", "--json"])
    assert (result.exit_code, check_output(result.stdout)) == (2, ["error"])
    # What comes after two dashes is data.
    assert CliRunner().invoke(app, ["--bogus", "model", "show", "--", "--json"]).stdout == ""


def test_an_export_needs_a_file_where_standard_output_holds_the_answer(forgotten: Cli) -> None:
    said = forgotten("audit", "export", "--json", code=2).document
    assert (said["error"], said["hint"]) == ("UsageError", "name a file with -o")


def test_an_answer_is_not_followed_by_an_error(forgotten: Cli) -> None:
    forgotten("forget", "digits", "-c", "0", "--received-at", "2020-01-01")
    for command in (("status", "--overdue"), ("status", "digits", "--overdue")):
        assert check_output(forgotten(*command, "--json", code=8).out) == ["status"]


def test_an_interruption_is_a_document(forgotten: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ledger.desk.local.models.list_models", interrupted)
    said = forgotten("model", "list", "--json", code=130).document
    assert (said["error"], said["exit_code"]) == ("KeyboardInterrupt", 130)


def test_work_prints_a_line_for_each_request(cli: Cli) -> None:
    assert cli("work", "--json").out == ""
    every = ",".join(str(digit) for digit in range(8))
    cli("forget", "digits", "-f", "-", text=f"3\n{every}\n")
    lines = cli("work", "--json").out.splitlines()
    outcomes = [json.loads(line) for line in lines]
    assert [(o["request"]["id"], o["request"]["state"], o["error"]) for o in outcomes[:1]] == [(1, "fulfilled", None)]
    assert outcomes[0]["version"]["forgotten"] == ["3"]


def test_a_request_that_fails_is_an_outcome(pets: Cli, rows: Rows) -> None:
    pets("forget", "pets", "-c", "dog")
    rows.weights.with_name("rows.npz").unlink()
    answer = pets("work", "--json", code=None)
    assert answer.code != 0
    (line,) = answer.out.splitlines()
    said = json.loads(line)
    assert said["request"]["state"] == "failed"
    assert said["error"]["error"] == type(answer.error).__name__
    assert said["error"]["exit_code"] == answer.code
    waited = pets("forget", "pets", "-c", "cat", "--wait", "--json", code=None)
    assert check_output(waited.out) == ["receipts"]
    assert waited.document["outcomes"][0]["error"]["exit_code"] == waited.code


def test_an_error_that_ends_the_work_is_the_last_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger.service.requests.claims import claim_next

    claimed: list[bool] = []

    def once(*arguments: Any, **options: Any) -> Any:
        if claimed:
            raise BusyError("the database is locked")
        claimed.append(True)
        return claim_next(*arguments, **options)

    monkeypatch.setattr("ledger.service.requests.worker.claim_next", once)
    cli("forget", "digits", "-f", "-", text="3\n7\n")
    assert check_output(cli("work", "--json", code=75).out) == ["outcome", "error"]


def test_waiting_for_requests_adds_what_became_of_them(cli: Cli) -> None:
    said = cli("forget", "digits", "-c", "3", "--wait", "--json").document
    assert [item["state"] for item in said["items"]] == ["queued"]
    assert [(o["request"]["state"], o["version"]["version"]) for o in said["outcomes"]] == [("fulfilled", 1)]


def test_trouble_is_a_document() -> None:
    for error in (BusyError("locked", "wait"), RuntimeError("odd")):
        said = trouble_document(Trouble(error, 1.5))
        assert check_document(said) == "trouble"
        assert said["error"]["error"] == type(error).__name__


def test_the_schema_of_errors_knows_every_attribute() -> None:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.LedgerError)]
    added = {name for kind in kinds for name in inspect.signature(kind.__init__).parameters}
    assert (
        added - {"self"}
        <= schemas()["error"]["properties"].keys()
        == schemas()[PARTS]["$defs"]["error"]["properties"].keys() | {"schema"}
    )


def test_every_kind_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    for kind in schemas().keys() - {PARTS}:
        assert f"[`{kind}`](../ledger/documents/schemas/{kind}.json)" in text
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert check_document(json.loads(example)) == "error"


def test_schemas_ship_with_the_package() -> None:
    script = (
        "from importlib.resources import files; print((files('ledger.documents') / 'schemas' / 'error.json').is_file())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=os.sep, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "True\n"
