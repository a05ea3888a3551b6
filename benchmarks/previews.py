"""How well previews match outcomes: preview a set of classes, bind a request to it, carry it out, compare.

    python benchmarks/previews.py FOLDER [--network digits] [--classes each 0,1 ...] [--json FILE]

Each set is previewed and forgotten alone, by a request that is withdrawn afterwards. With ``--kernels plain`` previews
are computed in another process by other matrix kernels (ATen's and oneDNN's for processors without vector
instructions), as another machine would. With ``--meanwhile LABEL`` a request for that class is carried out between
preview and outcome. Bar: every preview on the same machine with nothing in between is exact.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from digit_pairs import say
from forgetting import DEFAULT, MODEL, Story, arguments, settings_of
from registered import Registered
from tables import markdown

from ledger.domain.previews import PreviewOutcome, PreviewRecord
from ledger.domain.requests import NewRequest
from ledger.json_shapes import read_json_as
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.progress import Silent
from ledger.service.requests.filing import enqueue
from ledger.service.requests.preview import preview
from ledger.service.requests.worker import work

PLAIN_KERNELS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
"""Environment of a process that computes as on an old processor."""


@dataclass(frozen=True)
class Compared:
    """One preview and what became of it."""

    forgotten: str
    shown: int
    """Test images of the forgotten classes that the preview says are still recognised."""
    lost: float
    """Loss of all retained images together against the masked original, as previewed; a difference of shares."""
    outcome: str
    told: str


def foretell(bench: Registered, labels: Sequence[str], *, plain: bool) -> PreviewRecord:
    """Preview some classes, here or as another machine would."""
    if not plain:
        return preview(bench.ledger, MODEL, tuple(labels), Silent()).record
    code = (
        "import json, sys\n"
        "from ledger.service.ledger import find_ledger, open_ledger\n"
        "from ledger.service.progress import Silent\n"
        "from ledger.service.requests.preview import preview\n"
        "ledger = open_ledger(find_ledger(), 'bench')\n"
        "print(json.dumps(preview(ledger, sys.argv[1], tuple(sys.argv[2:]), Silent()).record.to_json()))"
    )
    environment = {**os.environ, **PLAIN_KERNELS, "UNLEDGER_DIR": str(bench.ledger.config.root)}
    done = subprocess.run(  # noqa: S603 - this program, with labels of this benchmark
        [sys.executable, "-c", code, MODEL, *labels], env=environment, capture_output=True, text=True, check=True
    )
    return read_json_as(PreviewRecord, done.stdout)


def compare(bench: Registered, labels: Sequence[str], *, plain: bool, meanwhile: frozenset[int]) -> Compared:
    """Preview a set, carry out a request that is bound to it, and withdraw it again."""
    record = foretell(bench, labels, plain=plain)
    wanted = bench.bench.model.labels.resolve_all(labels)
    if meanwhile:
        enqueue(bench.ledger, MODEL, [NewRequest(meanwhile, "bench")])
    enqueue(bench.ledger, MODEL, [NewRequest(wanted, "bench", preview=record)])
    *_, outcome = work(bench.ledger, Silent(), open_model=open_unlearning_afresh)
    for _ in range(2 if meanwhile else 1):
        bench.withdraw_last()
    found = outcome.foretold
    return Compared(
        ", ".join(labels),
        sum(one.foretold for one in record.classes if one.class_index in record.forgotten),
        record.retained.lost.difference or 0.0,
        "none" if found is None else found.outcome.value,
        "" if found is None else found.told,
    )


def table(rows: Sequence[Compared]) -> str:
    """Return the comparisons as a table."""
    columns = ["forgotten", "still recognised", "retained images lost, points", "outcome"]
    return markdown(columns, [(r.forgotten, str(r.shown), f"{100 * r.lost:.2f}", r.outcome) for r in rows])


def main() -> int:
    """Compare previews with outcomes; return 1 if the bar is missed."""
    parser = arguments(__doc__)
    parser.add_argument("--kernels", default="own", choices=["own", "plain"], help="what computes the previews")
    parser.add_argument("--meanwhile", metavar="LABEL", help="a class that is forgotten between preview and outcome")
    options = parser.parse_args()
    story = Story.of(options)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        bench = story.open(Path(scratch) / "ledger", settings_of(DEFAULT, story.seeds[0]))
        names = story.shelf.source.labels
        between = frozenset() if options.meanwhile is None else frozenset({names.index(options.meanwhile)})
        for forgotten in story.classes:
            chosen = [names[k] for k in sorted(forgotten)]
            rows.append(compare(bench, chosen, plain=options.kernels == "plain", meanwhile=between))
            say(f"{rows[-1].forgotten}: {rows[-1].outcome} {rows[-1].told}")
        bench.close()
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    undisturbed = options.kernels == "own" and not between
    return int(undisturbed and any(row.outcome != PreviewOutcome.EXACT for row in rows))


if __name__ == "__main__":
    sys.exit(main())
