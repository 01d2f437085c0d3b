"""What `log` writes, and what it never writes."""

from __future__ import annotations

import pytest

from proxy.engine.exchange import Note
from proxy.engine.message import Headers, Limits, Response

from .conftest import Play, Stage

CANARY = "CANARY-CANARY"


def logged(notes: list[Note]) -> str:
    return " ".join(f"{note.message} {note.fields}" for note in notes if note.kind == "log")


def test_a_line_has_message_level_rule_and_fields(play: Play) -> None:
    rules = """
rules:
  - name: tells
    before:
      - log:
          message: "${request.method} ${request.path}"
          level: warning
          fields: {n: "${1 + 1}", deep: {list: [1, "${request.path}"]}}
"""
    notes = play(rules, "/x").exchange.notes
    assert notes == [Note("log", "tells", "warning", "GET /x", {"n": 2, "deep": {"list": [1, "/x"]}})]


def test_the_level_is_info_when_not_given(play: Play) -> None:
    notes = play("rules: [{name: r, before: [{log: {message: a}}]}]").exchange.notes
    assert notes == [Note("log", "r", "info", "a", {})]


def test_an_overlong_message_is_cut(play: Play) -> None:
    rules = "rules: [{name: r, before: [{log: {message: \"${request.headers['x-a']}\"}}]}]"
    [note] = play(rules, headers=(("x-a", "a" * 10_000),)).exchange.notes
    assert note.message == "a" * 4096


@pytest.mark.parametrize(
    "expression",
    [
        "request.headers['authorization']",
        "request.headers.cookie",
        "request.headers['X-Vol-App-Claims']",
        "request.cookies.sid",
        "request.query.code",
        "request.body.password",
        "request.body.Password",
        "request.body.user.password.old",
        "request.body.?password.orValue('none')",
        "sha256(request.body.password)",
        "{'a': [request.body.password]}",
    ],
)
def test_what_is_known_as_secret_is_a_load_error(stage: Stage, expression: str) -> None:
    rules = f"""rules: [{{name: r, before: [{{log: {{message: a, fields: {{a: "${{{expression}}}"}}}}}}]}}]"""
    assert [problem.code for problem in stage.problems(rules)] == ["secret-here"]


@pytest.mark.parametrize(
    "expression",
    [
        "request.headers[request.headers['x-name']]",
        "request.headers",
        "request.headers.map(name, request.headers[name])",
        "request.query",
        "request.query_all",
        "request.body",
        "request.body[request.headers['x-field']]",
        "request.url",
        "request.href",
        "{'innocent': request.body}",
    ],
)
def test_what_may_be_secret_is_masked(play: Play, expression: str) -> None:
    rules = f"""
rules:
  - name: r
    before:
      - log: {{message: a, fields: {{a: "${{{expression}}}", b: ["${{[{expression}]}}"]}}}}
"""
    notes = play(
        rules,
        f"/x?code={CANARY}",
        method="POST",
        headers=(
            ("content-type", "application/json"),
            ("x-name", "authorization"),
            ("x-field", "password"),
            ("authorization", f"Bearer {CANARY}"),
        ),
        content=b'{"password":"%s"}' % CANARY.encode(),
    ).exchange.notes
    assert notes == [Note("log", "r", "info", "a", {"a": "***", "b": "***"})]


def test_members_of_an_object_are_masked_by_name(play: Play) -> None:
    rules = """rules: [{name: r, before: [{log: {message: a, fields: {user: "${request.body.user}"}}}]}]"""
    content = b'{"user":{"name":"jane","PASSWORD":"%s","old":[{"password":"%s"}]}}' % (CANARY.encode(), CANARY.encode())
    [note] = play(rules, method="POST", headers=(("content-type", "application/json"),), content=content).exchange.notes
    assert note.fields == {"user": {"name": "jane", "PASSWORD": "***", "old": [{"password": "***"}]}}


def test_a_bearer_token_is_not_logged(stage: Stage) -> None:
    rules = """rules: [{name: r, before: [{log: {message: "${request.bearer}"}}]}]"""
    codes = [problem.code for problem in stage.problems(rules)]
    assert codes in ([], ["secret-here"])
    if not codes:
        notes = stage.play(rules, headers=(("authorization", f"Bearer {CANARY}"),)).exchange.notes
        assert CANARY not in logged(notes)


def test_an_address_without_a_secret_parameter_is_logged(play: Play) -> None:
    rules = """rules: [{name: r, before: [{log: {message: "${request.url}"}}]}]"""
    assert play(rules, "/x?a=1").exchange.notes[0].message == "/x?a=1"


def test_that_something_is_there_may_be_logged(play: Play) -> None:
    rules = """rules: [{name: r, before: [{log: {message: "${has(request.body)}"}}]}]"""
    assert play(rules).exchange.notes[0].message == "false"


def test_a_variable_that_was_made_of_a_secret_is_masked(play: Play) -> None:
    rules = """
rules:
  - name: a
    before:
      - set: {token: "${request.headers.authorization}", site: "${request.headers['x-site']}"}
      - set: {copy: "a ${token}"}
  - name: b
    before:
      - log: {message: "site ${site}", fields: {site: "${site}", token: "${token}", copy: ["${copy}"]}}
      - log: {message: "copy ${copy}"}
      - set: {token: gone}
      - log: {message: "now ${token}"}
"""
    notes = play(rules, headers=(("authorization", CANARY), ("x-site", "21074"))).exchange.notes
    assert [note.message for note in notes] == ["site 21074", "***", "now gone"]
    assert notes[0].fields == {"site": "21074", "token": "***", "copy": "***"}


def test_what_another_rule_removes_is_masked(play: Play) -> None:
    rules = """
rules:
  - name: logs
    before: [{log: {message: a, fields: {a: "${request.headers['x-debug']}", b: "${request.headers['x-other']}"}}}]
  - {name: removes, before: [{headers: {remove: [X-Debug]}}]}
"""
    notes = play(rules, headers=(("x-debug", CANARY), ("x-other", "b"))).exchange.notes
    assert notes[0].fields == {"a": "***", "b": "b"}


def test_what_looks_like_a_token_is_masked_wherever_it_comes_from(play: Play) -> None:
    rules = """
rules:
  - name: r
    after: [{log: {message: "got ${response.body.anything}.", fields: {a: ["${response.body.anything}"]}}}]
"""
    body = b'{"anything":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl"}'
    answer = Response(200, Headers.of([("content-type", "application/json")], side="response"), body, limits=Limits())
    [note] = play(rules, upstream=answer).exchange.notes
    assert note.message == "got ***."
    assert note.fields == {"a": ["***"]}
