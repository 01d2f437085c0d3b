"""What a diff of two rule sets says of recorded exchanges: what changes, what does not, and what nobody can say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from proxy.engine.ruleset import Ruleset
from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.observe.changes import Changed, Comparison, compare
from proxy.observe.record import (
    Body,
    EffectRecord,
    Record,
    RequestRecord,
    ResponseRecord,
    VerdictRecord,
)
from proxy.services.rehearsal import rehearse
from proxy.services.rulefiles import find_pack

JSON = ("Content-Type", "application/json")
KEY = "test-only-key-of-the-diff-000000000"


def rules(text: str) -> Ruleset:
    options = Options(
        secrets={"key": KEY}.get,
        packs=lambda name: find_pack(name, [Path(__file__)]),
        public_origin="https://a.example",
    )
    built = build([Source("rules.yaml", "version: 1\nrules:\n" + text)], options)
    assert built.ruleset is not None, list(built.problems)
    return built.ruleset


def body(data: Any) -> Body | None:
    if data is None:
        return None
    text = data if isinstance(data, str) else json.dumps(data)
    return Body(len(text), text=text)


def record(number: int = 1, *, path: str = "/login", request: Any = None, upstream: Any = None, **more: Any) -> Record:
    answer = ResponseRecord(200, [JSON], "OK", body(upstream if upstream is not None else {"userId": "u1"}))
    given: dict[str, Any] = {
        "id": f"exchange-{number}",
        "recording": "r",
        "time": 1_767_225_600.0 + number,
        "client": "192.0.2.1",
        "scheme": "http",
        "host": "a.example",
        "rules": "",
        "ran": [],
        "verdict": VerdictRecord("upstream"),
        "own_ms": 0.1,
        "status": 200,
        "request": RequestRecord(
            "POST", path, [("Host", "a.example"), JSON], body(request if request is not None else {"username": "jane"})
        ),
        "upstream": answer,
        "answer": answer,
    }
    return Record(**{**given, **more})


def diff(old: str, new: str, *records: Record) -> Comparison:
    return compare(records, rules(old), rules(new), rehearse, (KEY,))


def fields(changed: Changed) -> dict[str, tuple[str | None, str | None]]:
    return {change.field: (change.old, change.new) for change in changed.changes}


NOTHING = "  - {name: a, before: [{headers: {set: {x-a: '1'}}}]}\n"
DENIES = "  - {name: d, before: [{when: request.body.username == 'jane', deny: {reason: No., code: NO}}]}\n"


def test_the_same_rules_change_nothing() -> None:
    found = diff(NOTHING, NOTHING, *(record(n) for n in range(5)))
    assert (found.total, found.changed, found.unknown) == (5, [], [])


def test_exactly_the_exchanges_that_change_are_named() -> None:
    found = diff(NOTHING, NOTHING + DENIES, record(1), record(2, request={"username": "maria"}), record(3))
    assert [one.id for one in found.changed] == ["exchange-1", "exchange-3"]
    told = fields(found.changed[0])
    assert told["status"] == ("200", "403")
    assert told["answered by"] == ("upstream", "denied by d (deny)")
    assert told["request"] == ("forwarded", "not forwarded")
    assert told["rules that ran"] == ("a", "a, d")
    assert found.unknown == []
    assert found.other_rules == ["exchange-2"]
    assert [len(group) for group in found.groups()] == [2]


@pytest.mark.parametrize(
    ("step", "field", "old", "new"),
    [
        ("before: [{headers: {set: {x-a: '2'}}}]", "request header x-a", "1", "2"),
        ("before: [{headers: {set: {x-a: '1', x-b: '2'}}}]", "request header x-b", None, "2"),
        ("before: [{headers: {set: {x-a: '1'}}}, {query: {set: {a: b}}}]", "request query a", None, "b"),
        ("before: [{headers: {set: {x-a: '1'}}}, {path: {to: /x}}]", "request path", "/login", "/x"),
        ("before: [{headers: {set: {x-a: '1'}}}, {body: {set: {n: 1}}}]", "request body n", None, "1"),
        ("before: [{headers: {set: {x-a: '1'}}}], after: [{status: {code: 201}}]", "status", "200", "201"),
        (
            "before: [{headers: {set: {x-a: '1'}}}], after: [{body: {set: {userId: u2}}}]",
            "answer body userId",
            "u1",
            "u2",
        ),
    ],
)
def test_a_change_is_told_field_by_field(step: str, field: str, old: str | None, new: str | None) -> None:
    found = diff(NOTHING, f"  - {{name: a, {step}}}\n", record())
    told = fields(found.changed[0])
    assert told.keys() - {"reason phrase"} == {field}
    assert told[field] == (old, new)


def test_a_cookie_and_a_field_that_is_removed_are_told_without_their_values() -> None:
    steps = "[{cookies: {set: {c: {value: test-only-cookie}}}}, {body: {remove: [userId]}}]"
    told = fields(diff(NOTHING, NOTHING[:-2] + f", after: {steps}}}\n", record()).changed[0])
    assert told.keys() == {"answer header set-cookie", "answer body userId"}
    assert "test-only-cookie" not in (told["answer header set-cookie"][1] or "")
    assert (told["answer body userId"][0] or "").startswith("redacted-")


def test_the_clock_is_that_of_the_record() -> None:
    late = "  - {name: t, before: [{when: now > timestamp('2026-01-01T00:00:02Z'), deny: {reason: Late.}}]}\n"
    found = diff(NOTHING, late, record(1), record(2), record(3))
    assert [one.id for one in found.changed if fields(one).get("status")] == ["exchange-3"]


def test_a_limit_counts_over_the_recording() -> None:
    limit = "  - {name: l, before: [{limit: {key: '${request.body.username}', requests: 2, per: 1h}}]}\n"
    found = diff(NOTHING, NOTHING + limit, *(record(n) for n in (1, 2, 3)), record(4, request={"username": "maria"}))
    assert [(one.id, fields(one)["status"]) for one in found.changed] == [("exchange-3", ("200", "429"))]


def test_a_body_that_is_not_recorded_is_unknown_where_a_rule_reads_it() -> None:
    cut = record(request="x")
    cut.request.body = Body(100_000, why="longer than what is recorded")
    found = diff(NOTHING, DENIES, cut)
    assert found.changed == []
    assert "the request's body is not recorded: longer" in found.unknown[0].why
    assert diff(NOTHING, NOTHING, cut).unknown == []


def test_a_lookup_gets_the_answer_that_was_recorded() -> None:
    asks = """  - name: looks
    before:
      - lookup: {url: "https://risk.example/score/${request.body.username}", into: risk}
      - {when: risk.body.score > %d, deny: {reason: Risky.}}
"""
    known = EffectRecord(
        "lookup", "looks", "GET", "https://risk.example/score/jane", 200, [("content-type", "application/json")],
        body='{"score": 5}',
    )  # fmt: skip
    found = diff(asks % 9, asks % 4, record(effects=[known]))
    assert fields(found.changed[0])["status"] == ("200", "403")
    found = diff(NOTHING, asks % 4, record())
    assert found.changed == []
    assert "rule looks calls GET https://risk.example/score/jane, which is not recorded" in found.unknown[0].why


def test_what_was_denied_and_now_is_forwarded_changes_though_its_answer_is_unknown() -> None:
    denied = record(upstream=None, status=403, verdict=VerdictRecord("rule", "d", denied=True))
    denied.upstream = None
    found = diff(DENIES, NOTHING, denied)
    assert fields(found.changed[0])["answered by"][1] == "forwarded, the answer is not recorded"


def test_of_a_request_that_another_proxy_sent_on_the_way_there_is_compared_and_the_answer_unknown() -> None:
    asked = record(status=None, verdict=VerdictRecord(None), upstream=None, answer=None)
    asked.upstream = None
    asked.forwarded = asked.request
    (changed,) = diff(NOTHING, NOTHING.replace("'1'", "'2'"), asked).changed
    assert (fields(changed), changed.doubt) == ({"request header x-a": ("1", "2")}, None)
    assert [one.why for one in diff(NOTHING, NOTHING, asked).unknown] == ["the upstream's answer is not recorded"]
    # That it has a body is known, though not how long it is.
    asked.request.body = Body(0, why="not told by the proxy that asks")
    assert [one.why for one in diff(NOTHING, DENIES, asked).unknown] == [
        "the request's body is not recorded: not told by the proxy that asks"
    ]


def test_an_upstream_that_failed_fails_again() -> None:
    failed = record(status=502, verdict=VerdictRecord("proxy"), error="the upstream cannot be reached")
    failed.upstream = None
    failed.forwarded = failed.request
    found = diff(NOTHING, DENIES, failed)
    assert fields(found.changed[0])["status"] == ("502", "403")
    assert diff(NOTHING, NOTHING, failed).unknown == []


def test_what_old_rules_do_not_repeat_is_unknown_and_never_unchanged() -> None:
    verifies = (
        "  - {name: v, before: [{verify_token: {from: '${request.bearer}', keys: {secret: '${secret:key}'}, "
        "algorithms: [HS256], into: t}}]}\n"
    )
    token = jwt.encode({"sub": "u", "exp": 1_767_229_200}, KEY).rpartition(".")[0] + ".cmVkYWN0ZWQ"
    one = record(rules=rules(verifies).revision)
    one.request.headers.append(("Authorization", f"Bearer {token}"))
    found = diff(verifies, verifies, one)
    assert found.changed == []
    assert (
        "OLD gives 401 (v) where 200 (upstream) was recorded: a value that is redacted decides" in found.unknown[0].why
    )


def test_a_return_to_a_suspended_exchange_is_unknown() -> None:
    found = diff(NOTHING, NOTHING, record(path="/.vestibule/continue?state=redacted-0123456789abcdef"))
    assert "suspended" in found.unknown[0].why


def test_no_secret_of_the_rules_is_shown() -> None:
    sends = "  - {name: a, before: [{headers: {set: {x-a: '1', x-plain: '${secret:key}'}}}]}\n"
    found = diff(NOTHING, sends, record())
    old, new = fields(found.changed[0])["request header x-plain"]
    assert old is None
    assert new is not None
    assert KEY not in new
    mints = (
        "  - {name: a, before: [{headers: {set: {x-a: '1'}}}], after: [{mint_token: {key: '${secret:key}', algorithm: "
        "HS256, claims: {sub: u}, expires_in: 60s, into: t}}, {body: {set: {fresh: '${t}'}}}]}\n"
    )
    found = diff(NOTHING, mints, record())
    [(field, (old, new))] = fields(found.changed[0]).items()
    assert field == "answer body fresh"
    assert "eyJ" not in (new or "")
