"""``unledger purge`` and ``model rebind`` as they are typed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from ledger.cli.commands.purge import parse_age

from ledger.errors import PurgedError, UsageError

if TYPE_CHECKING:
    from tests.ledgers.command_line import Cli


def test_a_purge_shows_what_goes_asks_and_destroys(forgotten: Cli) -> None:
    cli = forgotten
    with cli.unchanged():
        shown = cli("purge", "digits", "--older-than", "0d", "--dry-run")
        assert "--yes" in cli("purge", "digits", "--older-than", "0d", code=7).err
    assert "version 0, version 1" in shown.err
    assert "requests that can be withdrawn no more" in shown.out
    done = cli("purge", "digits", "--older-than", "0d", "--yes")
    assert "still verifies" in done.err
    assert [v["purged_at"] is not None for v in cli.versions()] == [True, True, False]
    assert "purged" in cli("model", "versions", "digits").out
    cli.refused(PurgedError, 4, "rollback", "digits", "--to", "1", "--yes")
    cli.verified()
    cli("model", "verify", "digits")
    # Carried out from what is left.
    cli("forget", "digits", "-c", "1", "--wait")
    assert cli.versions()[-1]["forgotten"] == ["1", "3", "7"]


def test_json_says_the_same(forgotten: Cli) -> None:
    with forgotten.unchanged():
        plan = forgotten.json("purge", "digits", "--older-than", "0d", "--dry-run")
    assert (plan["schema"], plan["anchor"], plan["purged"], plan["dry_run"]) == ("unledger.purge/1", 2, [0, 1], True)
    assert [request["id"] for request in plan["final"]] == [1, 2]


def test_binding_to_the_same_images_changes_nothing_before_and_after_a_purge(forgotten: Cli) -> None:
    with forgotten.unchanged():
        assert "nothing changed" in forgotten("model", "rebind", "digits").err
    forgotten("purge", "digits", "--older-than", "0d", "--yes")
    with forgotten.unchanged():
        assert "nothing changed" in forgotten("model", "rebind", "digits").err


@pytest.mark.parametrize(
    ("text", "age"),
    [("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), ("4w", timedelta(weeks=4)), ("0", timedelta())],
)
def test_an_age_is_a_number_and_a_unit(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "d", "-1d", "1.5d", "30 d", "1y", "999999d", "\u0661d"])
def test_anything_else_is_no_age(text: str) -> None:
    with pytest.raises(UsageError, match="is no age"):
        parse_age(text)
