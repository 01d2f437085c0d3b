"""Two whole runs with one store, a Valkey server or a cluster: what one has learned holds at the other, and of all who
bring the same state to both one goes on.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.figures import Figures
from tests.running import Answer, Proxy, running
from tests.services.store.valkey import clustered, serving

from .clients import at_once, without_id
from .services import Call, Reply, Service, service

RULES = """
version: 1
factors:
  email: {{to: "${{response.body.mail}}", send: {{url: "{mail}/send", method: POST, json: {{code: "${{code}}"}}}}}}
rules:
  - name: lock-out
    match: {{path: /guess}}
    before: [{{limit: {{key: "${{request.headers['user']}}", failures: 5, per: 10m, block: 20m}}}}]
  - name: one-call
    match: {{path: /session}}
    before: [{{once: {{key: "${{request.headers['user']}}", ttl: 5m}}}}]
  - name: step-up
    match: {{path: /login}}
    after: [{{challenge: {{factor: email, subject: "${{response.body.mail}}"}}}}]
"""
ENV = {"VESTIBULE_SECRET_STORE_KEY": "test-only-store-key"}
# As a balancer passes it on: what is shared is shared under one address.
HOST = {"Host": "shop.example"}
TICKET = "test-only-ticket"
RACES = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs with one store, and the services around them."""

    one: Proxy
    two: Proxy
    upstream: Service
    mail: Service

    def by_turns(self, count: int, path: str, user: str) -> list[Answer]:
        return [
            (self.one, self.two)[turn % 2].call("POST", path, None, {**HOST, "User": user}) for turn in range(count)
        ]

    def at_once(self, count: int, path: str, body: Any = None, user: str = "") -> list[Answer]:
        """Ask both the same, on a connection for each request, before any is answered."""
        with ExitStack() as stack:
            connections = [
                stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)))
                for _ in range(count // 2)
                for proxy in (self.one, self.two)
            ]
            return at_once(connections, "POST", path, body, {**HOST, "User": user})

    def calls(self, path: str, user: str) -> int:
        return sum(call.path == path and call.headers.get("User") == user for call in self.upstream.calls)


def answer(call: Call) -> Reply:
    if call.path == "/guess":
        return Reply(401)
    return Reply(200, {"mail": f"{call.headers.get('User')}@example.com", "ticket": TICKET})


@contextmanager
def paired(kind: str, folder: Path) -> Iterator[Pair]:
    rules = folder / "rules.yaml"
    with ExitStack() as stack:
        upstream, mail = stack.enter_context(service(answer)), stack.enter_context(service(lambda _: Reply(202)))
        if kind == "cluster":
            store = stack.enter_context(clustered(folder)).url
        else:
            store = stack.enter_context(serving(folder)).url
        rules.write_text(RULES.format(mail=mail.url))
        flags = ("--upstream", upstream.url, "--rules", rules, "--store", store)
        one, two = (stack.enter_context(running(*flags, env=ENV)) for _ in range(2))
        yield Pair(one, two, upstream, mail)
        for proxy in (one, two):
            assert proxy.stop() == 0
            said = proxy.rest() + proxy.err.rest()
            assert TICKET not in said
            assert "Traceback" not in said
            assert '"level":"error"' not in said


@pytest.mark.parametrize("kind", ["one server", "cluster"])
def test_what_one_instance_has_learned_holds_at_the_other(kind: str, tmp_path: Path, figures: Figures) -> None:
    with paired(kind, tmp_path) as pair:
        wrong_passwords_at_either_lock_a_user_at_both(pair)
        guesses_at_both_at_once_are_no_more_than_the_limit(pair)
        all_who_ask_both_at_once_share_one_call(pair)
        a_login_that_begins_at_one_goes_on_at_the_other(pair)
        of_all_who_prove_a_login_at_both_at_once_one_goes_on(pair, figures)


def wrong_passwords_at_either_lock_a_user_at_both(pair: Pair) -> None:
    assert [answer.status for answer in pair.by_turns(9, "/guess", "jane")] == [401] * 5 + [429] * 4
    assert [answer.status for answer in pair.by_turns(2, "/guess", "maria")] == [401] * 2
    assert pair.calls("/guess", "jane") == 5


def guesses_at_both_at_once_are_no_more_than_the_limit(pair: Pair) -> None:
    statuses = [answer.status for answer in pair.at_once(40, "/guess", user="vip")]
    assert (statuses.count(401), statuses.count(429)) == (5, 35)
    assert pair.calls("/guess", "vip") == 5


def all_who_ask_both_at_once_share_one_call(pair: Pair) -> None:
    answers = pair.at_once(40, "/session", user="jane")
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    # And who comes later.
    assert {answer.status for answer in pair.by_turns(2, "/session", "jane")} == {200}
    assert pair.calls("/session", "jane") == 1


def a_login_that_begins_at_one_goes_on_at_the_other(pair: Pair) -> None:
    for begins, returns in ((pair.one, pair.two), (pair.two, pair.one)):
        token = begin(pair, begins)
        code = pair.mail.calls[-1].json["code"]
        answer = returns.call("POST", "/.vestibule/challenge", {"challenge_token": token, "code": code})
        assert (answer.status, answer.json["ticket"]) == (200, TICKET)
        again = begins.call("POST", "/.vestibule/challenge", {"challenge_token": token, "code": code})
        assert again.status == 401
        assert TICKET not in again.body.decode()


def of_all_who_prove_a_login_at_both_at_once_one_goes_on(pair: Pair, figures: Figures) -> None:
    lost = 0
    for turn in range(RACES):
        token = begin(pair, (pair.one, pair.two)[turn % 2])
        proof = {"challenge_token": token, "code": pair.mail.calls[-1].json["code"]}
        answers = pair.at_once(20, "/.vestibule/challenge", proof)
        won = [answer for answer in answers if answer.status == 200]
        assert len({str(without_id(answer)) for answer in answers if answer.status != 200}) == 1
        lost += len(won) != 1 or won[0].json["ticket"] != TICKET
    figures.add("races", cases=RACES, found=lost)
    assert lost == 0


def begin(pair: Pair, proxy: Proxy) -> str:
    """Log in; gives the token of the challenge, whose code was sent."""
    answer = proxy.call("POST", "/login", None, {"User": "jane"})
    assert (answer.status, TICKET in answer.body.decode()) == (401, False)
    return str(answer.json["challenge_token"])
