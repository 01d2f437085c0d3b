"""Wrong passwords lock a user name on all workers, and guesses cannot slip past by their number or by hanging up."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from tests.running import Answer, Proxy, running
from tests.storing import each_store, storing

from .clients import ask, at_once, connected, hang_up, send, stop, workers
from .services import Call, Reply, service

LOGIN = "/api/commerce/customer/authtickets"
RULES = """
version: 1
packs: [kibo]
rules:
  - name: lock-out
    match: {operation: createUserAuthTicket}
    before:
      - limit: {key: "${request.body.username.trim().lowerAscii()}", failures: 5, per: 10m, block: 20m}
"""


def guess(user: str) -> dict[str, str]:
    return {"username": user, "password": "test-only-wrong"}


def log_in(proxy: Proxy, worker: int, user: str) -> Answer:
    with connected(proxy, worker) as (connection,):
        return ask(connection, "POST", LOGIN, guess(user))


def assert_locked(answer: Answer) -> None:
    assert answer.status == 429
    assert answer.json["errorCode"]
    assert 1100 < int(answer.headers["Retry-After"]) <= 1200


@each_store
def test_five_wrong_passwords_lock_a_user_name_on_all_workers(kind: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    held = Event()

    def refuse(call: Call) -> Reply:
        if call.json["username"] == "held":
            assert held.wait(20)
        return Reply(401, {"errorCode": "INVALID_CREDENTIALS"})

    with (
        service(refuse) as upstream,
        storing(kind, tmp_path) as flags,
        running("--upstream", upstream.url, "--rules", rules, *flags) as proxy,
    ):
        first, *_, other = [*workers(proxy, kind)] * 2

        # One after the other, by turns.
        tries = [log_in(proxy, worker, "jane") for worker in (first, other, first, other, first)]
        assert [answer.status for answer in tries] == [401] * 5
        for worker, user in [(other, "jane"), (first, "jane"), (other, " Jane ")]:
            assert_locked(log_in(proxy, worker, user))
        assert len(upstream.calls) == 5
        assert log_in(proxy, other, "maria").status == 401
        upstream.calls.clear()

        # Fifty at once.
        with connected(proxy, first, 25) as some, connected(proxy, other, 25) as more:
            alternating = [one for pair in zip(some, more, strict=True) for one in pair]
            statuses = [answer.status for answer in at_once(alternating, "POST", LOGIN, guess("vip"))]
        assert (statuses.count(401), statuses.count(429)) == (5, 45)
        assert len(upstream.calls) == 5
        assert_locked(log_in(proxy, first, "vip"))
        upstream.calls.clear()

        # Those who hang up before they are answered; each worker heard of it before it answered what came later.
        with connected(proxy, first, 2) as some, connected(proxy, other, 3) as more:
            for connection in (*some, *more):
                send(connection, "POST", LOGIN, guess("held"))
            upstream.called(5)
            for connection in (*some, *more):
                hang_up(connection)
        for worker in (first, other):
            early = log_in(proxy, worker, "held")
            assert (early.status, early.headers["Retry-After"]) == (429, "1")
        held.set()
        for _ in range(5):
            assert proxy.event("exchange", hung_up=True)["path"] == LOGIN
        assert_locked(log_in(proxy, first, "held"))
        assert_locked(log_in(proxy, other, "held"))
        assert len(upstream.calls) == 5
        stop(proxy)
