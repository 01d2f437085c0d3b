"""Second factors between the link of an e-mail and the password, on each kind of store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyotp
import pytest

from tests.auth0.reset_link import mailed
from tests.running import ROOT, Answer, Proxy, running
from tests.storing import each_store, storing

AUTH0 = ("--upstream", "sandbox:oauth", "--secrets", ROOT / "tests" / "secrets")
APP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


class Shop(ThreadingHTTPServer):
    """The shop's own services: they keep the secrets of apps, send codes, and take a recovery code once."""

    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[dict[str, str]] = []
        self.recovery = {"test-only-recovery"}
        self.strangers: list[str] = []
        super().__init__(("127.0.0.1", 0), Serving)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Serving(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Shop

    def do_GET(self) -> None:
        self._answer(200, {"secret": APP}, "test-only-factors")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/codes":
            self.server.mails.append(body)
            self._answer(202, {}, "test-only-mailer")
            return
        right = body["code"] in self.server.recovery
        self.server.recovery.discard(body["code"])
        self._answer(200 if right else 403, None, "test-only-factors")

    def _answer(self, status: int, body: Any, key: str) -> None:
        if self.headers["x-api-key"] != key:
            self.server.strangers.append(self.path)
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if data:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    assert server.strangers == []


@pytest.fixture
def rules(tmp_path: Path, shop: Shop) -> Path:
    """Give all the example rules, with the addresses of the shop's services in them."""
    folder = tmp_path / "rules"
    shutil.copytree(ROOT / "rules" / "auth0", folder)
    file = folder / "challenge.yaml"
    text = file.read_text("utf-8")
    for address in ("https://mail.shop.example", "https://factors.shop.example"):
        assert address in text
        text = text.replace(address, shop.url)
    file.write_text(text)
    return folder


def prove(proxy: Proxy, told: Answer, **parameters: str) -> Answer:
    body = {"challenge_token": told.json["challenge_token"], **parameters}
    return proxy.call("POST", "/.vestibule/challenge", body)


@each_store
def test_the_code_of_the_app_gives_what_sets_a_password_once(
    kind: str, tmp_path: Path, rules: Path, shop: Shop
) -> None:
    with storing(kind, tmp_path) as flags, running(*AUTH0, "--rules", rules, *flags) as proxy:
        told = proxy.call("GET", mailed(proxy, "maria@example.com"))
        assert (told.status, told.json["error"], told.json["factors"]) == (403, "mfa_required", ["otp", "email"])
        assert "reset_token" not in told.json
        code = pyotp.TOTP(APP).now()
        # However often at once: three of them are tried, and one of those is the first to use the code.
        with ThreadPoolExecutor(20) as threads:
            tries = list(threads.map(lambda _: prove(proxy, told, factor="otp", code=code), range(20)))
        (found,) = [answer.json for answer in tries if answer.status == 200]
        form = {"reset_token": found["reset_token"], "new_password": "test-only-new"}
        assert proxy.call("POST", "/u/reset-password", form).status == 200
        assert proxy.stop() == 0
        log = proxy.rest()
    secrets = (found["reset_token"], told.json["challenge_token"], APP, "test-only", "maria@example.com")
    assert [secret for secret in secrets if secret in log] == []
    assert shop.mails == []


@each_store
def test_a_code_by_mail_does_in_its_place(kind: str, tmp_path: Path, rules: Path, shop: Shop) -> None:
    with storing(kind, tmp_path) as flags, running(*AUTH0, "--rules", rules, *flags) as proxy:
        told = proxy.call("GET", mailed(proxy, "maria@example.com"))
        assert prove(proxy, told, factor="email").status == 403
        ((to, code),) = [(mail["to"], mail["code"]) for mail in shop.mails]
        assert to == "maria@example.com"
        wrong = f"{(int(code) + 1) % 1_000_000:06d}"
        assert prove(proxy, told, factor="email", code=wrong).status == 403
        assert prove(proxy, told, factor="email", code=code).json["email"] == "maria@example.com"
        again = prove(proxy, told, factor="email", code=code)
        assert (again.status, "reset_token" in again.json) == (401, False)


@each_store
def test_three_wrong_codes_end_it(kind: str, tmp_path: Path, rules: Path) -> None:
    with storing(kind, tmp_path) as flags, running(*AUTH0, "--rules", rules, *flags) as proxy:
        told = proxy.call("GET", mailed(proxy, "maria@example.com"))
        code = pyotp.TOTP(APP).now()
        wrong = f"{(int(code) + 500_000) % 1_000_000:06d}"
        tries = [prove(proxy, told, factor="otp", code=wrong) for _ in range(3)]
        assert all("reset_token" not in answer.json for answer in tries)
        assert prove(proxy, told, factor="otp", code=code).status == 401


def test_who_chooses_may_show_a_recovery_code_that_works_once(rules: Path, shop: Shop) -> None:
    with running(*AUTH0, "--rules", rules) as proxy:
        for status in (200, 403):
            told = proxy.call("GET", mailed(proxy, "vip@example.com"))
            assert told.json["factors"] == ["email", "recovery-code"]
            answer = prove(proxy, told, factor="recovery-code", code="test-only-recovery")
            assert (answer.status, "reset_token" in answer.json) == (status, status == 200)
    assert shop.mails == []


def test_a_service_that_is_down_gives_nothing_away(rules: Path, shop: Shop) -> None:
    shop.shutdown()
    shop.server_close()
    with running(*AUTH0, "--rules", rules) as proxy:
        told = proxy.call("GET", mailed(proxy, "maria@example.com"))
        assert (told.status, set(told.json)) == (503, {"error", "error_description", "correlationId"})
