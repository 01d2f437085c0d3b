"""What rules cost, on a clock that goes on only while a step works: every figure is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from proxy.engine.effects import Effect, StoreGet
from proxy.engine.errors import EffectFailed, EvaluationError
from proxy.engine.exchange import Exchange
from proxy.engine.json_body import JsonBody
from proxy.engine.json_nodes import encode
from proxy.engine.message import Headers, Limits, Response
from proxy.engine.ruleset import Flow, Operation, Outcome, PathPattern, Redaction, Rule, Ruleset, Step
from proxy.language.cases import Prepared
from proxy.language.cases.costs import CaseCost, Figure, measure
from proxy.language.cases.meter import FIRST_STEP, Meter, timed_rules
from proxy.language.cases.model import Case, Given
from proxy.language.cel import CelCodec
from proxy.services.rehearsal import rehearse

LIMITS = Limits()
LOGIN: dict[str, Any] = {"request": {"path": "/login", "method": "POST", "json": {"name": "jane", "ttl": 60}}}


class Clock:
    """Nanoseconds that pass only while somebody works."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def work(self, us: int) -> None:
        self.now += us * 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cost(clock: Clock, case: dict[str, Any], *rules: Rule, most: int = 7) -> CaseCost:
    model = Case.model_validate({"name": "a", **case})
    one = Prepared(model, Given(), "x.test.yaml", 3, LIMITS, Ruleset(rules), None)
    (found,) = measure([one], rehearse, clock=clock, seconds=1.0, most=most)
    return found


def works(clock: Clock, us: int, outcome: Outcome = None) -> Callable[[Exchange], Outcome]:
    def run(_: Exchange) -> Outcome:
        clock.work(us)
        return outcome

    return run


def says(clock: Clock, us: int, held: bool) -> Callable[[Exchange], bool]:
    def when(_: Exchange) -> bool:
        clock.work(us)
        return held

    return when


def exactly(us: float) -> Figure:
    return Figure(us, us, us)


def parts(found: CaseCost) -> dict[str, tuple[float, float]]:
    """Give every part as (microseconds, runs)."""
    steps = {f"{rule.name}.{step.name}": (step.figure.us, step.runs) for rule in found.rules for step in rule.steps}
    return {**{part.name: (part.figure.us, part.runs) for part in found.engine}, **steps}


def test_each_step_has_its_own_time_and_a_rule_that_of_its_steps(clock: Clock) -> None:
    first = Rule("first", 0, before=(Step(works(clock, 5), "set", "one"), Step(works(clock, 7), "set", "two")))
    second = Rule("second", 1, after=(Step(works(clock, 11), "headers", "three"),))
    found = cost(clock, LOGIN, first, second)
    assert parts(found) == {
        "choosing": (0, 1), "opening": (0, 0), "writing": (0, 0), "rest": (0, 0),
        "first.one": (5, 1), "first.two": (7, 1), "second.three": (11, 1),
    }  # fmt: skip
    assert [(rule.name, rule.figure.us) for rule in found.rules] == [("first", 12), ("second", 11)]
    assert [step.phase for rule in found.rules for step in rule.steps] == ["before", "before", "after"]
    assert (found.whole, found.exchanges, found.plays) == (exactly(23), (exactly(23),), 7)


def test_shares_are_of_the_whole(clock: Clock) -> None:
    rule = Rule("r", 0, before=(Step(works(clock, 6), "set", "one"), Step(works(clock, 2), "set", "two")))
    found = cost(clock, LOGIN, rule)
    assert [step.share for step in found.rules[0].steps] == [0.75, 0.25]
    assert found.rules[0].share + sum(part.share for part in found.engine) == 1


def test_a_condition_that_does_not_hold_costs_and_its_action_has_no_run(clock: Clock) -> None:
    no = Step(works(clock, 50), "deny", "no", when=says(clock, 3, held=False))
    yes = Step(works(clock, 50), "set", "yes", when=says(clock, 4, held=True))
    found = cost(clock, LOGIN, Rule("r", 0, before=(no, yes)))
    assert parts(found)["r.no"] == (3, 0)
    assert parts(found)["r.yes"] == (54, 1)


def test_a_step_that_is_not_reached_is_there_and_costs_nothing(clock: Clock) -> None:
    ends = Step(works(clock, 2, Flow.END), "end", "ends")
    found = cost(clock, LOGIN, Rule("r", 0, before=(ends, Step(works(clock, 9), "set", "never"))))
    assert parts(found)["r.never"] == (0, 0)
    assert found.whole == exactly(2)


def test_a_rule_that_was_not_chosen_is_not_there(clock: Clock) -> None:
    other = Rule("other", 0, paths=(PathPattern(("other",)),), before=(Step(works(clock, 9), "set", "one"),))
    assert cost(clock, LOGIN, other).rules == ()


def test_choosing_has_the_time_of_what_is_asked_of_a_request(clock: Clock) -> None:
    def asked(_: object) -> bool:
        clock.work(8)
        return True

    rule = Rule("r", 0, predicate=asked, before=(Step(works(clock, 1), "set", "one"),))
    assert parts(cost(clock, LOGIN, rule))["choosing"] == (8, 1)


def test_bodies_are_counted_where_they_are_opened_and_written_and_not_twice(clock: Clock) -> None:
    def edit(exchange: Exchange) -> None:
        clock.work(2)
        body = exchange.request.document
        assert isinstance(body, JsonBody)
        body.root.put("ttl", encode(30))

    def read(exchange: Exchange) -> None:
        clock.work(3)
        assert exchange.request.document.get(("ttl",)) == 30

    rule = Rule("r", 0, before=(Step(edit, "body", "edit"), Step(read, "set", "read")), needs_request=True)
    case = {**LOGIN, "expect": {"upstream": {"json": {"name": "jane", "ttl": 30}}}}
    found = cost(clock, case, rule)
    assert found.findings == ()
    assert parts(found) == {
        "choosing": (0, 1), "opening": (0, 1), "writing": (0, 1), "rest": (0, 0), "r.edit": (2, 1), "r.read": (3, 1),
    }  # fmt: skip


def test_a_step_that_waits_for_a_store_has_only_the_time_in_which_it_runs_itself(clock: Clock) -> None:
    def waits(_: Exchange) -> Generator[Effect, Any, None]:
        clock.work(3)
        yield StoreGet("a")
        clock.work(4)
        yield StoreGet("b")

    def slow(*given: Any) -> Any:
        performer = rehearse(*given)

        class Slow:
            def perform(self, effect: Effect) -> Any:
                clock.work(1000)
                return performer.perform(effect)

        return Slow()

    rule = Rule("r", 0, before=(Step(waits, "cache_get", "get"),))
    one = Prepared(Case.model_validate({"name": "a", **LOGIN}), Given(), "f", 1, LIMITS, Ruleset([rule]), None)
    (found,) = measure([one], slow, clock=clock, seconds=1.0, most=5)
    assert found.whole == exactly(7)
    assert (found.rules[0].steps[0].effects, found.rules[0].steps[0].runs) == (2, 1)


def test_a_step_meets_an_effect_that_failed_as_it_does_when_it_is_not_timed(clock: Clock) -> None:
    def asks(_: Exchange) -> Generator[Effect, Any, Response | None]:
        try:
            yield Effect()
        except EffectFailed:
            clock.work(6)
            return Response(418, Headers(side="response"), limits=LIMITS, origin="rule")
        return None

    rule = Rule("r", 0, before=(Step(asks, "lookup", "ask"),))
    found = cost(clock, {**LOGIN, "expect": {"upstream": "not called", "response": {"status": 418}}}, rule)
    assert (found.findings, parts(found)["r.ask"]) == ((), (6, 1))


def test_a_rule_that_fails_has_the_time_until_it_did(clock: Clock) -> None:
    def fails(_: Exchange) -> None:
        clock.work(5)
        raise EvaluationError("it does not work", "request")

    found = cost(
        clock, {**LOGIN, "expect": {"response": {"status": 400}}}, Rule("r", 0, before=(Step(fails, "set", "x"),))
    )
    assert (found.findings, parts(found)["r.x"]) == ((), (5, 1))


def test_several_exchanges_are_told_one_by_one_and_as_their_mean(clock: Clock) -> None:
    def grows(exchange: Exchange) -> None:
        clock.work(10 if exchange.request.path == "/a" else 30)

    rule = Rule("r", 0, before=(Step(grows, "set", "one"), Step(works(clock, 8), "set", "two", when=is_a)))
    exchanges = [{"request": {"path": "/a"}, "repeat": 3}, {"request": {"path": "/b"}}]
    found = cost(clock, {"exchanges": exchanges}, rule)
    assert found.exchanges == (exactly(18), exactly(18), exactly(18), exactly(30))
    assert found.whole == exactly(21)
    assert parts(found)["r.one"] == (15, 1)
    assert parts(found)["r.two"] == (6, 0.75)


def is_a(exchange: Exchange) -> bool:
    return exchange.request.path == "/a"


def test_exchanges_that_are_under_way_together_are_told_apart(clock: Clock) -> None:
    def works_by_path(exchange: Exchange) -> None:
        clock.work(int(exchange.request.path[1:]))

    step = Step(works_by_path, "set", "one")
    rule = Rule("r", 0, before=(step,), after=(step,))
    together = [{"request": {"path": "/10"}}, {"request": {"path": "/20"}}]
    assert cost(clock, {"exchanges": [{"together": together}]}, rule).exchanges == (exactly(20), exactly(40))


def test_a_case_that_does_not_go_as_it_says_is_told_so(clock: Clock) -> None:
    found = cost(clock, {**LOGIN, "expect": {"response": {"status": 404}}}, Rule("r", 0))
    assert found.findings == ("response.status: expected 404, got 200",)


def test_time_that_is_up_leaves_each_case_a_few_plays(clock: Clock) -> None:
    rule = Rule("r", 0, before=(Step(works(clock, 2_000_000), "set", "slow"),))
    assert cost(clock, LOGIN, rule).plays == 5


def test_a_timed_rule_set_is_the_one_that_serves_but_for_its_steps(clock: Clock) -> None:
    operation = Operation("login", "POST", PathPattern(("login",)), "kibo", "shop")
    given = Ruleset(
        [Rule("r", 0)], [operation], dialect="kibo", checks=[print], configuration={"a": 1},
        redact=Redaction(fields=frozenset({"password"})), revision="1", codec=CelCodec(),
    )  # fmt: skip
    timed = timed_rules(given, Meter(clock, FIRST_STEP))
    names = [name for name in dir(given) if not name.startswith("_") and name not in ("rules", "named")]
    known = {name: getattr(given, name) for name in names if not callable(getattr(given, name))}
    assert known["revision"] == "1"
    assert {name: getattr(timed, name) for name in known} == known
