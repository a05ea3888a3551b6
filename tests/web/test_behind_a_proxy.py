"""The server behind the proxies that the docs show, with real nginx and Caddy: log in, call, file in bulk, listen."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ledger.config import find_config
from ledger.domain.access import Scope
from ledger.service.access.tokens import create_token
from ledger.service.ledger import open_ledger
from tests.web.serving import SECONDS, Server, served_by_process, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROXIES = {"nginx": shutil.which("nginx"), "caddy": shutil.which("caddy")}
NAME = "localhost"
"""The name that people use: Caddy gives itself a certificate for it, and asks nobody else."""
NGINX = """\
{user}
daemon off;
pid {folder}/pid;
error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
{server}
}}
"""
"""What stands around the part that the docs show."""
CADDY = """\
{{
	admin off
	skip_install_trust
	auto_https disable_redirects
}}
{site}
"""


@dataclass
class Proxied:
    """A server, a proxy in front, and a token with every scope."""

    server: Server
    url: str
    token: str

    def client(self) -> httpx.Client:
        """Return somebody who speaks https to the proxy, as a browser does."""
        own = {"Sec-Fetch-Site": "same-origin"}
        return httpx.Client(base_url=self.url, verify=False, headers=own, timeout=SECONDS)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def certificate(folder: Path) -> None:
    """Make a certificate that signs itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def nginx(folder: Path, port: int, behind: int) -> list[str]:
    """Write what the docs show for nginx, with the places of this test; return the command."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    [server] = re.findall(r"^```text\n(server \{.*?\n\})\n```", page, re.MULTILINE | re.DOTALL)
    certificate(folder)
    ours = f"listen 127.0.0.1:{port} ssl;\n ssl_certificate {folder}/certificate;\n ssl_certificate_key {folder}/key;"
    for shown, here in (
        ("listen 443 ssl;", ours),
        ("127.0.0.1:8470", f"127.0.0.1:{behind}"),
        ("forget.example.org", NAME),
    ):
        assert server.count(shown) == 1, shown
        server = server.replace(shown, here)
    # Its workers would be others, and could not write here.
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, server=server, user=user))
    return [str(PROXIES["nginx"]), "-c", str(folder / "nginx.conf"), "-p", str(folder)]


def caddy(folder: Path, port: int, behind: int) -> list[str]:
    """Write the file of `deploy/` for Caddy, with the places of this test; return the command."""
    site = (ROOT / "deploy" / "Caddyfile").read_text()
    # The name of a container is looked up by Docker's own name server.
    for shown, here in (
        ("{$UNLEDGER_HOST}", f"https://{NAME}:{port}"),
        ("dynamic a server 8470", f"to 127.0.0.1:{behind}"),
    ):
        assert site.count(shown) > 0, shown
        site = site.replace(shown, here, 1)
    site = site.replace("{$UNLEDGER_HOST}", NAME)
    (folder / "Caddyfile").write_text(CADDY.format(site=site))
    return [str(PROXIES["caddy"]), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@contextmanager
def proxied(kind: str, folder: Path, behind: int) -> Iterator[str]:
    """Run a proxy until the block ends; yields its address."""
    port = free_port()
    command = {"nginx": nginx, "caddy": caddy}[kind](folder, port, behind)
    own = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command, env=own, stdout=said, stderr=said)

    def answers() -> bool:
        assert process.poll() is None, (folder / "said").read_text()
        try:
            return httpx.get(f"https://{NAME}:{port}/healthz", verify=False, timeout=SECONDS).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers)
        yield f"https://{NAME}:{port}"
    finally:
        process.kill() if kind == "caddy" else process.terminate()
        process.wait(SECONDS)


@pytest.fixture(scope="module", params=PROXIES)
def behind(request: pytest.FixtureRequest, past: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """A server behind each of them."""
    if PROXIES[request.param] is None:
        pytest.skip(f"{request.param} is not installed")
    place = tmp_path_factory.mktemp(request.param)
    folder = Path(shutil.copytree(past, place / "ledger"))
    ledger = open_ledger(find_config(folder), "ada")
    token = create_token(ledger, "tester", frozenset(Scope))[1]
    ledger.close()
    (place / "proxy").mkdir()
    with (
        served_by_process(folder, "--no-worker", "--trusted-host", NAME, "--proxy-headers") as server,
        proxied(request.param, place / "proxy", server.port) as url,
    ):
        yield Proxied(server, url, token)


pytestmark = pytest.mark.slow


def test_a_browser_logs_in_through_it(behind: Proxied) -> None:
    with behind.client() as browser:
        assert browser.get("/").status_code == 303
        entered = browser.post("/login", data={"token": behind.token, "next": "/models"})
        assert (entered.status_code, entered.headers["location"]) == (303, "/models")
        # Only over https would a browser keep such a cookie; the server sees plain http.
        kept = entered.headers["set-cookie"]
        assert kept.startswith("__Host-unledger=")
        assert {"secure", "httponly", "path=/"} <= {one.strip().lower() for one in kept.split(";")}
        assert browser.get("/models").status_code == 200
        assert browser.get("/api/v1/caller").json()["name"] == "tester"
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        assert browser.post("/logout", headers=elsewhere).status_code == 403
        # An older browser says where a form is from in another way.
        del browser.headers["Sec-Fetch-Site"]
        assert browser.post("/logout", headers={"Origin": behind.url}).status_code == 303


def test_events_pass_it_as_they_come(behind: Proxied) -> None:
    with behind.client() as program:
        program.headers["Authorization"] = f"Bearer {behind.token}"
        with program.stream("GET", "/api/v1/events") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith(":")
            filed = program.post("/api/v1/models/1/requests", json={"requests": [{"classes": ["jay"]}]})
            assert filed.status_code == 201
            began = time.monotonic()
            told = next(json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:"))
            assert told["request"] == filed.json()["items"][0]["id"]
            # A proxy that collects what it is sent keeps this back until there is more.
            assert time.monotonic() - began < SECONDS / 2


def test_a_file_of_requests_passes_it(behind: Proxied) -> None:
    text = "classes,reason\n" + f"jay,{'x' * 9_000}\n" * 400
    with behind.client() as program:
        program.headers["Authorization"] = f"Bearer {behind.token}"
        body = {"text": text, "format": "csv", "dry_run": True}
        checked = program.post("/api/v1/models/1/requests/bulk", json=body)
        assert (checked.status_code, checked.headers["content-type"]) == (200, "application/json"), checked.text


def test_it_keeps_the_figures_within(behind: Proxied) -> None:
    with behind.client() as program:
        program.headers["Authorization"] = f"Bearer {behind.token}"
        assert program.get("/metrics").status_code == 404
        assert program.get("/readyz").status_code == 200


def test_an_error_is_the_servers_own(behind: Proxied) -> None:
    with behind.client() as program:
        refused = program.get("/api/v1/requests")
        assert (refused.status_code, refused.json()["error"]) == (401, "AuthenticationError")
        assert refused.headers["x-request-id"]
        assert "frame-ancestors 'none'" in refused.headers["content-security-policy"]
