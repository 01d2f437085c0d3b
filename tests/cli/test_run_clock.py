"""The wall clock of a running proxy jumps: tokens follow it; what is single-use or locked, and deadlines, do not."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock

import jwt
import pyotp
import pytest

from tests.acceptance.services import Call, Reply, service
from tests.clocks import WallClock
from tests.figures import Figures
from tests.running import PATIENCE, Answer, Proxy, running

KEY = "test-only-test-only-test-only-0000"
SEED = pyotp.random_base32()
ENV = {"VESTIBULE_SECRET_KEY": KEY, "VESTIBULE_SECRET_STORE_KEY": "test-only-store-key"}
RULES = """
version: 1
factors:
  otp: {secret: "${response.body.seed}"}
rules:
  - name: token
    match: {path: /token}
    before: [{verify_token: {keys: {secret: "${secret:key}"}, algorithms: [HS256]}}]
  - name: locked
    match: {path: /locked}
    before: [{limit: {key: one, failures: 3, per: 15m}}]
  - name: once
    match: {path: /once}
    before: [{once: {key: one, ttl: 5m}}]
  - name: proof
    match: {path: /proof, status: 200}
    after: [{challenge: {any: [otp], subject: "${response.body.user}"}}, {body: {remove: [seed]}}]
"""
HOUR = 3600
each_store = pytest.mark.parametrize("kind", ["memory", "sqlite"])


def store_of(kind: str, folder: Path) -> tuple[str | Path, ...]:
    return () if kind == "memory" else ("--workers", "2", "--store", f"sqlite:{folder}/store.db")


def once(proxy: Proxy) -> Answer:
    # The host is part of what is shared, and the port of a run is not that of the one before.
    return proxy.call("GET", "/once", headers={"Host": "shop.example"})


def begin(proxy: Proxy, user: str) -> str:
    answer = proxy.call("POST", "/proof", {"user": user})
    assert answer.json["code"] == "mfa_required"
    return str(answer.json["challenge_token"])


def prove(proxy: Proxy, token: str, code: str) -> Answer:
    return proxy.call("POST", "/.vestibule/challenge", {"challenge_token": token, "code": code})


def code() -> str:
    return pyotp.TOTP(SEED).now()


def wrong_code() -> str:
    right = {pyotp.TOTP(SEED).at(time.time() + 30 * step) for step in range(-4, 5)}
    return next(code for code in map("{:06d}".format, range(20)) if code not in right)


class Upstream:
    """An auth service: it counts what is shared, knows no password, and answers /slow when it is told to."""

    def __init__(self) -> None:
        self.go = Event()
        self.shared = 0
        self._lock = Lock()

    def __call__(self, call: Call) -> Reply:
        if call.path == "/slow":
            assert self.go.wait(PATIENCE)
        if call.path == "/once":
            with self._lock:
                self.shared += 1
        return Reply(
            401 if call.path == "/locked" else 200, {"user": call.json["user"] if call.body else "", "seed": SEED}
        )


@each_store
def test_a_clock_that_jumps_reopens_nothing_and_lets_nobody_in(kind: str, tmp_path: Path, figures: Figures) -> None:
    clock, upstream = WallClock(tmp_path), Upstream()
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    with (
        service(upstream) as auth,
        running(
            *("--upstream", auth.url, "--rules", rules, *store_of(kind, tmp_path)), env={**ENV, **clock.env}
        ) as proxy,
    ):
        now = int(time.time())
        token = jwt.encode({"sub": "a", "iat": now - 60, "nbf": now - 60, "exp": now + 600}, KEY)
        bearer = {"Authorization": f"Bearer {token}"}
        assert proxy.call("GET", "/token", headers=bearer).status == 200
        assert [proxy.call("POST", "/locked").status for _ in range(4)] == [401, 401, 401, 429]
        assert once(proxy).status == 200
        proved, used = begin(proxy, "jane"), code()
        assert prove(proxy, proved, used).status == 200
        closed = begin(proxy, "maria")
        assert [prove(proxy, closed, wrong_code()).status for _ in range(3)] == [401] * 3
        tried = begin(proxy, "vip")
        assert prove(proxy, tried, wrong_code()).json["code"] == "invalid_code"

        checks: list[tuple[str, Callable[[], bool]]] = [
            ("a locked key is locked", lambda: proxy.call("POST", "/locked").status == 429),
            ("a shared call is made once", lambda: once(proxy).status == 200 and upstream.shared == 1),
            ("a proof is taken once", lambda: prove(proxy, proved, code()).status == 401),
            ("a used code proves no other login", lambda: prove(proxy, begin(proxy, "other"), used).status == 401),
            ("a closed challenge is closed", lambda: prove(proxy, closed, code()).status == 401),
        ]
        away = ("a token is refused", lambda: proxy.call("GET", "/token", headers=bearer).status == 401)
        back = ("a token holds again", lambda: proxy.call("GET", "/token", headers=bearer).status == 200)
        wrong = []
        moves = (HOUR, 0, -HOUR, 0, 200, 0)
        for seconds in moves:
            clock.move(seconds)
            for name, holds in [*checks, away if abs(seconds) == HOUR else back]:
                if not holds():
                    wrong.append(f"{seconds:+d} s: {name}")
        # Ahead, the challenge has a little time left, and counts all the same for as long as it lives.
        clock.move(170)
        assert prove(proxy, tried, wrong_code()).json["code"] == "invalid_code"
        clock.move(0)
        if prove(proxy, tried, wrong_code()).json["code"] != "invalid_state":
            wrong.append("the tries of a challenge were forgotten")
        figures.add("faults", cases=len(moves) * (len(checks) + 1) + 1, found=len(wrong))
        assert wrong == []


def test_a_restart_with_a_clock_that_went_back_reopens_nothing(tmp_path: Path, figures: Figures) -> None:
    clock, upstream = WallClock(tmp_path), Upstream()
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    with service(upstream) as auth:
        flags = ("--upstream", auth.url, "--rules", rules, *store_of("sqlite", tmp_path))
        moves = (0, 0, HOUR, -HOUR, 0)
        for number, seconds in enumerate(moves):
            clock.move(seconds)
            with running(*flags, env={**ENV, **clock.env}) as proxy:
                if not number:
                    assert [proxy.call("POST", "/locked").status for _ in range(3)] == [401] * 3
                assert proxy.call("POST", "/locked").status == 429
                assert once(proxy).status == 200
                assert upstream.shared == 1
                assert proxy.stop() == 0
    figures.add("faults", cases=len(moves), found=0)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_clock_that_jumps_ends_no_exchange_and_no_connection(seconds: int, tmp_path: Path, figures: Figures) -> None:
    clock, upstream = WallClock(tmp_path), Upstream()
    with (
        service(upstream) as auth,
        running("--upstream", auth.url, env=clock.env) as proxy,
        contextlib.ExitStack() as stack,
    ):
        address = ("127.0.0.1", proxy.port)
        kept, slow, half = (stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(3))

        def ask(client: socket.socket, head: bytes) -> bytes:
            client.sendall(head)
            answer = b""
            while not answer.endswith(b"}"):
                answer += client.recv(65_536)
            return answer

        whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        assert ask(kept, whole).startswith(b"HTTP/1.1 200 ")
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        half.sendall(whole[:10])
        auth.called(2)
        clock.move(seconds)
        # Another exchange goes through every timer of the loop after the jump.
        assert proxy.call("GET", "/").status == 200
        assert ask(kept, whole).startswith(b"HTTP/1.1 200 ")
        assert ask(half, whole[10:]).startswith(b"HTTP/1.1 200 ")
        upstream.go.set()
        assert ask(slow, b"").startswith(b"HTTP/1.1 200 ")
        assert proxy.stop() == 0
    figures.add("faults", cases=3, found=0)


@pytest.mark.parametrize("seconds", [0, -HOUR])
def test_deadlines_end_what_is_late_also_when_the_clock_goes_back_or_stands(
    seconds: int, tmp_path: Path, figures: Figures
) -> None:
    clock, upstream = WallClock(tmp_path), Upstream()
    flags = ("--limits-deadlines-header", "300ms", "--upstream-timeouts-first-byte", "300ms")
    with service(upstream) as auth, running("--upstream", auth.url, *flags, env=clock.env) as proxy:
        clock.move(seconds)
        if not seconds:
            clock.stand_still()
        with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as client:
            client.sendall(b"GET / HTT")
            assert client.recv(65_536).startswith(b"HTTP/1.1 408 ")
        assert proxy.call("GET", "/slow").status == 504
        upstream.go.set()
        assert proxy.stop() == 0
    figures.add("faults", cases=2, found=0)
