"""A stop while exchanges wait: for a shared call, for a shopper, for a service that does not answer."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.running import Proxy, running
from tests.storing import storing

from .clients import connected, logged, receive, send, stop, workers
from .services import Call, Reply, Service, service

RULES = """
version: 1
factors:
  email: {{to: "${{response.body.mail}}", send: {{url: "{mail}/send", method: POST, json: {{code: "${{code}}"}}}}}}
rules:
  - name: one-call
    match: {{path: /session}}
    before: [{{once: {{key: everybody, ttl: 5m}}}}]
  - name: step-up
    match: {{path: /login}}
    timeout: 20s
    after: [{{challenge: {{factor: email, subject: "${{response.body.mail}}"}}}}]
"""


@pytest.fixture
def held() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


@contextlib.contextmanager
def shop(folder: Path, held: Event, *flags: str) -> Iterator[tuple[Proxy, Service, Service]]:
    """Run a proxy whose auth service holds the call of a session, and whose mail service holds a mail to `held`."""

    def answer(call: Call) -> Reply:
        if call.path == "/session":
            assert held.wait(20)
        return Reply(200, {"mail": call.headers.get("User"), "token": "test-only-token"})

    def send_mail(_: Call) -> Reply:
        assert held.wait(20)
        return Reply(202)

    rules = folder / "rules.yaml"
    with service(answer) as upstream, service(send_mail) as mail, storing("sqlite", folder) as store:
        rules.write_text(RULES.format(mail=mail.url))
        with running("--upstream", upstream.url, "--rules", rules, *store, *flags) as proxy:
            yield proxy, upstream, mail
            held.set()


def drains(proxy: Proxy) -> None:
    """Tell a proxy to stop, and wait until its workers have heard it."""
    proxy.process.terminate()
    while len(logged(proxy, "draining")) < 2:
        proxy.event("draining")


def test_those_who_wait_for_a_shared_call_have_its_answer_before_the_proxy_ends(tmp_path: Path, held: Event) -> None:
    with shop(tmp_path, held) as (proxy, upstream, _):
        first, other = workers(proxy, "sqlite")
        with connected(proxy, first, 10) as some, connected(proxy, other, 10) as more:
            waiting = [*some, *more]
            for connection in waiting:
                send(connection, "GET", "/session")
            upstream.called(1)
            drains(proxy)
            held.set()
            answers = [receive(connection) for connection in waiting]
        assert [(answer.status, answer.json["token"]) for answer in answers] == [(200, "test-only-token")] * 20
        assert len(upstream.calls) == 1
        stop(proxy)


def test_a_stop_waits_neither_for_shoppers_nor_for_ever(tmp_path: Path, held: Event) -> None:
    with shop(tmp_path, held, "--drain", "100ms") as (proxy, upstream, mail):
        first, other = workers(proxy, "sqlite")
        with connected(proxy, first, 11) as some, connected(proxy, other, 11) as more:
            for connections in (some, more):
                send(connections[0], "GET", "/login", headers={"User": "jane@example.com"})
                for connection in connections[1:]:
                    send(connection, "GET", "/session")
            mail.called(2)
            upstream.called(3)
            drains(proxy)
            for connection in (*some, *more):
                with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                    receive(connection)
        stop(proxy)
