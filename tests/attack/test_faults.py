"""Whatever fails inside a rule is answered as declared: nothing is forwarded, nothing withheld gets out.

Faults of the store, of the services, of the keys, of the clock and of bodies are put into every action that can meet
them, at every effect that it asks for. What a slow one costs is in tests/edge, on real sockets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest

from proxy.engine.effects import (
    Answer,
    Effect,
    FetchKeys,
    Lead,
    Lookup,
    Publish,
    Reserve,
    Reserved,
    Settle,
    Share,
    StoreGet,
)
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.engine.message import Response
from proxy.engine.ruleset import Rule, Ruleset, Step
from tests.figures import Figures

from .acting import NOW, Acting, Outcome, respond

CANARY = "test-only-canary"
KEY = "test-only-test-only-test-only-0000"
# An action, and where it stands: all that ask for something outside.
ASKING = {
    "cache_get": ("both", "cache_get: {key: k, into: found}"),
    "cache_set": ("both", "cache_set: {key: k, value: v, ttl: 60s}"),
    "cache_delete": ("both", "cache_delete: {key: k, into: gone}"),
    "cache of Auth0": ("both", "cache_set: {key: k, value: v, ttl: 60s, profile: auth0, into: set}"),
    "limit": ("before", "limit: {key: k, failures: 5, per: 60s}"),
    "limit of requests": ("before", "limit: {key: k, requests: 5, per: 60s}"),
    "once": ("before", "once: {key: k, ttl: 60s}"),
    "lookup": ("both", "lookup: {url: 'https://service.example/', into: found}"),
    "verify_token": (
        "both",
        "verify_token: {from: 'eyJhbGciOiJFUzI1NiJ9.e30.cw', keys: {jwks: 'https://id.example/'}, algorithms: [ES256]}",
    ),
    "redirect": ("suspends", "redirect: {to: /proof, mode: redirect, token: {secret: '${secret:key}', subject: a}}"),
    "challenge": ("after", "challenge: {factor: email, subject: jane}"),
}
FACTORS = "factors: {email: {to: jane@example.com, send: {url: 'https://mail.example/'}}}\n"
FAILURES: dict[str, tuple[Callable[[], Exception], int]] = {
    "down": (lambda: EffectFailed(f"it is down, {CANARY}"), 503),
    "late": (lambda: EffectFailed(f"it is late, {CANARY}", late=True), 504),
}


def rules(where: str, step: str) -> str:
    steps = f"[{{{step}}}]"
    back = ', continue: [{verify_redirect_token: {secret: "${secret:key}"}}]' if where == "suspends" else ""
    phase = "after" if where == "suspends" else where
    status = "" if phase == "before" else ", status: 200"
    return f"{FACTORS}rules:\n  - {{name: r, match: {{path: /x{status}}}, {phase}: {steps}{back}}}\n"


def places() -> Iterator[tuple[str, str, str]]:
    for name, (where, step) in ASKING.items():
        for one in ("before", "after") if where == "both" else (where,):
            yield name, one, step


def fine(effect: Effect) -> Any:
    """Answer an effect as if nothing were wrong."""
    match effect:
        case Lookup():
            return Answer(200, (), b"{}")
        case FetchKeys():
            return ()
        case Share():
            return Lead("ticket")
        case Reserve():
            return Reserved("ticket")
        case StoreGet():
            return None
        case _:
            return 1


def safe(outcome: Outcome, status: int) -> bool:
    """Say whether an exchange ended as declared, and nothing that was withheld got out."""
    answer = outcome.answer
    return (
        answer is not None
        and answer.status == status
        and CANARY.encode() not in (outcome.answered or b"") + (answer.content or b"")
    )


def upstream() -> Response:
    return respond(200, ("Set-Cookie", CANARY), ("Content-Type", "application/json"), content=f'"{CANARY}"'.encode())


class Failing:
    """Performs effects until the one that is to fail."""

    def __init__(self, at: int, failure: Callable[[], Exception]) -> None:
        self.left = at
        self.failure = failure
        self.failed: Effect | None = None

    def __call__(self, effect: Effect) -> Any:
        self.left -= 1
        if self.left == 0:
            self.failed = effect
            raise self.failure()
        return fine(effect)


@pytest.mark.parametrize("failure", FAILURES)
def test_an_effect_that_fails_is_answered_as_declared(failure: str, figures: Figures) -> None:
    make, status = FAILURES[failure]
    tried = 0
    wrong: list[str] = []
    for name, where, step in places():
        for at in range(1, 9):
            failing = Failing(at, make)
            outcome = Acting(rules(where, step), perform=failing, secrets=lambda _: KEY).play_at("/x", upstream)
            if failing.failed is None:
                assert at > 1, f"{name} asks for nothing"
                break
            tried += 1
            if isinstance(failing.failed, Settle | Publish):
                # The answer is there already: it stands, and what could not be told is logged.
                if outcome.answer is None or outcome.answer.status != 200 or not outcome.exchange.notes:
                    wrong.append(f"{name} in {where}, effect {at}")
            elif not safe(outcome, status) or (where == "before" and outcome.forwarded is not None):
                wrong.append(f"{name} in {where}, effect {at}")
    figures.add("faults", cases=tried, found=len(wrong))
    assert tried >= 20
    assert wrong == []


# Whatever a step may raise: a mistake of ours, a limit of the machine.
RAISED: tuple[type[BaseException], ...] = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, ZeroDivisionError, OverflowError, RecursionError,
    MemoryError,
    RuntimeError, NotImplementedError, AssertionError, OSError, TimeoutError, UnicodeError, LookupError, StopIteration,
    EOFError, FileNotFoundError, PermissionError, ConnectionError, ArithmeticError, BufferError, NameError,
)  # fmt: skip


def test_whatever_a_step_raises_is_an_error_and_nothing_is_forwarded(figures: Figures) -> None:
    wrong: list[str] = []
    for raised in RAISED:

        def step(_: Exchange, raised: type[BaseException] = raised) -> None:
            raise raised(CANARY)

        for where in ("before", "after"):
            steps = (Step(step, "test", "raises"),)
            rule = Rule("r", 0, before=steps) if where == "before" else Rule("r", 0, after=steps)
            outcome = Acting.of(Ruleset((rule,))).play_at("/x", upstream)
            status = outcome.answer.status if outcome.answer is not None else 0
            if status not in (400, 500, 502) or not safe(outcome, status) or (where == "before" and outcome.forwarded):
                wrong.append(f"{raised.__name__} in {where}")
    figures.add("faults", cases=2 * len(RAISED), found=len(wrong))
    assert wrong == []


BODIES: tuple[tuple[str, bytes, int, int], ...] = (
    # What is sent, and the status where it is a request, and where it is an answer.
    ("application/json", b"", 400, 502),
    ("application/json", b"{", 400, 502),
    ("application/json", b'{"a":1,"a":2}', 400, 502),
    ("application/json", b'{"a":1,"\\u0061":2}', 400, 502),
    ("application/json", b'{"b":1}', 400, 502),
    ("application/json", b'{"a":{}}', 400, 502),
    ("application/json", b'{"a":null}', 400, 502),
    ("application/json", b"[1]", 400, 502),
    ("application/json", b'"a"', 400, 502),
    ("application/json", b"\xff", 400, 502),
    ("application/json", b"\xef\xbb\xbf{}", 400, 502),
    ("application/json", '{"a":"x"}'.encode("utf-16"), 400, 502),
    ("application/json", b'{"a":NaN}', 400, 502),
    ("application/json", b'{"a":' * 100 + b"1" + b"}" * 100, 413, 502),
    ("application/json; charset=utf-7", b'{"a":1}', 415, 502),
    ("text/plain", b'{"a":1}', 415, 502),
    ("multipart/form-data; boundary=x", b'{"a":1}', 415, 502),
    ("", b'{"a":1}', 415, 502),
    ("application/x-www-form-urlencoded", b"a=1&a=2", 400, 502),
    ("application/x-www-form-urlencoded", b"a=%ff", 400, 502),
)


def test_a_body_that_cannot_be_read_is_answered_as_declared(figures: Figures) -> None:
    reads = "  - {name: r, match: {path: /x}, before: [{headers: {set: {x-a: 'a ${request.body.a}'}}}]}\n"
    read = "  - {name: r, match: {path: /x}, after: [{headers: {set: {x-a: 'a ${response.body.a}'}}}]}\n"
    wrong: list[str] = []
    for kind, content, ours, theirs in BODIES:
        headers = (("Content-Type", kind),) if kind else ()
        asked = Acting(f"rules:\n{reads}").play_at("/x", upstream, headers=headers, content=content)
        if not safe(asked, ours) or asked.forwarded is not None:
            wrong.append(f"{kind} {content!r} of a request: {asked.answer and asked.answer.status}")

        def bad(headers: tuple[tuple[str, str], ...] = headers, content: bytes = content) -> Response:
            return respond(200, ("Set-Cookie", CANARY), *headers, content=content + CANARY.encode() * (not content))

        answered = Acting(f"rules:\n{read}").play_at("/x", bad)
        if not safe(answered, theirs):
            wrong.append(f"{kind} {content!r} of an answer: {answered.answer and answered.answer.status}")
    figures.add("faults", cases=2 * len(BODIES), found=len(wrong))
    assert wrong == []


@pytest.mark.parametrize("now", [0.0, -1.0, NOW - 3600, NOW + 3600, 1e12, float("nan"), float("inf")])
def test_a_clock_that_jumps_lets_nobody_in(now: float, figures: Figures) -> None:
    rule = (
        "rules:\n  - {name: r, match: {path: /x}, before: [{verify_token: {keys: {secret: '${secret:key}'},"
        " algorithms: [HS256]}}]}\n"
    )
    acting = Acting(rule, secrets=lambda _: KEY)
    claims = {"sub": "a", "iat": int(NOW) - 60, "nbf": int(NOW) - 60, "exp": int(NOW) + 60}
    sent = (("Authorization", f"Bearer {jwt.encode(claims, KEY)}"),)
    # Held before the jump, so that what is remembered is tried too.
    assert acting.play_at("/x", upstream, headers=sent).forwarded is not None
    outcome = acting.play_at("/x", upstream, headers=sent, now=now)
    refused = outcome.answer is not None and outcome.answer.status in (401, 500) and outcome.forwarded is None
    figures.add("faults", cases=1, found=not refused)
    assert refused
    assert acting.play_at("/x", upstream, headers=sent).forwarded is not None


def test_an_error_tells_the_client_nothing_of_its_cause() -> None:
    acting = Acting(rules("before", ASKING["lookup"][1]), perform=Failing(1, FAILURES["down"][0]))
    outcome = acting.play_at("/x", upstream)
    assert outcome.answer is not None
    told = json.loads(outcome.answer.content or b"")
    assert set(told) == {"type", "title", "status", "detail", "correlationId"}
