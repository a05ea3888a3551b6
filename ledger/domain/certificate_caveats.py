"""What a reader of a certificate must know besides its figures, in sentences.

A certificate states facts one by one; a hurried reader sees a signature and a version. Here the facts that make a claim
smaller are picked out of a statement. Certificates of earlier releases state fewer of them, and what they do not state
is not told.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .image_counts import FEW_IMAGES


def headline(predicate: Mapping[str, Any]) -> str:
    """Return the claim, behind what takes it back: that there was nothing to forget."""
    unknown, claim = not_known_before(predicate), str(predicate["claim"])
    return f"{unknown}; signed as: {claim}" if unknown else claim


def not_known_before(predicate: Mapping[str, Any]) -> str:
    """Return how many classes of the request the model knew no better than chance before; empty if none is known."""
    request = predicate["request"]
    unknown, classes = request.get("notKnownBefore") or 0, len(request["classes"])
    # A statement that is only planned commits to no class yet.
    of = f" of {classes}" if classes else ""
    return f"was not known before: {unknown}{of} classes, and nothing was forgotten of them" if unknown else ""


def caveats(predicate: Mapping[str, Any]) -> list[str]:
    """Return what makes a certificate's claim smaller than it may seem, a sentence each, the gravest first."""
    found = [
        not_known_before(predicate),
        *_about_the_version(predicate["version"]),
        *_about_gates(predicate["procedure"]),
        *_about_evidence(predicate["evidence"]),
        *_about_the_untested(predicate["notTested"]),
        *_about_copies(predicate["copies"]),
    ]
    if predicate.get("clockDoubted"):
        found.append("its times may be wrong: something spoke against the clock when it was issued")
    return [sentence for sentence in found if sentence]


def declared_only(weights: str, declared_by: str) -> str:
    """Return what limits figures beside a retrained network: that it is one rests on somebody's word."""
    by = declared_by or "somebody"
    return f"that the weights {weights[:12]}... were trained without the classes is declared by {by}, and not shown"


def _about_the_version(version: Mapping[str, Any]) -> Iterator[str]:
    # Certificates of earlier releases name both versions and leave the comparison to the reader.
    if not version.get("isLive", version["number"] == version["live"]):
        yield (
            f"version {version['number']} was not live: version {version['live']} was, whose weights are others, and "
            "nothing here was measured on them"
        )


def _about_gates(procedure: Mapping[str, Any]) -> Iterator[str]:
    missed = procedure.get("gatesMissed") or 0
    if missed:
        names = ", ".join(procedure.get("gates", {}).get("missed", ()))
        yield (
            f"{_count(missed, 'quality gate')} {'was' if missed == 1 else 'were'} missed, and a person waived that"
            + (f": {names}" if names else "")
        )


def _about_evidence(evidence: Mapping[str, Any]) -> Iterator[str]:
    for one in evidence["measurements"]:
        if one.get("builtIn") is False:
            yield f"the figures of {one['evaluator']} come from plugin {one['plugin']}, which is no part of unledger"
    elsewhere = sorted({one["measuredOn"] for one in evidence["measurements"] if one.get("measuredOn") is not None})
    if elsewhere:
        numbers = ", ".join(map(str, elsewhere))
        yield f"it was measured as version {numbers}, whose weights are the same"
    few = evidence.get("fewTestImages")
    if few:
        fewest = evidence["fewestTestImages"]
        yield (
            f"{_count(few, 'class', 'classes')} of the request {'has' if few == 1 else 'have'} fewer than {FEW_IMAGES} "
            f"test images, the fewest {fewest}: the figures on them show little"
        )
    elif evidence["measurements"] and few is None and "looksAt" in evidence:
        yield "on how many test images of each class it was measured was not counted"
    for one in evidence.get("compared", ()):
        if one["ownVersions"]:
            numbers = ", ".join(map(str, one["ownVersions"]))
            copied = ", of which a copy was exported" if one["exported"] else ""
            yield (
                f"{one['evaluator']} was also compared with version {numbers} of this very model{copied}: that is no "
                "comparison with a network that never knew the classes"
            )
    for one in evidence.get("retrained", ()):
        yield declared_only(one["weights"], one["declaredBy"])


def untested_levels(levels: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what :func:`caveats` tells of levels of evidence that were not reached.

    Args:
        levels: What each of them needs.
    """
    return [f"not tested, {level}: {', '.join(missing)}" for level, missing in levels.items()]


def _about_the_untested(untested: Mapping[str, Any]) -> Iterator[str]:
    yield from untested_levels(untested.get("levels", {}))
    yield from (f"not tested: {method}" for method in untested["methods"])


def _about_copies(copies: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    if copies["stored"]:
        yield f"this ledger keeps weights that still hold a class: {_versions(copies['stored'])}"
    if copies["exported"]:
        yield f"weights that still hold a class were exported: {_versions(copies['exported'])}"


def _versions(copies: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"version {number}" for number in sorted({copy["version"] for copy in copies}))


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
