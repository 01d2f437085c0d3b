"""Playing exchanges whose rules have effects: rules made by hand, so that each effect is seen by itself."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import msgspec

from proxy.engine.effects import (
    Answer,
    Breaker,
    Effect,
    FetchKeys,
    Lead,
    Lookup,
    Publish,
    Reserve,
    Reserved,
    Settle,
    Share,
    StoreAdd,
    StoreGet,
    StoreIncrement,
    StoreSet,
    StoreTake,
)
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Response
from proxy.engine.ruleset import Operation, PathPattern, Rule, Ruleset, Step
from proxy.language.cases.model import Case, Given
from proxy.language.cases.playing import Played, Stage
from proxy.services.rehearsal import rehearse

LIMITS = Limits()
CRM = "https://crm.example/users/u1"
KEYS = "https://issuer.example/keys"
GIVEN = {"secrets": {"issuer": {"generate": "ES256"}, "other": {"generate": "EdDSA"}}}
ROOT: dict[str, Any] = {"request": {"path": "/"}}

Act = Callable[[Exchange], Generator[Effect, Any, Response | None]]


def answer(body: Any) -> Response:
    headers = Headers.of([("Content-Type", "application/json")], side="response")
    return Response(200, headers, msgspec.json.encode(body), limits=LIMITS, origin="rule")


def play(case: dict[str, Any], *, before: Act | None = None, after: Act | None = None) -> Played:
    rule = Rule(
        "r",
        0,
        before=(Step(before, "test", "step"),) if before is not None else (),
        after=(Step(after, "test", "step"),) if after is not None else (),
    )
    account = Operation("account", "GET", PathPattern(("accounts", None), ("id",)), "problem", "shop")
    model, given = Case.model_validate({"name": "a", **case}), Given.model_validate(GIVEN)
    return Stage(Ruleset([rule], [account]), given, model, rehearse, LIMITS).play()


def say(status: int = 200, **body: Any) -> dict[str, Any]:
    return {"expect": {"response": {"status": status, **({"json": body} if body else {})}}}


def ask(*effects: Effect) -> Act:
    """Make a step that answers with the results of effects."""

    def act(_: Exchange) -> Generator[Effect, Any, Response | None]:
        results = []
        for effect in effects:
            result = yield effect
            results.append(result.decode() if isinstance(result, bytes) else result)
        return answer({"got": results})

    return act


def call(url: str = CRM, method: str = "GET", body: bytes | None = None) -> Act:
    """Make a step that answers with what a lookup gives."""

    def act(_: Exchange) -> Generator[Effect, Any, Response | None]:
        headers = (("x-a", "1"), ("content-type", "application/json")) if body is not None else (("x-a", "1"),)
        found: Answer = yield Lookup(method, url, headers, body)
        return answer({"status": found.status, "headers": dict(found.headers), "body": found.body.decode()})

    return act


def ask_status(lookup: Lookup) -> Act:
    """Make a step that answers with the status of a lookup."""

    def act(_: Exchange) -> Generator[Effect, Any, Response | None]:
        found: Answer = yield lookup
        return answer({"status": found.status})

    return act


def test_a_store_lasts_for_the_exchanges_of_a_case_and_for_no_other() -> None:
    step = ask(StoreGet("k"), StoreAdd("k", b"v", 60.0), StoreIncrement("n", 60.0))
    exchanges = [
        {**ROOT, **say(got=[None, True, 1])},
        {**ROOT, **say(got=["v", False, 2]), "wait": "59s"},
        {**ROOT, **say(got=[None, True, 1]), "wait": "1s"},
    ]
    for _ in range(2):
        assert play({"exchanges": exchanges}, before=step).findings == ()


def test_a_stored_value_is_taken_once() -> None:
    step = ask(StoreSet("k", b"v", 60.0), StoreTake("k"), StoreTake("k"))
    assert play({**ROOT, **say(got=[None, "v", None])}, before=step).findings == ()


def test_a_lookup_gets_the_first_answer_that_fits_the_nearest_first() -> None:
    file_like = [{"method": "POST", "url": CRM, "status": 500}, {"url": CRM, "status": 404}]
    own = [{"url": CRM, "json": {"a": 1}, "headers": {"X-B": "2"}}]
    got: dict[str, Any] = {
        "status": 200,
        "body": '{"a":1}',
        "headers": {"x-b": "2", "content-type": "application/json"},
    }
    exchanges = [
        {**ROOT, "lookups": own, "expect": {"response": {"json": got}}},
        {**ROOT, "expect": {"holds": "response.body.status == 404"}},
    ]
    assert play({"lookups": file_like, "exchanges": exchanges}, before=call()).findings == ()


def test_a_lookup_of_the_upstream_is_described_by_its_operation() -> None:
    case = {
        **ROOT,
        "lookups": [{"operation": "account", "status": 202}],
        "expect": {"holds": "response.body.status == 202"},
    }
    assert play(case, before=call("/accounts/u1?fields=id")).findings == ()
    assert play(case, before=call("/accounts/u1", "DELETE")).findings != ()


def test_a_lookup_that_fails_is_an_error_of_the_rule_and_not_of_the_case() -> None:
    for fails, status in (("down", 503), ("late", 504)):
        case = {**ROOT, "lookups": [{"url": CRM, "fails": fails}], **say(status)}
        assert play(case, before=call()).findings == ()


def test_a_lookup_that_nobody_described_fails_and_is_told() -> None:
    told = f"the rule called GET {CRM} and the case gives no answer for it"
    assert play({**ROOT, **say(503)}, before=call()).findings == (told,)
    near = {**ROOT, "lookups": [{"url": "https://crm.example/user/u1"}]}
    assert play(near, before=call()).findings == (f"{told}; did you mean that for https://crm.example/user/u1?",)


def test_an_address_with_a_name_that_is_kept_later_is_no_answer_before() -> None:
    lookups = [{"url": "https://crm.example/${later}", "status": 500}, {"url": CRM}]
    exchanges = [{**ROOT, "keep": {"later": "'users/u1'"}, "expect": {"holds": "response.body.status == 200"}}]
    exchanges.append({**ROOT, "expect": {"holds": "response.body.status == 500"}})
    assert play({"lookups": lookups, "exchanges": exchanges}, before=call()).findings == ()


def test_calls_are_compared_in_order_and_whole_bodies() -> None:
    case = {**ROOT, "lookups": [{"url": CRM}]}
    post = call(method="POST", body=b'{"code":"123456"}')
    good = [{"method": "POST", "url": CRM, "headers": {"x-a": "1"}, "json": {"code": "123456"}}]
    assert play({**case, "expect": {"lookups": good}}, before=post).findings == ()
    bad = [{"method": "GET", "url": "https://a.example", "headers": {"x-a": "2"}, "absent": ["3456"]}]
    assert play({**case, "expect": {"lookups": bad}}, before=post).findings == (
        "lookups[0].method: expected GET, got POST",
        f"lookups[0].url: expected https://a.example, got {CRM}",
        "lookups[0].headers.x-a: expected ['2'], got ['1']",
        "lookups[0].absent: '3456' stands in the message",
    )
    assert play({**case, "expect": {"lookups": []}}, before=post).findings == (f"lookups: expected 0, got POST {CRM}",)


def test_what_a_call_carried_can_be_kept() -> None:
    keep = {"code": "lookups[0].body.code", "to": "lookups[0].url"}
    second = {"request": {"path": "/", "query": {"code": "${code}"}}, "expect": {"holds": "response.status == 200"}}
    exchanges = [{**ROOT, "keep": keep}, {**second, "lookups": [{"url": "${to}"}]}]
    case = {"lookups": [{"url": CRM}], "exchanges": exchanges}
    assert play(case, before=call(method="POST", body=b'{"code":"123456"}')).findings == ()


def test_an_answer_that_a_rule_caches_is_not_asked_for_again_until_its_time_is_over() -> None:
    step = ask_status(Lookup("GET", CRM, cache=60.0))
    called: dict[str, Any] = {"expect": {"lookups": [{"url": CRM}]}}
    kept: dict[str, Any] = {"expect": {"lookups": []}}
    exchanges = [{**ROOT, **called}, {**ROOT, **kept, "wait": "59s"}, {**ROOT, **called, "wait": "1s"}]
    assert play({"lookups": [{"url": CRM}], "exchanges": exchanges}, before=step).findings == ()
    failed = {"lookups": [{"url": CRM, "status": 500}], "exchanges": [{**ROOT, **called, "repeat": 2}]}
    assert play(failed, before=step).findings == ()


def test_a_service_that_failed_too_often_is_not_called_for_a_while() -> None:
    step = ask_status(Lookup("GET", CRM, breaker=Breaker(window=4, failures=1, open=60.0)))
    called, held = {"expect": {"lookups": [{"url": CRM}]}}, {"expect": {"lookups": [], "response": {"status": 503}}}
    exchanges = [
        {**ROOT, **called, "lookups": [{"url": CRM, "status": 500}]},
        {**ROOT, **called, "lookups": [{"url": CRM, "fails": "down"}]},
        {**ROOT, **held, "repeat": 2},
        {**ROOT, **called, "wait": "60s", "lookups": [{"url": CRM}]},
    ]
    assert play({"exchanges": exchanges}, before=step).findings == ()


def test_a_key_set_has_the_public_keys_of_the_secrets_it_names() -> None:
    def kids(_: Exchange) -> Generator[Effect, Any, Response | None]:
        found = yield FetchKeys(KEYS)
        return answer({"kids": [one["kid"] for one in found]})

    case = {**ROOT, "key_sets": {KEYS: ["issuer", "other"]}, **say(kids=["issuer", "other"])}
    assert play(case, before=kids).findings == ()
    assert play({**case, "key_sets": {KEYS: "late"}, **say(504)}, before=kids).findings == ()
    told = f"the rule asked for the keys at {KEYS} and the case gives no key set for it"
    assert play({**ROOT, **say(503)}, before=kids).findings == (told,)
    near = {**ROOT, "key_sets": {f"{KEYS}/": ["issuer"]}}
    assert play(near, before=kids).findings == (f"{told}; did you mean {KEYS}/?",)


class Guarded:
    """A limit of two failures, as `limit` will have it: reserved before, settled when the answer comes."""

    reserve = Reserve("k", 2, 60.0, None, settles=True)

    def before(self, x: Exchange) -> Generator[Effect, Any, Response | None]:
        found: Reserved = yield self.reserve
        x.variables["ticket"] = found.ticket
        return None if found.ticket is not None else answer({"wait": found.retry_after})

    def after(self, x: Exchange) -> Generator[Effect, Any, Response | None]:
        yield Settle("k", x.variables["ticket"], x.status == 401, 2, 60.0, None)
        return None


def test_reservations_of_exchanges_that_are_under_way_together_are_all_held() -> None:
    guarded = Guarded()
    turned_away = {**ROOT, "expect": {"upstream": "not called"}}
    forwarded = {**ROOT, "expect": {"upstream": {"path": "/"}}}
    together = {"together": [{**forwarded, "repeat": 2}, turned_away]}
    one_by_one = {**forwarded, "repeat": 3}
    assert play({"exchanges": [together, one_by_one]}, before=guarded.before, after=guarded.after).findings == ()
    told = play({"exchanges": [{"together": [{**forwarded, "repeat": 3}]}]}, before=guarded.before, after=guarded.after)
    assert told.findings == ("exchange 3 of 3: upstream: the request was not forwarded (200: r: test)",)


class Shared:
    """One upstream call for all, as `once` will have it."""

    def __init__(self, published: bytes | None = b"one", ttl: float = 60.0) -> None:
        self.published = published
        self.ttl = ttl

    def before(self, x: Exchange) -> Generator[Effect, Any, Response | None]:
        found = yield Share("k")
        if isinstance(found, Lead):
            x.variables["lead"] = found.ticket
            return None
        return answer({"shared": found.decode()})

    def after(self, x: Exchange) -> Generator[Effect, Any, Response | None]:
        yield Publish("k", x.variables["lead"], self.published, self.ttl)
        return None


LED = {**ROOT, "expect": {"upstream": {"path": "/"}}}
FOLLOWED = {**ROOT, "expect": {"upstream": "not called", "response": {"json": {"shared": "one"}}}}


def test_those_who_wait_for_a_shared_call_get_its_answer_and_later_ones_while_it_is_kept() -> None:
    shared = Shared()
    exchanges = [{"together": [LED, {**FOLLOWED, "repeat": 2}]}, {**FOLLOWED, "wait": "59s"}, {**LED, "wait": "1s"}]
    assert play({"exchanges": exchanges}, before=shared.before, after=shared.after).findings == ()


def test_a_shared_answer_that_is_not_kept_is_only_for_those_who_wait() -> None:
    shared = Shared(ttl=0.0)
    exchanges = [{"together": [LED, FOLLOWED]}, LED]
    assert play({"exchanges": exchanges}, before=shared.before, after=shared.after).findings == ()


def test_those_who_wait_for_a_shared_call_that_failed_fail_too_and_the_next_one_calls() -> None:
    shared = Shared(published=None)
    exchanges = [{"together": [LED, {**ROOT, **say(503), "repeat": 2}]}, LED]
    assert play({"exchanges": exchanges}, before=shared.before, after=shared.after).findings == ()


def test_a_shared_call_that_nobody_ends_is_an_error_of_the_rule_that_waits() -> None:
    late = {**ROOT, **say(504)}
    case = {"exchanges": [{"together": [LED, late]}, {**late, "wait": "59s"}, {**LED, "wait": "1s"}]}
    assert play(case, before=Shared().before).findings == ()


def test_exchanges_under_way_together_are_answered_in_their_order() -> None:
    step = ask(StoreIncrement("n", 60.0))
    plays = [{**ROOT, **say(got=[number])} for number in (1, 2, 3)]
    assert play({"exchanges": [{"together": plays}]}, after=step).findings == ()
