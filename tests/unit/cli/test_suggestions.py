"""Suggested commands mean the same after they were copied into a shell."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger.cli import suggestions

from ledger.domain.command_lines import command

NASTY = ["été chaud", "it's", '"quoted"', "-x", "--", "$HOME", "`id`", "a;b", "a\\b", "*", "~", "#1", "!", ""]


@pytest.mark.parametrize("word", NASTY)
def test_words_arrive_as_they_were(word: str) -> None:
    assert shlex.split(command("forget", "digits", "-c", word)) == ["unledger", "forget", "digits", "-c", word]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cf", "Co", "Cn", "Zs"])))
def test_any_printable_word_arrives(word: str) -> None:
    assert shlex.split(command(word)) == ["unledger", word]


@pytest.mark.parametrize(
    ("word", "spelled"), [("a\tb", r"$'a\x09b'"), ("\x1b[1m'", r"$'\x1b[1m\''"), ("\udcff", r"$'\xff'")]
)
def test_what_a_terminal_would_execute_is_spelled_out(word: str, spelled: str) -> None:
    assert command("status", word) == f"unledger status {spelled}"


@pytest.mark.parametrize("folder", ["/tmp/my ledger", "it's", r"\1\g<0>", "-L", "/plain"])
def test_the_ledger_is_named_again(folder: str) -> None:
    suggestions.name_ledger(Path(folder))
    try:
        said = suggestions.suggest("see: unledger audit verify; run unledger work again, or: unledger init")
    finally:
        suggestions.name_ledger(None)
    first, second = said.split("; ")
    assert shlex.split(first)[1:] == ["unledger", "-L", folder, "audit", "verify"]
    assert shlex.split(second.split(",")[0])[1:] == ["unledger", "-L", folder, "work", "again"]
    assert said.endswith("or: unledger init")


@pytest.mark.parametrize("server", ["https://ledger.example.org", None])
def test_from_afar_only_what_a_server_answers_is_suggested_there(server: str | None) -> None:
    option = "" if server is None else f" --server {server}"
    suggestions.name_ledger(None, server, afar=True)
    try:
        assert suggestions.suggest("see: unledger model list") == f"see: unledger{option} model list"
        assert suggestions.suggest("see: unledger request show 3") == f"see: unledger{option} request show 3"
        for here in ("work --drain", "fsck", "model rebind digits", "audit adopt digits", "model export x"):
            assert suggestions.suggest(f"run: unledger {here}") == f"run: unledger {here} (on the ledger's machine)"
        assert suggestions.suggest("on the ledger's machine: unledger request withdraw 3").endswith(
            ": unledger request withdraw 3"
        )
    finally:
        suggestions.name_ledger(None)


def test_nothing_is_added_where_the_ledger_is_found_anyway() -> None:
    assert suggestions.suggest("see: unledger status") == "see: unledger status"
