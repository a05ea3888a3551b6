"""Walk the zoo: one small member of every timm family and of torchvision's classifiers, through the whole ledger.

    python benchmarks/zoo.py [--only vit,resnet] [--json FILE] [--seconds 240] [--gigabytes 6]

Each member has random weights and the smallest image that it takes. It is registered, its coverage told, its class
spaces collected, all its layers edited by both solvers, and asked with the edited weights, by the functions that carry
out requests. Each runs in a process of its own, with a limit on time and memory: a crash is a line in the table, not
the end of the walk. Findings are written as they come; with the same file the walk goes on where it stopped.
"""

import argparse
import dataclasses
import json
import multiprocessing
import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import timm
import torch
import torchvision
from digit_pairs import say
from tables import markdown
from zoo_choice import Family, families
from zoo_member import Finding, Verdict, walk

SECONDS, GIGABYTES = 240, 6
FEWEST_SUPPORTED = 85
"""Families of timm that must be supported."""
SHOWN_WEIGHTS = 2
PRELOADED = ["timm", "torchvision.models", "torch._dynamo", "sklearn.datasets", "ledger.service.computation.unlearning"]
COLUMNS = ("family", "member", "parameters", "edited %", "input", "seconds", "verdict")


def walk_apart(family: Family, seconds: float, gigabytes: float) -> Finding:
    """Walk one family in a process of its own; whatever becomes of that process is a finding too."""
    # Forked from a server that has imported once what takes seconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(family, gigabytes, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            return _lost(family, seconds, f"took more than {seconds:.0f} s")
        found: Finding = receiver.recv()
    except EOFError:
        process.join()
        return _lost(family, 0.0, f"its process ended with {_ending(process.exitcode)}")
    else:
        return found
    finally:
        process.kill()
        process.join()


def walk_all(chosen: Iterable[Family], kept: Path | None, seconds: float, gigabytes: float) -> list[Finding]:
    """Walk families one after the other; those that the file has an answer for are not walked again."""
    known = {(f.library, f.family): f for f in read(kept)} if kept else {}
    findings = []
    for family in chosen:
        found = known.get((family.library, family.name))
        if found is None:
            found = walk_apart(family, seconds, gigabytes)
            say(f"{family.library} {line(found)}")
            if kept:
                with kept.open("a") as file:
                    file.write(json.dumps(dataclasses.asdict(found)) + "\n")
        findings.append(found)
    return findings


def read(kept: Path) -> list[Finding]:
    """Return the findings of an earlier walk, none if there was none."""
    if not kept.exists():
        return []
    entries = [json.loads(text) for text in kept.read_text().splitlines()]
    return [
        Finding(**{**entry, "verdict": Verdict(entry["verdict"]), "unhandled": tuple(entry["unhandled"])})
        for entry in entries
    ]


def line(finding: Finding) -> str:
    """Return a finding in one line."""
    return f"{finding.family}: {finding.architecture}, {finding.size} px, {finding.seconds:.0f} s, {verdict(finding)}"


def verdict(finding: Finding) -> str:
    """Return what became of a member, and why if it is not simply supported."""
    why = [finding.reason] if finding.reason else []
    if finding.unhandled:
        first = "; ".join(finding.unhandled[:SHOWN_WEIGHTS])
        rest = len(finding.unhandled) - SHOWN_WEIGHTS
        why.append(first + (f"; and {rest} more" if rest > 0 else ""))
    return f"{finding.verdict}: {'; '.join(why)}" if why else finding.verdict


def table(findings: Sequence[Finding]) -> str:
    """Return findings as a Markdown table."""
    return markdown(
        COLUMNS,
        [
            (
                f.family,
                f.architecture,
                f"{f.parameters / 1e6:.2f} M",
                f"{100 * f.edited:.1f}",
                str(f.size),
                f"{f.seconds:.0f}",
                verdict(f).replace("|", "\\|"),
            )
            for f in findings
        ],
    )


def totals(findings: Sequence[Finding]) -> str:
    """Return how many families have which verdict."""
    counts = Counter(f.verdict for f in findings)
    return f"{len(findings)} families: " + ", ".join(f"{counts[kind]} {kind}" for kind in Verdict if counts[kind])


def sections(findings: Sequence[Finding]) -> str:
    """Return the tables of both libraries, with totals and versions."""
    parts = []
    for library, version in (("timm", timm.__version__), ("torchvision", torchvision.__version__.partition("+")[0])):
        own = [f for f in findings if f.library == library]
        if own:
            parts.append(f"### {library} {version}\n\n{totals(own)}.\n\n{table(own)}")
    return "\n\n".join(parts)


def _send(family: Family, gigabytes: float, sender: Connection) -> None:
    limit = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_num_threads(1)
    sender.send(walk(family))


def _lost(family: Family, seconds: float, reason: str) -> Finding:
    return Finding(family.library, family.name, "", 0, 0.0, 0, seconds, Verdict.CRASHED, reason)


def _ending(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"


def main() -> int:
    """Walk; return 1 if too few families of timm are supported, or anything crashed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="comma-separated families")
    parser.add_argument("--json", type=Path, help="one finding a line, and those already there are kept")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for one member")
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES, help="for one member")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    chosen = [family for family in families() if not only or family.name in only]
    findings = walk_all(chosen, options.json, options.seconds, options.gigabytes)
    print(sections(findings))
    supported = sum(f.library == "timm" and f.verdict is Verdict.SUPPORTED for f in findings)
    crashed = [f.family for f in findings if f.verdict is Verdict.CRASHED]
    enough = bool(only) or supported >= FEWEST_SUPPORTED
    if not enough:
        say(f"only {supported} families of timm are supported, fewer than {FEWEST_SUPPORTED}")
    if crashed:
        say(f"crashed: {', '.join(crashed)}")
    return int(not enough or bool(crashed))


if __name__ == "__main__":
    sys.exit(main())
