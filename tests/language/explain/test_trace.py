"""What an explanation must be whatever is explained: true to the rules, harmless to them, and without a secret."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.effects import Answer, Effect, Lookup
from proxy.engine.errors import EffectFailed
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.language.cases.playing import Stage
from proxy.language.compile import Draft, Options, build
from proxy.language.document import Source
from proxy.language.explain import Trace, explain, plans_of
from proxy.language.explain.explanation import trace_of
from proxy.language.explain.tracer import Tracer
from proxy.services.rehearsal import rehearse
from tests.casefiles import each_file, prepared

LIMITS = Limits()


@each_file
def test_explained_exchanges_go_as_they_go_unwatched_and_match_as_their_conditions_say(path: Path) -> None:
    for one in prepared(path).cases:
        if one.findings is not None or one.ruleset is None:
            continue
        tracer = Tracer(plans_of(one.drafts), one.ruleset, (), show=False)
        played = Stage(tracer.ruleset, one.given, one.case, rehearse, one.limits, tracer).play()
        assert played.findings == (), one.case.name
        for seen in tracer.recordings:
            assert json.loads(json.dumps(asdict(trace_of(list(tracer.plans), seen))))
            if seen.matched is None or seen.exchange is None or seen.received is None:
                continue
            operation, request = seen.exchange.operation, seen.received
            held = [
                plan.rule.name
                for plan in tracer.plans
                if plan.mode != "off" and all(c.ask(request, operation, seen.masks).held for c in plan.conditions)
            ]
            assert held == [chosen.rule.name for chosen in seen.matched.rules], one.case.name


def rules(*written: dict[str, Any]) -> tuple[Any, list[Draft]]:
    """Build rules as a file of them is."""
    drafts: list[Draft] = []
    source = Source("rules.yaml", json.dumps({"version": 1, "rules": list(written)}))
    built = build([source], Options(lambda _: "test-only-" + "s" * 32, lambda _: None), keep=drafts)
    assert not built.problems.errors, list(built.problems)
    return built.ruleset, drafts


def refuse(effect: Effect) -> Any:
    raise EffectFailed(f"nobody gives a {type(effect).__name__}")


def trace(*written: dict[str, Any], headers: dict[str, str] | None = None, body: Any = None,
          answer: Response | None = None, query: str | None = None, show: bool = False) -> Trace:  # fmt: skip
    """Explain a POST to /login under rules."""
    ruleset, drafts = rules(*written)
    lines = Headers.of([("Content-Type", "application/json"), *(headers or {}).items()])
    content = None if body is None else json.dumps(body).encode()
    request = Request("POST", "/login", query, lines, content, limits=LIMITS, ip="192.0.2.1", host="shop.example")
    return explain(
        ruleset, plans_of(drafts), request, answer or Response(200, Headers(side="response"), limits=LIMITS),
        perform=refuse, clock=lambda: 0.0, entropy=bytes, show=show,
    )  # fmt: skip


def states(found: Trace) -> dict[str, str]:
    return {rule.name: rule.state for rule in found.rules}


DENY = {"deny": {"reason": "No."}}


def test_a_rule_is_behind_one_that_ended_the_phase() -> None:
    found = trace({"name": "a", "before": [DENY]}, {"name": "b", "before": [DENY]})
    assert states(found) == {"a": "ran", "b": "not reached"}
    assert found.rules[1].note == "a ended the phase before (deny)"
    assert (found.decision.by, found.decision.rule, found.decision.status) == ("rule", "a", 403)
    assert found.forwarded is None


def test_what_fails_by_one_condition_late_in_its_match_is_nearest() -> None:
    far = {"name": "far", "match": {"method": "PUT", "path": "/other"}, "before": [DENY]}
    near = {"name": "near", "match": {"path": "/login", "headers": {"x-country": ["DE", "FR"]}}, "before": [DENY]}
    early = {"name": "early", "match": {"method": "PUT", "path": "/login"}, "before": [DENY]}
    found = trace(far, early, near, headers={"X-Country": "US"})
    assert [rule.name for rule in found.near_misses] == ["near", "early", "far"]
    missed = found.near_misses[0].missed_by
    assert missed is not None
    assert (missed.key, missed.wanted, missed.saw) == ("header x-country", "one of DE, FR", "US")


def test_an_answer_of_another_status_keeps_after_from_running() -> None:
    rule = {"name": "a", "match": {"status": 200}, "after": [{"headers": {"set": {"x-a": "1"}}}]}
    found = trace(rule, answer=Response(401, Headers(side="response"), limits=LIMITS))
    missed = found.rules[0].missed_by
    assert missed is not None
    assert (missed.key, missed.wanted, missed.saw) == ("status", "200", "401")


def test_the_parts_of_a_condition_have_their_values_also_those_that_it_did_not_come_to() -> None:
    when = "request.body.a == 1 && (request.headers['x-b'] == 'c' || request.body.d > 2)"
    found = trace({"name": "a", "before": [{"when": when, **DENY}]}, body={"a": 2, "d": 3})
    asked = found.rules[0].steps[0].when
    assert asked is not None
    assert (asked.text, asked.held) == (when, False)
    assert [(part.text, part.value, part.error) for part in asked.parts] == [
        ("request.body.a == 1", "false", None),
        ("request.body.a", "2", None),
        ("request.headers['x-b'] == 'c' || request.body.d > 2", "true", None),
        ("request.headers['x-b'] == 'c'", None, "there is no header 'x-b'"),
        ("request.headers['x-b']", None, "there is no header 'x-b'"),
        ("request.body.d > 2", "true", None),
        ("request.body.d", "3", None),
    ]
    assert found.rules[0].steps[0].state == "not held"


def test_a_step_tells_what_it_changed() -> None:
    # What a rule removes is never shown: it may have been removed for what it tells.
    steps = [
        {"headers": {"set": {"x-site": "7"}, "rename": {"x-old": "x-new"}}},
        {"body": {"set": {"a.b": 2}, "remove": ["c"]}},
        {"query": {"set": {"page": "2"}}},
        {"path": {"to": "/v2"}},
        {"set": {"who": "${request.body.a.b}"}},
    ]
    found = trace(
        {"name": "r", "before": steps}, headers={"x-old": "on"}, body={"a": {"b": 1}, "c": [1]}, query="page=1"
    )
    told = [[(one.of, one.place, one.before, one.after) for one in step.changes] for step in found.rules[0].steps]
    assert told == [
        [("request", "header x-old", "on", None), ("request", "header x-new", None, "on"),
         ("request", "header x-site", None, "7")],
        [("request", "body a.b", "1", "2"), ("request", "body c", "***", None)],
        [("request", "query", "page=1", "page=2")],
        [("request", "path", "/login", "/v2")],
        [("variables", "who", None, "2")],
    ]  # fmt: skip


def test_a_rule_in_shadow_tells_what_it_would_have_done_and_does_nothing() -> None:
    found = trace({"name": "s", "mode": "shadow", "before": [{"headers": {"set": {"x-a": "1"}}}, DENY]})
    (rule,) = found.rules
    assert (rule.mode, rule.state) == ("shadow", "ran")
    assert [step.outcome for step in rule.steps] == [None, "answered 403"]
    assert found.decision.by == "upstream"
    assert [remark.message for remark in found.remarks] == ["would have answered 403 (deny)"]
    assert found.forwarded is not None
    assert "x-a" not in dict(found.forwarded.headers)


def test_an_effect_that_nobody_gives_fails_its_step_and_says_so() -> None:
    lookup = {"lookup": {"url": "https://crm.example/user?token=test-only-token", "into": "crm"}}
    found = trace({"name": "r", "before": [lookup]})
    (step,) = found.rules[0].steps
    assert [(one.kind, one.what, one.given, one.error) for one in step.asked] == [
        ("lookup", "GET https://crm.example/user?token=***", None, "nobody gives a Lookup")
    ]
    assert (step.state, step.error) == ("failed", "503: nobody gives a Lookup")
    assert (found.rules[0].state, found.decision.by, found.decision.status) == ("failed", "proxy", 503)


def test_a_rule_that_may_fail_is_taken_out_and_its_edits_with_it() -> None:
    steps = [{"headers": {"set": {"x-a": "1"}}}, {"lookup": {"url": "https://crm.example/", "into": "crm"}}]
    found = trace({"name": "r", "on_error": "continue", "before": steps})
    assert states(found) == {"r": "skipped"}
    assert found.decision.by == "upstream"


def test_rules_that_are_off_and_those_left_out_by_their_fraction_are_told() -> None:
    found = trace({"name": "o", "mode": "off", "before": [DENY]}, {"name": "f", "fraction": 0, "before": [DENY]})
    assert states(found) == {"o": "off", "f": "left out"}


SECRETS = {"password": "test-only-password", "nested": {"refresh_token": "test-only-refresh"}, "note": "hello"}


@pytest.mark.parametrize("show", [False, True])
def test_what_is_secret_is_in_an_explanation_only_when_it_was_asked_for(*, show: bool) -> None:
    steps = [
        {"when": "request.body.password == 'test-only-password'", "set": {"kept": "${request.body.password}"}},
        {"headers": {"set": {"x-copy": "user ${request.body.password}"}}},
        {"body": {"set": {"other": "${request.cookies.sid}", "third": "${request.body.nested.refresh_token}"}}},
        {"headers": {"set": {"x-key": "${secret:upstream}"}}},
    ]
    found = trace(
        {"name": "r", "before": steps}, show=show, query="page=1&token=test-only-parameter",
        headers={"Authorization": "Bearer test-only-bearer", "Cookie": "sid=test-only-cookie"}, body=SECRETS,
        answer=Response(200, Headers.of([("Set-Cookie", "sid=test-only-new; Path=/")], side="response"), limits=LIMITS),
    )  # fmt: skip
    told = json.dumps(asdict(found))
    for rule in found.rules:
        for step in rule.steps:
            if step.when is not None:
                told = told.replace(json.dumps(step.when.text), "")
    for secret in ("password", "refresh", "bearer", "cookie", "new", "parameter"):
        assert (f"test-only-{secret}" in told) is show, secret
    assert "hello" in told
    assert "page=1" in told


def test_what_a_lookup_gave_is_told_without_its_secrets() -> None:
    ruleset, drafts = rules({"name": "r", "before": [{"lookup": {"url": "https://crm.example/", "into": "crm"}}]})
    body = json.dumps({"tier": "gold", "token": "test-only-token"}).encode()

    def perform(effect: Effect) -> Any:
        assert isinstance(effect, Lookup)
        return Answer(200, (("content-type", "application/json"),), body)

    found = explain(
        ruleset, plans_of(drafts), Request("GET", "/", None, Headers(), limits=LIMITS), None,
        perform=perform, clock=lambda: 0.0, entropy=bytes,
    )  # fmt: skip
    (step,) = found.rules[0].steps
    assert step.asked[0].given == '200, {"tier": "gold", "token": "***"}'
    assert (found.decision.status, found.decision.cause) == (502, "the upstream cannot be reached")


def test_nothing_that_is_told_moves_a_terminal() -> None:
    match = {"headers": {"x-a": "b"}, "query": {"c": "d"}}
    found = trace({"name": "r", "match": match, "before": [DENY]}, headers={"x-a": "\x1b[2J\u202e"}, body=["\x9b2J"])
    told = json.dumps(asdict(found), ensure_ascii=False)
    assert not {"\x1b", "\x9b", "\u202e"} & set(told)
    assert found.rules[0].conditions[0].saw == "\ufffd[2J\ufffd"
