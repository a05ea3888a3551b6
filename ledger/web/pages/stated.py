"""What a certificate states, in words: what was done, what was measured, and what limits it."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from ledger.documents.document import Document
from ledger.domain.certificate_caveats import caveats, headline, untested_levels
from ledger.report.charts import words

from .evidence import headline_figures
from .moments import moment

MOST_FIGURES = 6
"""Of each evaluator; all of them stand in the statement."""


def stated(predicate: Mapping[str, Any], zone: tzinfo) -> Document:
    """Return the claim, sentences about what was done, the main figures, and sentences about what limits them.

    Args:
        predicate: What the certificate says.
        zone: The time zone in which days begin and end.
    """
    evidence = predicate["evidence"]
    return {
        "claim": headline(predicate),
        "done": _done(predicate, zone),
        "level": evidence["level"],
        "looks_at": evidence["looksAt"],
        "measured": [
            {"evaluator": one["evaluator"], "at": moment(one["measuredAt"]), "figures": _main_figures(one["figures"])}
            for one in evidence["measurements"]
        ],
        "limits": limits(caveats(predicate), predicate["notTested"].get("levels", {})),
    }


def limits(sentences: Sequence[str], not_tested: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what limits a certificate besides the levels that were not tested, which pages list apart.

    Args:
        sentences: All that limits it.
        not_tested: What each level needs that was not tested.
    """
    apart = set(untested_levels(not_tested))
    return [one for one in sentences if one not in apart]


def _done(predicate: Mapping[str, Any], zone: tzinfo) -> list[str]:
    request, version, procedure = (predicate[name] for name in ("request", "version", "procedure"))
    received, due, fulfilled = (
        moment(request[name]).astimezone(zone) for name in ("receivedAt", "dueAt", "fulfilledAt")
    )
    classes = words.count(len(request["classes"]), "class", "classes")
    told = f"received on {words.day(received)} and fulfilled on {words.day(fulfilled)}"
    found = [f"request {request['id']}, for {classes}, was {told}, {'late' if fulfilled > due else 'in time'}"]
    if request["alreadyForgotten"]:
        found.append(f"its classes were forgotten already, in version {version['number']}: nothing was computed")
    elif procedure["solver"]:
        layers = words.count(procedure["layers"], "layer")
        made = f"version {version['number']} was made by {procedure['solver']}"
        found.append(f"{made}: {procedure['depth']} of {layers} were edited")
    if procedure.get("gatesMissed"):
        found.append(f"gates missed, and waived by somebody: {procedure['gatesMissed']}")
    return found


def _main_figures(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    # A figure of a part, such as one split, has a point in its name; what an evaluator sums up has none.
    summed_up = {name: value for name, value in figures.items() if "." not in name}
    return headline_figures(summed_up or figures)[:MOST_FIGURES]
