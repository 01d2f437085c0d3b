"""A user who is sent to prove herself elsewhere, on each kind of store: the withheld answer comes out once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from yarl import URL

from tests.auth0.reset_link import mailed
from tests.running import ROOT, Answer, Proxy, running
from tests.storing import each_store, storing

AUTH0 = ("--upstream", "sandbox:oauth", "--secrets", ROOT / "tests" / "secrets")
SECRET = (ROOT / "tests" / "secrets" / "mfa_hmac").read_text().strip()
NAVIGATES = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}


class Elsewhere:
    """The page where a user proves herself: it got a token and a state, and sends the browser back with its own."""

    def __init__(self, proxy: Proxy, sent: Answer) -> None:
        self.proxy = proxy
        self.to = URL(sent.headers["Location"])
        self.state = self.to.query["state"]
        self.cookie = {"Cookie": sent.headers["Set-Cookie"].partition(";")[0]}
        self.given = jwt.decode(self.to.query["session_token"], SECRET, algorithms=["HS256"])

    def send_back(self, headers: Mapping[str, str], **claims: str) -> Answer:
        own = {"iss": self.given["iss"], "sub": self.given["sub"], "state": self.state, "exp": self.given["exp"]}
        token = jwt.encode({**own, **claims}, SECRET, algorithm="HS256")
        query = URL.build(path="/.vestibule/continue", query={"state": self.state, "session_token": token})
        return self.proxy.call("GET", str(query), headers={**NAVIGATES, **headers})


def distinct(refusals: Iterable[Answer]) -> list[dict[str, Any]]:
    """Give the different bodies of refusals, without the id that each has of its own."""
    found: list[dict[str, Any]] = []
    for refusal in refusals:
        body = {name: value for name, value in refusal.json.items() if name != "correlationId"}
        if body not in found:
            found.append(body)
    return found


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Give the example rule for a customer of the sandbox."""
    path = tmp_path / "redirect.yaml"
    text = (ROOT / "rules" / "auth0" / "redirect.yaml").read_text("utf-8")
    path.write_text(text.replace("clerk@partner.example", "jane@example.com"))
    return path


@each_store
def test_what_sets_a_password_comes_out_once_for_who_has_proved_herself(kind: str, tmp_path: Path, rules: Path) -> None:
    with storing(kind, tmp_path) as flags, running(*AUTH0, "--rules", rules, *flags) as proxy:
        sent = proxy.call("GET", mailed(proxy, "jane@example.com"), headers=NAVIGATES)
        page = Elsewhere(proxy, sent)
        assert (sent.status, str(page.to.with_query(None)), sent.body) == (302, "https://id.shop.example/proof", b"")
        refused = [
            page.send_back({}, outcome="passed"),
            page.send_back({"Cookie": "vestibule=test-only"}, outcome="passed"),
            page.send_back(page.cookie, outcome="passed", sub="somebody"),
            page.send_back(page.cookie, outcome="passed", state="another"),
        ]
        with ThreadPoolExecutor(20) as threads:
            returns = list(threads.map(lambda _: page.send_back(page.cookie, outcome="passed"), range(100)))
        (found,) = [answer.json for answer in returns if answer.status == 200]
        assert (found["email"], found["user_id"]) == ("jane@example.com", page.given["sub"])
        refused += [answer for answer in returns if answer.status != 200]
        assert [answer.status for answer in refused] == [401] * 103
        assert len(distinct(refused)) == 1
        form = {"reset_token": found["reset_token"], "new_password": "test-only-new"}
        assert proxy.call("POST", "/u/reset-password", form).status == 200
        assert proxy.stop() == 0
        log = proxy.rest()
    secrets = (found["reset_token"], page.state, "eyJ", "test-only", "jane@example.com")
    assert [secret for secret in secrets if secret in log] == []


@each_store
def test_who_failed_the_proof_gets_nothing_and_may_not_try_again(kind: str, tmp_path: Path, rules: Path) -> None:
    with storing(kind, tmp_path) as flags, running(*AUTH0, "--rules", rules, *flags) as proxy:
        page = Elsewhere(proxy, proxy.call("GET", mailed(proxy, "jane@example.com"), headers=NAVIGATES))
        failed = page.send_back(page.cookie, outcome="failed")
        assert (failed.status, failed.json["error"]) == (403, "access_denied")
        assert page.send_back(page.cookie, outcome="passed").status == 401
