"""A store that is gone, or does not answer, lets nothing through; when it is back all goes on without a restart."""

from __future__ import annotations

from pathlib import Path

from tests.running import Answer, running
from tests.services.store.valkey import serving
from tests.storing import WORKERS

from .clients import connected, receive, send, workers
from .services import Call, Reply, service

SECRET = "test-only-ticket"
ENV = {"VESTIBULE_SECRET_MFA_HMAC": "test-only-key-of-the-page-and-the-proxy"}
RULES = """
version: 1
packs: [kibo]
rules:
  - name: lock-out
    match: {path: /limited}
    timeout: 500ms
    before: [{limit: {key: anybody, failures: 20, per: 15m}}]
  - name: one-call
    match: {path: /shared}
    timeout: 500ms
    before: [{once: {key: everybody, ttl: 1ms}}]
  - name: second-factor
    match: {path: /withheld}
    timeout: 500ms
    after: [{redirect: {to: /mfa, mode: json}}]
    continue: [{verify_redirect_token: {secret: "${secret:mfa_hmac}"}}]
"""
PATHS = ("/limited", "/shared", "/withheld")
STATE = "A" * 43


def give(_: Call) -> Reply:
    return Reply(200, {"jwtAccessToken": SECRET})


def test_without_its_store_the_proxy_refuses_and_with_it_goes_on(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    with service(give) as upstream, serving(tmp_path) as server:
        store = ("--store", server.url)
        with running("--upstream", upstream.url, "--rules", rules, *WORKERS, *store, env=ENV) as proxy:
            serves = workers(proxy, "redis")

            def call_each(*paths: str) -> list[Answer]:
                """Call all paths on all workers, all at once."""
                upstream.calls.clear()
                found = []
                for worker in serves:
                    with connected(proxy, worker, len(paths)) as connections:
                        for connection, path in zip(connections, paths, strict=True):
                            send(connection, "GET", path)
                        found += [receive(connection) for connection in connections]
                return found

            def assert_works() -> None:
                # More at once than connections that may be left from before.
                answers = call_each(*PATHS * 4)
                assert [answer.status for answer in answers] == [200, 200, 403] * 8

            def assert_refuses(*statuses: int) -> None:
                answers = call_each(*PATHS, f"/.vestibule/continue?state={STATE}")
                assert {answer.status for answer in answers} <= set(statuses)
                for answer in answers:
                    assert answer.json["errorCode"]
                    assert answer.json["correlationId"] == answer.headers["x-vol-correlation"]
                    assert SECRET not in answer.body.decode()
                # What is withheld was asked for; it is the answer that nobody gets.
                assert [call.path for call in upstream.calls] == ["/withheld"] * 2

            assert_works()
            server.process.kill()
            server.process.wait()
            assert_refuses(503)
            with serving(tmp_path, at=server.port) as again:
                assert_works()
                again.pause()
                assert_refuses(503, 504)
                again.go_on()
                assert_works()
            said = proxy.stop(), proxy.rest() + proxy.err.rest()
            assert said[0] == 0
            assert SECRET not in said[1]
            assert "Traceback" not in said[1]
