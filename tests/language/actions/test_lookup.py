"""What a lookup asks the shell for, and what becomes of the answer in the log: what a case cannot see."""

from __future__ import annotations

import pytest

from proxy.engine import run
from proxy.engine.effects import Answer, Breaker, Lookup
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request
from proxy.language.compile import Options, build
from proxy.language.document import Source

JSON = (("content-type", "application/json"),)


def begin(steps: str) -> tuple[Exchange, run.Pending]:
    options = Options(secrets=lambda _: None, packs=lambda _: None)
    built = build([Source("rules.yaml", f"version: 1\nrules: [{{name: r, before: [{steps}]}}]")], options)
    assert built.ruleset is not None, list(built.problems)
    request = Request("GET", "/", None, Headers(), limits=Limits())
    x = run.begin(built.ruleset, request, clock=lambda: 1_000.0, entropy=bytes)
    built.ruleset.choose(x)
    pending = run.before(x)
    assert isinstance(pending, run.Pending)
    return x, pending


@pytest.mark.parametrize(
    ("settings", "timeout", "cache", "breaker"),
    [
        ("", 3.0, 0.0, None),
        (", timeout: 500ms, cache: 5m, breaker: true", 0.5, 300.0, Breaker(100, 50, 60.0, 10, 5)),
        (
            ", breaker: {failures: 1, window: 4, open: 5s, probes: 3, probe_failures: 0}",
            3.0,
            0.0,
            Breaker(4, 1, 5.0, 3, 0),
        ),
        (", breaker: false", 3.0, 0.0, None),
    ],
)
def test_a_call_has_the_time_cache_and_breaker_of_its_settings(
    settings: str, timeout: float, cache: float, breaker: Breaker | None
) -> None:
    _, pending = begin(f"{{lookup: {{url: /a{settings}}}}}")
    assert pending.effect == Lookup("GET", "/a", (), None, timeout, cache, breaker)


def test_an_answer_is_masked_in_the_log_and_so_is_what_is_made_of_it() -> None:
    x, pending = begin(
        "{lookup: {url: /a, into: user}}, {set: {made: '${user.body.code + user.body.code}'}},"
        " {log: {message: 'm ${user.body.code}', fields: {a: '${user}', b: '${made}', c: '${user.status}'}}}"
    )
    assert pending.resume(Answer(200, JSON, b'{"code": "test-only-code"}'), 0.0) is None
    assert x.variables["made"] == "test-only-codetest-only-code"
    assert "test-only" not in f"{x.notes}"
    assert x.notes[0].message == "***"


def test_a_failure_is_told_without_what_was_sent() -> None:
    x, pending = begin("{lookup: {url: '/a?b=test-only-value', into: user, on_error: null}}")
    assert pending.resume(Answer(200, JSON, b'{"code": test-only-code'), 0.0) is None
    assert x.variables["user"] is None
    assert [(note.kind, note.level) for note in x.notes] == [("lookup", "warning")]
    assert "test-only" not in x.notes[0].message
