"""What the final steps leave in the verdict, and what no answer of theirs carries."""

from __future__ import annotations

import msgspec
import pytest

from proxy.engine.message import Headers, Limits, Response

from .conftest import Play, Stage


def test_a_denial_tells_the_operator_reason_detail_and_code(play: Play) -> None:
    rules = """
rules:
  - name: blocks
    before:
      - {name: too-fast, deny: {reason: "No ${request.method}.", detail: "path ${request.path}", code: TOO_FAST}}
"""
    verdict = play(rules, "/x").exchange.verdict
    assert (verdict.by, verdict.rule, verdict.step, verdict.action) == ("rule", "blocks", "too-fast", "deny")
    assert (verdict.reason, verdict.detail, verdict.code) == ("No GET.", "path /x", "TOO_FAST")


def test_what_a_client_is_told_of_its_own_secret_is_masked_for_the_operator(play: Play) -> None:
    rules = """
rules:
  - {name: r, before: [{deny: {reason: "Not ${request.headers.authorization}.", detail: "at ${request.url}"}}]}
"""
    played = play(rules, "/x?code=CANARY", headers=(("authorization", "CANARY"),))
    assert b"Not CANARY." in (played.answer.content or b"")
    assert (played.exchange.verdict.reason, played.exchange.verdict.detail) == ("***", "***")


@pytest.mark.parametrize("dialect", ["problem", "kibo", "ocapi", "oauth"])
def test_the_correlation_id_of_the_client_is_in_header_and_body(play: Play, dialect: str) -> None:
    rules = f"rules: [{{name: r, before: [{{deny: {{dialect: {dialect}}}}}]}}]"
    played = play(rules, headers=(("x-vol-correlation", "client-given-1"),))
    assert played.answer.headers.values(b"x-vol-correlation") == [b"client-given-1"]
    assert b'"client-given-1"' in (played.answer.content or b"")


def test_an_answer_of_respond_has_the_correlation_id_in_the_header_only(play: Play) -> None:
    played = play(
        "rules: [{name: r, before: [{respond: {json: {a: 1}}}]}]", headers=(("x-vol-correlation", "client-given-1"),)
    )
    assert played.answer.headers.values(b"x-vol-correlation") == [b"client-given-1"]
    assert played.answer.content == b'{"a":1}'


def test_an_answer_does_not_share_its_headers_with_the_next_one(stage: Stage) -> None:
    rules = """
rules:
  - {name: answers, before: [{respond: {text: a}}]}
  - {name: adds, match: {origin: [rule]}, after: [{headers: {add: {x-a: a}}}]}
"""
    for _ in range(2):
        assert stage.play(rules).answer.headers.values(b"x-a") == [b"a"]


def test_a_denial_in_a_rule_in_shadow_leaves_no_verdict(play: Play) -> None:
    played = play("rules: [{name: r, mode: shadow, before: [{deny: {reason: No.}}]}]")
    assert played.forwarded is not None
    assert played.exchange.verdict.reason is None


def test_a_header_value_that_no_server_would_take_is_an_error_of_the_rule(play: Play) -> None:
    rules = """
rules:
  - {name: r, before: [{headers: {set: {x-a: "${request.headers['x-b']}${request.headers['x-b']}"}}}]}
"""
    assert play(rules, headers=(("x-b", "b" * 4000),)).forwarded is not None
    assert play(rules, headers=(("x-b", "b" * 4200),)).forwarded is None


def test_the_text_of_the_file_counts_where_text_is_wanted(play: Play) -> None:
    rules = "rules: [{name: r, before: [{headers: {set: {x-a: 010, x-b: 1.50, x-c: on, x-d: true}}}]}]"
    forwarded = play(rules).forwarded
    assert forwarded is not None
    assert [forwarded.headers.get(name) for name in (b"x-a", b"x-b", b"x-c", b"x-d")] == [
        b"010",
        b"1.50",
        b"on",
        b"true",
    ]


def test_an_edit_of_cookies_leaves_several_cookie_lines_as_one(play: Play) -> None:
    forwarded = play(
        "rules: [{name: r, before: [{cookies: {set: {c: '3'}}}]}]", headers=(("Cookie", "a=1"), ("cookie", "b=2"))
    ).forwarded
    assert forwarded is not None
    assert forwarded.headers.values(b"cookie") == [b"a=1; b=2; c=3"]


def test_a_status_without_a_phrase_drops_the_one_that_was_sent(play: Play) -> None:
    upstream = Response(200, Headers(side="response"), b"", limits=Limits(), reason="All right")
    assert play("rules: [{name: r, after: [{status: {code: 404}}]}]", upstream=upstream).answer.reason is None


def test_response_headers_are_computed_for_each_exchange(stage: Stage) -> None:
    rules = 'rules: [{name: r, before: [{response_headers: {set: {x-path: "${request.path}"}}}]}]'
    assert [stage.play(rules, path).answer.headers.get(b"x-path") for path in ("/a", "/b")] == [b"/a", b"/b"]


def test_numbers_of_a_computed_body_stay_numbers(play: Play) -> None:
    rules = """rules: [{name: r, before: [{respond: {json: {n: "${request.body.n}"}}}]}]"""
    answer = play(rules, method="POST", headers=(("content-type", "application/json"),), content=b'{"n":1.0}').answer
    assert msgspec.json.decode(answer.content or b"") == {"n": 1.0}
