"""A login is withheld until a code is sent as JSON: of an authenticator app, or one that came by e-mail."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pyotp

from tests.running import Answer, Proxy, running
from tests.storing import each_store, storing

from .clients import ask, connected, stop, without_id, workers
from .services import Call, Reply, service

SEEDS = {name: pyotp.random_base32() for name in ("jane", "vip")}
TICKET = "test-only-ticket-of-"

RULES = """
version: 1
factors:
  otp: {{secret: "${{response.body.?seed.orValue('')}}"}}
  email:
    to: "${{response.body.?mail.orValue('')}}"
    send: {{url: "{mail}/send", method: POST, json: {{to: "${{to}}", code: "${{code}}"}}}}
rules:
  - name: step-up
    match: {{path: /login, status: 200}}
    after:
      - challenge: {{any: [otp, email], subject: "${{response.body.user}}"}}
      - body: {{remove: [seed, mail]}}
"""


def log_in(call: Call) -> Reply:
    user = call.json["user"]
    enrolled = {"seed": SEEDS[user]} if user in SEEDS else {"mail": f"{user}@example.com"}
    return Reply(200, {"user": user, "ticket": TICKET + user, **enrolled})


def begin(proxy: Proxy, worker: int, user: str) -> str:
    """Log in; gives the token of the challenge."""
    with connected(proxy, worker) as (connection,):
        answer = ask(connection, "POST", "/login", {"user": user})
    assert (answer.status, answer.json["code"], TICKET in answer.body.decode()) == (401, "mfa_required", False)
    return str(answer.json["challenge_token"])


def prove(proxy: Proxy, worker: int, token: str, code: str, **more: Any) -> Answer:
    with connected(proxy, worker) as (connection,):
        return ask(connection, "POST", "/.vestibule/challenge", {"challenge_token": token, "code": code, **more})


def code_of(user: str) -> str:
    return pyotp.TOTP(SEEDS[user]).now()


def wrong_code_of(user: str) -> str:
    """Give a code that is right neither now nor in the minutes around."""
    now, totp = time.time(), pyotp.TOTP(SEEDS[user])
    right = {totp.at(now + 30 * step) for step in range(-3, 4)}
    return next(code for code in map("{:06d}".format, range(10)) if code not in right)


@each_store
def test_a_code_proves_a_login_on_another_worker_once(kind: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    with service(lambda _: Reply(202)) as mail, service(log_in) as upstream, storing(kind, tmp_path) as flags:
        rules.write_text(RULES.format(mail=mail.url))
        with running("--upstream", upstream.url, "--rules", rules, *flags) as proxy:
            first, *_, other = [*workers(proxy, kind)] * 2

            # An authenticator app.
            token, code = begin(proxy, first, "jane"), code_of("jane")
            answer = prove(proxy, other, token, code)
            assert (answer.status, answer.json) == (200, {"user": "jane", "ticket": TICKET + "jane"})
            refused = [prove(proxy, worker, token, code) for worker in (first, other)]
            # The code was good for one login, whichever of the workers is asked.
            again = prove(proxy, first, begin(proxy, other, "jane"), code)
            assert (again.status, again.json["code"]) == (401, "invalid_code")

            # Three wrong codes, whoever gets them, and the right one is of no use any more.
            token, wrong = begin(proxy, first, "vip"), wrong_code_of("vip")
            tries = [prove(proxy, worker, token, wrong) for worker in (first, other, first)]
            assert [answer.json["code"] for answer in tries] == ["invalid_code", "invalid_code", "invalid_state"]
            refused += [tries[-1], prove(proxy, other, token, code_of("vip"))]

            # A code by e-mail.
            token = begin(proxy, first, "maria")
            (sent,) = (call.json for call in mail.calls)
            assert sent["to"] == "maria@example.com"
            answer = prove(proxy, other, token, sent["code"], factor="email")
            assert (answer.status, answer.json) == (200, {"user": "maria", "ticket": TICKET + "maria"})
            refused.append(prove(proxy, first, token, sent["code"], factor="email"))

            assert [answer.status for answer in refused] == [401] * 5
            assert len({str(without_id(answer)) for answer in refused}) == 1
            assert len(upstream.calls) == 4
            said = stop(proxy)
    for secret in (*SEEDS.values(), TICKET, token):
        assert secret not in said
    # Six digits may stand by chance in a number or in an id.
    assert not re.search(rf"(?<![0-9a-f]){sent['code']}(?![0-9a-f])", said)
