"""What an auditor takes along from the page of the history can be checked without the ledger."""

from ledger.service.audit.verification import verify_export
from tests.web.pages.conftest import Served


def test_the_downloaded_log_verifies_elsewhere_and_is_that_of_the_api(served: Served) -> None:
    with served.client() as client:
        client.post("/audit/checkpoint")
        log = client.get("/audit/log.jsonl")
        note = client.get("/audit/checkpoint.txt").text
        key = client.get("/audit/key.txt").text.strip()
        assert log.content == client.get("/api/v1/audit/export").content
    found = verify_export(log.text, "audit-log.jsonl", note, key)
    assert found.head.size > 10
    assert found.signed
