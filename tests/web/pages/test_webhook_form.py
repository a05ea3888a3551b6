"""An address that is refused is told why beside the form, which keeps what was typed."""

import pytest
from markupsafe import escape

from tests.web.pages.conftest import Served
from tests.web.pages.reading import text_of


@pytest.mark.parametrize(
    ("url", "kinds", "why"),
    [
        ("https://127.0.0.1/hook", "request.fulfilled, request.held", "127.0.0.1"),
        ("ftp://example.org/hook", "", "https"),
        ("https://example.org/hook", "request.eaten", "request.eaten"),
        ('"><script>alert(1)</script>', "'><b>", "address"),
    ],
)
def test_a_refused_address_is_shown_again_with_the_reason(served: Served, url: str, kinds: str, why: str) -> None:
    with served.client() as client:
        answer = client.post("/webhooks", data={"url": url, "kinds": kinds})
        entries = client.get("/webhooks").text
    assert answer.status_code in (409, 422)
    assert why in text_of(answer.text.partition('role="alert"')[2].partition("</div>")[0])
    assert f'value="{escape(url)}"' in answer.text
    assert f'value="{escape(kinds)}"' in answer.text
    assert "<script>alert" not in answer.text
    assert "Nobody is told yet." in entries
