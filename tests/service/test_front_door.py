"""The front door for Python: light to import, the same answers as the desk, values that are frozen and escaped."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import ledger
import unledger
from ledger.domain.settings import Settings
from ledger.errors import ConflictError, NotFoundError, TooFewRetainedError, UnknownClassError, UsageError
from ledger.front.opened_ledger import LedgerWarning, OpenedLedger
from ledger.front.results import KeptRequest
from ledger.shown_tables import ShownTable
from tests.fixtures.trained_digits import TrainedDigits
from tests.ledgers.desk import MODEL, Desk


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import ledger", {"ledger"}),
        ("import unledger", {"ledger", "unledger"}),
    ],
)
def test_the_core_loads_nothing_but_itself(statement: str, allowed: set[str]) -> None:
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout
    assert set(loaded.split()) == allowed


def test_torch_is_loaded_only_by_what_computes(tmp_path: Path) -> None:
    code = (
        "import sys; from ledger import Ledger\n"
        f"with Ledger.create({str(tmp_path / 'ledger')!r}) as opened:\n"
        "    assert list(opened.models) == [] and len(opened.requests) == 0 and opened.verify() == 1\n"
        "    assert len(opened.work()) == 0\n"
        "print({'torch', 'numpy', 'pandas', 'httpx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "set()"


def test_both_names_are_one() -> None:
    assert unledger.Ledger is ledger.Ledger is OpenedLedger
    assert unledger.forget is ledger.forget
    assert unledger.__all__ == ledger.__all__
    assert {"Ledger", "forget"} <= set(dir(ledger))
    with pytest.raises(AttributeError, match="nothing"):
        _ = ledger.nothing


def test_from_weights_to_certificate_and_back(tmp_path: Path, trained_digits: TrainedDigits) -> None:
    looks = trained_digits.preprocessing
    with ledger.Ledger.create(tmp_path / "ledger", actor="ada") as opened:
        digits = opened.models.add(
            "digits",
            arch=trained_digits.architecture,
            weights=trained_digits.weights,
            data="digits",
            preprocessing={"channels": 1, "mean": looks.mean, "std": looks.std},
            settings=trained_digits.settings,
        )
        assert list(opened.models) == ["digits"]
        assert digits.labels == tuple("0123456789")
        foretold = digits.preview(["3"])
        request = digits.forget([3], reason="asked", preview=foretold)
        assert (request.state, request.classes, request.document["actor"]) == ("queued", ("3",), "ada")
        (done,) = digits.work()
        assert (done.state, done.version, done.level) == ("fulfilled", 1, 1)
        assert done.forgotten_accuracy is not None
        assert done.forgotten_accuracy <= 0.05
        assert done.retained_accuracy == foretold.retained_accuracy
        assert digits.live.number == 1
        evidence = digits.evaluate(only=["accuracy"])
        assert evidence.metrics("accuracy")["forgotten_accuracy"] == done.forgotten_accuracy
        assert digits.evidence().metrics("accuracy") == evidence.metrics("accuracy")
        certificate = digits.certificate(request.id)
        assert b"payload" in certificate.file
        exported = digits.export(tmp_path / "exported")
        assert (tmp_path / "exported" / "model.safetensors").is_file()
        assert exported == digits.live
        assert digits.weights(0).keys() == digits.weights().keys()
        back = digits.rollback(0, reason="a mistake")
        assert (back.version, back.reopened, back.known_again) == (2, (request.id,), ("3",))
        assert [version.kind for version in digits.versions] == ["base", "forget", "rollback"]
        assert opened.requests[0].state == "reopened"
        assert list(digits.versions.to_pandas()["live"]) == [False, False, True]
        assert opened.verify() > 5


def test_errors_are_those_of_the_services(desk: Desk) -> None:
    with ledger.Ledger.open(desk.root) as opened:
        digits = opened.models[MODEL]
        with pytest.raises(UnknownClassError):
            digits.forget(["eleven"])
        with pytest.raises(TooFewRetainedError):
            digits.forget(list(range(9)))
        with pytest.raises(NotFoundError):
            digits.rollback(7)
        with pytest.raises(ConflictError):
            digits.rollback(0)
        with pytest.raises(UsageError):
            digits.evaluate(level=4)
        with pytest.raises(NotFoundError):
            digits.certificate(1)
        with pytest.raises(KeyError):
            _ = opened.models["no such model"]
        assert "no such model" not in opened.models
        # One text is one class, not a class for each letter.
        assert digits.forget("7").classes == ("7",)


def test_a_key_files_once(desk: Desk) -> None:
    with ledger.Ledger.open(desk.root) as opened:
        first, again = (opened.models[MODEL].forget(["2"], idempotency_key="k") for _ in range(2))
        assert first == again
        assert len(opened.requests) == 1


def test_answers_are_frozen(desk: Desk) -> None:
    with ledger.Ledger.open(desk.root) as opened:
        request = opened.models[MODEL].forget(["2"])
        with pytest.raises(dataclasses.FrozenInstanceError):
            request.state = "fulfilled"  # type: ignore[misc]
        assert isinstance(request, KeptRequest)
        assert request == opened.requests[0]


def test_names_are_data_in_html() -> None:
    cell = "<script>alert('x')</script>"
    html = ShownTable(["<b>"], [[cell], [(cell, cell)]], caption=cell).to_html()
    assert "<script>" not in html
    assert "<b>" not in html
    assert html.count("&lt;script&gt;") == 4


def test_long_tables_are_cut_and_counted() -> None:
    html = ShownTable(["n"], [[n] for n in range(1500)]).to_html()
    assert html.count("<tr>") == 201
    assert "and 1,300 more" in html
    assert len(ShownTable(["n"], [[n] for n in range(1500)]).to_pandas()) == 1500


def test_a_ledger_that_must_not_be_written_to_says_so(desk: Desk) -> None:
    key = next((desk.root / "keys").glob("*.pem"), None) or next(
        p for p in (desk.root / "keys").iterdir() if p.is_file()
    )
    key.rename(key.with_suffix(".away"))
    with pytest.warns(LedgerWarning):
        found = ledger.Ledger.open(desk.root)
    with found as opened:
        assert list(opened.models) == [MODEL]
        with pytest.raises(ledger.LedgerError):
            opened.models[MODEL].forget(["2"])
        with pytest.raises(ledger.LedgerError):
            opened.work()


def test_settings_are_the_models(desk: Desk) -> None:
    with ledger.Ledger.open(desk.root) as opened:
        assert opened.models[MODEL].document["settings"].keys() == Settings().to_json().keys()
