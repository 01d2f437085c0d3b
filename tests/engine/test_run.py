"""Phases, effects and errors, on rules made by hand: what no YAML case can say because no action asks for it yet."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from proxy.engine import dialects, run
from proxy.engine.effects import Effect, Lookup, StoreGet, StoreSet
from proxy.engine.errors import CostExceeded, EffectFailed, EvaluationError, Unreadable
from proxy.engine.exchange import Deferred, Exchange
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.engine.ruleset import Flow, PathPattern, Rule, Ruleset, Run, Step

LIMITS = Limits()


def request(method: str = "GET", path: str = "/", headers: tuple[tuple[str, str], ...] = ()) -> Request:
    return Request(method, path, None, Headers.of(headers), limits=LIMITS)


def upstream(status: int = 200) -> Response:
    return Response(status, Headers.of([("X-Upstream", "1")], side="response"), b"", limits=LIMITS)


def step(act: Run, **more: Any) -> Step:
    return Step(act, "test", "step", **more)


def mark(name: str) -> Step:
    """A step that leaves its name in the variables, in order."""

    def act(x: Exchange) -> None:
        x.variables["order"] = [*x.variables.get("order", []), name]

    return step(act)


def deny(status: int = 403) -> Step:
    return step(lambda x: dialects.answer("problem", status, correlation=x.correlation, limits=LIMITS))


def begin(*rules: Rule, entropy: Callable[[int], bytes] = lambda n: b"\1" * n, **more: Any) -> Exchange:
    for position, rule in enumerate(rules):
        rule.position = position
    exchange = run.begin(Ruleset(rules), request(**more), clock=lambda: 1_000.0, entropy=entropy)
    exchange.ruleset.choose(exchange)
    return exchange


def rule(name: str, **more: Any) -> Rule:
    return Rule(name, 0, **more)


def test_a_request_that_no_rule_stops_is_forwarded_and_its_answer_returned() -> None:
    x = begin(rule("a", before=(mark("before"),), after=(mark("after"),)))
    assert run.before(x) is None
    answer = run.after(x, upstream())
    assert isinstance(answer, Response)
    assert answer.status == 200
    assert x.variables["order"] == ["before", "after"]
    assert x.ran == ["a"]


def test_rules_run_in_file_order_and_steps_in_order() -> None:
    x = begin(rule("a", before=(mark("a1"), mark("a2"))), rule("b", before=(mark("b1"),)))
    run.before(x)
    assert x.variables["order"] == ["a1", "a2", "b1"]


def test_the_first_final_step_ends_the_phase() -> None:
    x = begin(rule("a", before=(deny(), mark("never"))), rule("b", before=(mark("never"),)))
    answer = run.before(x)
    assert isinstance(answer, Response)
    assert (answer.status, answer.origin) == (403, "rule")
    assert "order" not in x.variables
    assert (x.verdict.by, x.verdict.rule) == ("rule", "a")


def test_a_final_step_in_after_lets_the_rules_that_name_its_origin_run_once_even_those_that_ran() -> None:
    both = frozenset({"upstream", "rule"})
    x = begin(
        rule("a", after=(mark("a"),), origins=both),
        rule("b", after=(step(lambda x: deny().run(x) if x.response and x.response.origin == "upstream" else None),)),
        rule("c", after=(mark("c"),), origins=both),
    )
    run.before(x)
    run.after(x, upstream())
    assert x.variables["order"] == ["a", "a", "c"]


def test_a_final_step_on_an_answer_of_a_rule_replaces_it_and_ends_the_exchange() -> None:
    x = begin(
        rule("a", before=(deny(403),)),
        rule("b", after=(deny(410),), origins=frozenset({"rule"})),
        rule("c", after=(mark("never"),), origins=frozenset({"rule"})),
    )
    answer = run.before(x)
    assert isinstance(answer, Response)
    assert answer.status == 410
    assert "order" not in x.variables


def test_an_end_keeps_the_message_and_skips_the_rules_that_follow_in_the_phase() -> None:
    x = begin(rule("a", before=(step(lambda _: Flow.END),)), rule("b", before=(mark("never"),), after=(mark("after"),)))
    assert run.before(x) is None
    run.after(x, upstream())
    assert x.variables["order"] == ["after"]


def test_the_proxys_own_answers_meet_only_the_rules_that_name_their_origin() -> None:
    x = begin(
        rule("a", after=(mark("upstream"),)),
        rule("b", after=(mark("proxy"),), origins=frozenset({"proxy"})),
    )
    answer = run.refuse(x, 502, "the upstream did not answer")
    assert isinstance(answer, Response)
    assert (answer.status, answer.origin) == (502, "proxy")
    assert x.variables["order"] == ["proxy"]


def test_response_headers_of_before_are_laid_on_every_answer_as_it_comes_into_being() -> None:
    def defer(x: Exchange) -> None:
        x.deferred.append(Deferred("a", "0", (), lambda headers, _: headers.set(b"X-Deferred", b"1")))

    seen: list[bool] = []

    def look(x: Exchange) -> None:
        seen.append(b"x-deferred" in x.answer().headers)

    x = begin(rule("a", before=(step(defer),), after=(step(look), deny())))
    run.before(x)
    answer = run.after(x, upstream())
    assert isinstance(answer, Response)
    assert seen == [True]
    assert answer.headers.values(b"x-deferred") == [b"1"]


# Errors


def failing(error: Exception) -> Step:
    def act(_: Exchange) -> None:
        raise error

    return step(act)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unreadable("request", "malformed"), 400),
        (Unreadable("request", "too large", 413), 413),
        (Unreadable("request", "no such type", 415), 415),
        (Unreadable("response", "malformed", 415), 502),
        (EvaluationError("missing", "request"), 400),
        (EvaluationError("missing", "response"), 502),
        (EvaluationError("division by zero"), 500),
        (KeyError("x"), 500),
        (EffectFailed("the store is down"), 503),
        (EffectFailed("the store is late", late=True), 504),
        (CostExceeded(), 500),
        (RecursionError(), 500),
        (RuntimeError("bug"), 500),
    ],
)
def test_an_error_of_a_rule_is_answered_by_its_cause_and_nothing_is_forwarded(error: Exception, status: int) -> None:
    x = begin(rule("a", before=(failing(error), mark("never"))))
    answer = run.before(x)
    assert isinstance(answer, Response)
    assert (answer.status, answer.origin) == (status, "proxy")
    assert (x.verdict.by, x.verdict.rule) == ("proxy", "a")
    assert b"bug" not in (answer.content or b"")


@pytest.mark.parametrize(("side", "status"), [("request", 400), ("response", 502), (None, 500)])
def test_an_error_that_blames_nobody_is_blamed_on_what_the_step_reads(side: Any, status: int) -> None:
    x = begin(rule("a", before=(step(failing(TypeError()).run, side=side),)))
    answer = run.before(x)
    assert isinstance(answer, Response)
    assert answer.status == status


def test_a_when_that_gives_no_boolean_is_an_error() -> None:
    x = begin(rule("a", before=(step(lambda _: None, when=lambda _: "yes"),)))
    answer = run.before(x)
    assert isinstance(answer, Response)
    assert answer.status == 500


def test_on_error_continue_undoes_the_rule_and_leaves_it_out_for_the_rest_of_the_exchange() -> None:
    def edit(x: Exchange) -> None:
        x.request.headers.set(b"X-Half", b"done")
        x.variables["half"] = True
        x.deferred.append(Deferred("a", "0", (), lambda headers, _: headers.set(b"X-Half", b"done")))

    x = begin(
        rule("a", before=(step(edit), failing(EffectFailed("down"))), after=(mark("never"),), skip_errors=True),
        rule("b", before=(mark("b"),)),
    )
    assert run.before(x) is None
    answer = run.after(x, upstream())
    assert isinstance(answer, Response)
    assert b"x-half" not in x.request.headers
    assert b"x-half" not in answer.headers
    assert x.variables == {"order": ["b"]}
    assert [(note.kind, note.rule) for note in x.notes] == [("skipped", "a")]


def test_on_error_continue_does_not_let_an_unreadable_request_through() -> None:
    x = begin(rule("a", before=(failing(Unreadable("request", "duplicate key")),), skip_errors=True))
    answer = run.before(x)
    assert isinstance(answer, Response)
    assert answer.status == 400


# Shadow


def test_a_rule_in_shadow_changes_nothing_and_says_what_it_would_have_done() -> None:
    def edit(x: Exchange) -> None:
        x.request.headers.set(b"X-Shadow", b"1")
        x.variables["shadow"] = True

    x = begin(
        rule("a", before=(step(edit), deny()), shadow=True),
        rule("b", before=(failing(EvaluationError("missing")),), shadow=True),
        rule("c", before=(mark("c"),)),
    )
    assert run.before(x) is None
    assert b"x-shadow" not in x.request.headers
    assert x.variables == {"order": ["c"]}
    assert x.ran == ["c"]
    assert [note.rule for note in x.notes] == ["a", "b"]
    assert "would have answered 403" in x.notes[0].message
    assert "would have failed with 500" in x.notes[1].message


def test_a_rule_in_shadow_may_read_from_outside_and_may_not_write() -> None:
    asked: list[Effect] = []

    def read(_: Exchange) -> Generator[Effect, Any, None]:
        asked.append(StoreGet("k"))
        yield asked[0]

    def write(_: Exchange) -> Generator[Effect, Any, None]:
        yield StoreSet("k", b"v", 60)

    x = begin(rule("a", before=(step(read), step(write), mark("never")), shadow=True))
    pending = run.before(x)
    assert isinstance(pending, run.Pending)
    assert pending.effect is asked[0]
    assert pending.resume(None, 0.0) is None
    assert "not done" in x.notes[0].message
    assert "order" not in x.variables


# Effects


def ask(_: Exchange) -> Generator[Effect, Any, Response | None]:
    first = yield StoreGet("first")
    second = yield Lookup("GET", "https://id.example/")
    return deny().run(_) if (first, second) == (b"1", 2) else None  # type: ignore[return-value]


def test_a_step_that_needs_effects_leaves_the_phase_and_takes_it_up_again() -> None:
    x = begin(rule("a", before=(mark("1"), step(ask), mark("2"))), rule("b", before=(mark("3"),)))
    pending = run.before(x)
    assert isinstance(pending, run.Pending)
    assert pending.effect == StoreGet("first")
    pending = pending.resume(b"1", 0.5)
    assert isinstance(pending, run.Pending)
    assert pending.effect == Lookup("GET", "https://id.example/")
    assert pending.budget == pytest.approx(4.5)
    assert pending.resume(3, 0.1) is None
    assert x.variables["order"] == ["1", "2", "3"]


def test_an_effect_may_end_in_an_answer() -> None:
    x = begin(rule("a", before=(step(ask), mark("never"))))
    pending = run.before(x)
    assert isinstance(pending, run.Pending)
    pending = pending.resume(b"1", 0.0)
    assert isinstance(pending, run.Pending)
    answer = pending.resume(2, 0.0)
    assert isinstance(answer, Response)
    assert answer.status == 403
    assert "order" not in x.variables


@pytest.mark.parametrize(("late", "status"), [(False, 503), (True, 504)])
def test_an_effect_that_fails_is_the_rules_error(late: bool, status: int) -> None:
    x = begin(rule("a", before=(step(ask),)))
    pending = run.before(x)
    assert isinstance(pending, run.Pending)
    answer = pending.fail(EffectFailed("down", late=late), 0.0)
    assert isinstance(answer, Response)
    assert answer.status == status


def test_a_rule_whose_time_is_used_up_asks_for_nothing_more() -> None:
    x = begin(rule("a", before=(step(ask),), timeout=1.0))
    pending = run.before(x)
    assert isinstance(pending, run.Pending)
    answer = pending.resume(b"1", 1.5)
    assert isinstance(answer, Response)
    assert answer.status == 504


# Fractions


def test_a_sticky_value_always_falls_on_the_same_side_and_the_share_is_kept() -> None:
    def side(user: int) -> bool:
        x = begin(rule("a", before=(mark("a"),), fraction=0.3, sticky=lambda _: user))
        run.before(x)
        return "order" in x.variables

    first = [side(user) for user in range(2000)]
    assert first == [side(user) for user in range(2000)]
    assert 0.25 < sum(first) / 2000 < 0.35


def test_a_fraction_of_zero_never_runs() -> None:
    x = begin(rule("a", before=(mark("never"),), fraction=0.0))
    assert run.before(x) is None
    assert "order" not in x.variables


def test_a_sticky_value_that_cannot_be_read_is_the_rules_error() -> None:
    def missing(_: Exchange) -> Any:
        raise EvaluationError("missing", "request")

    x = begin(rule("a", before=(mark("never"),), fraction=0.5, sticky=missing))
    answer = run.before(x)
    assert isinstance(answer, Response)
    assert answer.status == 400


# Choosing


def test_rules_are_chosen_once_on_the_request_as_it_was_received() -> None:
    def move(x: Exchange) -> None:
        x.request.method, x.request.path = "POST", "/b"

    x = begin(
        rule("a", paths=(PathPattern(("a",)),), before=(step(move),), after=(mark("a"),)),
        rule("b", paths=(PathPattern(("b",)),), before=(mark("never"),), after=(mark("never"),)),
        path="/a",
    )
    run.before(x)
    run.after(x, upstream())
    assert x.variables["order"] == ["a"]


def test_get_includes_head() -> None:
    x = begin(rule("a", methods=frozenset({"GET"}), before=(deny(),)), method="HEAD")
    answer = run.before(x)
    assert isinstance(answer, Response)
    assert answer.status == 403


def test_the_memory_of_routes_is_bounded() -> None:
    ruleset = Ruleset([rule("a")])
    for number in range(3 * Ruleset.remembered):
        ruleset.route("GET", f"/{number}")
    assert len(ruleset._routes) <= Ruleset.remembered


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abcdef0123456789", True), ("short", False), ("has space in it", False), ("x" * 200, False), ("", False)],
)
def test_a_well_formed_correlation_id_of_the_client_is_taken_over(sent: str, kept: bool) -> None:
    x = begin(headers=(("X-Correlation-Id", sent),))
    assert (x.correlation == sent) is kept
    assert run.before(x) is None
    assert x.request.headers.values(b"x-correlation-id") == [x.correlation.encode()]


@pytest.mark.skipif(not hasattr(Exchange, "__slots__"), reason="a compiled class does not list its attributes")
def test_a_fork_of_an_exchange_has_all_that_it_had_but_for_notes_and_verdict() -> None:
    exchange = begin()
    for name in Exchange.__slots__:
        if name not in ("request", "ruleset", "clock", "entropy"):
            setattr(exchange, name, {"of": name} if name in ("variables", "state") else [name])
    exchange.response = None
    twin = exchange.fork()
    differs = {name for name in Exchange.__slots__ if getattr(twin, name) != getattr(exchange, name)}
    assert differs == {"request", "notes", "verdict"}
    assert twin.variables is not exchange.variables
