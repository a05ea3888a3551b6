"""A worker for previews that runs no network."""

from ledger.desk.local.jobs import JOB_DOCUMENTS
from ledger.domain.jobs import JobState
from ledger.domain.previews import PreviewedClass, PreviewRecord, together
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress, Silent
from ledger.service.requests.foretelling import digest_of
from ledger.service.requests.job_worker import carry_out_jobs
from ledger.service.requests.preview import Preview
from tests.web.pages.conftest import KITE, LABELS, Served


def previewed(served: Served, *classes: int) -> str:
    """Ask for a preview, have it answered, and return its address."""
    with served.client() as client:
        asked = client.post("/models/1/preview", data={"class": [str(one) for one in classes]})
    carry_out(served)
    return asked.url.path


def carry_out(served: Served) -> None:
    """Answer what waits, as a worker would."""
    for job in carry_out_jobs(served.ledger, Silent(), JOB_DOCUMENTS, compute=_foretell):
        assert job.state is JobState.DONE, job.answer


def _foretell(ledger: Ledger, name: str, texts: tuple[str, ...], _progress: Progress) -> Preview:
    """Make up what forgetting some classes would cost: an image of each retained class but one."""
    with ledger.database.read() as tx:
        model = tx.models.get(name)
        anchor, live = tx.versions.get(model, 0), tx.versions.live(model)
    forgotten = live.forgotten | model.labels.resolve_all(texts)
    counted = [
        PreviewedClass(k, 30, 29, 0, 0, 0) if k in forgotten else PreviewedClass(k, 30, 29, 29, kept, kept)
        for k, kept in ((k, 29 if k == KITE else 28) for k in range(len(LABELS)))
    ]
    record = PreviewRecord(
        model=name,
        forgotten=tuple(sorted(forgotten)),
        data=model.data_digest,
        anchor=anchor.weights,
        weights="f" * 64,
        solver="projection",
        depth=3,
        classes=tuple(sorted(counted, key=lambda one: one.class_index not in forgotten)),
        retained=together([one for one in counted if one.class_index not in forgotten]),
    )
    return Preview(
        model=model,
        forgotten=forgotten,
        solver="projection",
        depth=3,
        alpha_r=100.0,
        alpha_f=5.0,
        record=record,
        digest=digest_of(record),
        classes=record.classes,
        accuracy={},
        confusion={},
        missed_gates=(),
        not_known_before=frozenset(),
    )
