"""Suspended exchanges, limits and shared calls, on rules made by hand and a store in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.engine import obligations, returns, run
from proxy.engine.effects import (
    Effect,
    Lead,
    Publish,
    Reserve,
    Reserved,
    Settle,
    Share,
    StoreGet,
    StoreIncrement,
    StoreSet,
    StoreTake,
)
from proxy.engine.errors import EffectFailed, EvaluationError
from proxy.engine.exchange import Deferred, Exchange
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.engine.obligations import Reservation, Sharing
from proxy.engine.ruleset import Rule, Ruleset, Step
from proxy.engine.suspension import Suspend, new_state, resuming_steps

LIMITS = Limits()


class Shell:
    """Performs effects on a dict, as a shell would, and keeps what was asked."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.counts: dict[str, int] = {}
        self.asked: list[Effect] = []
        self.now = 1_000.0
        self.broken: set[type[Effect]] = set()
        self.full = False
        self.shared: bytes | None = None
        self._bytes: Iterator[int] = itertools.count()

    def entropy(self, size: int) -> bytes:
        return (next(self._bytes) % 256).to_bytes(1, "big") * size

    def perform(self, effect: Effect) -> Any:
        self.asked.append(effect)
        if type(effect) in self.broken:
            raise EffectFailed("the store is down")
        match effect:
            case StoreGet(key):
                return self.values.get(key)
            case StoreSet(key, value, _):
                self.values[key] = value
            case StoreTake(key):
                return self.values.pop(key, None)
            case StoreIncrement(key, _):
                self.counts[key] = self.counts.get(key, 0) + 1
                return self.counts[key]
            case Reserve():
                return Reserved(None, 7.2) if self.full else Reserved("ticket")
            case Share():
                return Lead("lead") if self.shared is None else self.shared
        return None

    def drive(self, result: Any) -> Response | None:
        while isinstance(result, run.Pending):
            try:
                value = self.perform(result.effect)
            except EffectFailed as error:
                result = result.fail(error, 0.0)
            else:
                result = result.resume(value, 0.0)
        assert result is None or isinstance(result, Response)
        return result

    def begin(self, ruleset: Ruleset, request: Request) -> Exchange:
        exchange = run.begin(ruleset, request, clock=lambda: self.now, entropy=self.entropy)
        if not returns.is_reserved(request.path):
            ruleset.choose(exchange)
        return exchange

    def login(self, ruleset: Ruleset) -> tuple[Exchange, Response]:
        x = self.begin(ruleset, request("POST", "/login"))
        assert self.drive(run.before(x)) is None
        answer = self.drive(run.after(x, upstream()))
        assert answer is not None
        return x, answer

    def come_back(self, ruleset: Ruleset, query: str, **headers: str) -> tuple[Exchange, Response]:
        x = self.begin(ruleset, request("GET", "/.vestibule/continue", query, **headers))
        answer = self.drive(returns.resume(x))
        assert answer is not None
        return x, answer


def request(method: str, path: str, query: str | None = None, **headers: str) -> Request:
    lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request(method, path, query, Headers.of(lines), limits=LIMITS)


def upstream(status: int = 200) -> Response:
    return Response(status, Headers.of([("X-Upstream", "1")], side="response"), b"TICKET", limits=LIMITS)


def answer(status: int = 403) -> Response:
    return Response(status, Headers(side="response"), b"", limits=LIMITS, origin="rule")


def step(act: Any, name: str = "step", **more: Any) -> Step:
    return Step(act, "test", name, **more)


def mark(name: str) -> Step:
    def act(x: Exchange) -> None:
        x.answer().headers.add(b"X-Ran", name.encode())

    return step(act)


def suspends(*, then: str = "continue", **details: Any) -> Step:
    return step(lambda x: Suspend(answer(), new_state(x), 60.0, then, details))


def proves(x: Exchange) -> Response | None:
    return None if x.request.parameters.has("token") else answer(401)


def rules(*more: Rule, **changed: Any) -> Ruleset:
    first = Rule(
        "mfa", 0, after=(suspends(),), resume=resuming_steps((step(proves), mark("continued"))), revision="1", **changed
    )
    return Ruleset((first, *more))


def state_of(shell: Shell) -> str:
    [key] = [key for key in shell.values if key.startswith("suspended\0")]
    return key.partition("\0")[2]


@pytest.fixture
def shell() -> Shell:
    return Shell()


def test_an_answer_is_withheld_and_delivered_once_the_return_has_proved_itself(shell: Shell) -> None:
    ruleset = rules(Rule("later", 1, after=(mark("later"),), revision="1"))
    x, first = shell.login(ruleset)
    assert first.status == 403
    assert b"TICKET" not in (first.content or b"")
    assert b"x-ran" not in first.headers
    back, second = shell.come_back(ruleset, f"state={state_of(shell)}&token=1")
    assert (second.status, second.content) == (200, b"TICKET")
    assert second.headers.values(b"x-ran") == [b"continued", b"later"]
    assert second.headers.get(b"x-correlation-id") == x.correlation.encode()
    assert back.correlation == x.correlation
    assert back.continues is not None


def test_a_state_is_used_once(shell: Shell) -> None:
    ruleset = rules()
    shell.login(ruleset)
    query = f"state={state_of(shell)}&token=1"
    shell.come_back(ruleset, query)
    _, again = shell.come_back(ruleset, query)
    assert again.status == 401


def test_every_return_that_leads_nowhere_gets_the_same_answer(shell: Shell) -> None:
    ruleset = rules(Rule("on-errors", 1, after=(mark("never"),), origins=frozenset({"proxy", "rule"})))
    shell.login(ruleset)
    state = state_of(shell)
    changed = Ruleset((Rule("mfa", 0, after=(suspends(),), resume=ruleset.rules[0].resume, revision="2"),))
    answers = [
        shell.come_back(ruleset, "token=1")[1],
        shell.come_back(ruleset, "state=&token=1")[1],
        shell.come_back(ruleset, "state=garbled!&token=1")[1],
        shell.come_back(ruleset, f"state={'A' * 43}&token=1")[1],
        shell.come_back(ruleset, f"state={state}&state={state}&token=1")[1],
        shell.come_back(ruleset, f"state={state}")[1],
        shell.come_back(changed, f"state={state}&token=1")[1],
    ]
    shell.now += 61
    answers.append(shell.come_back(ruleset, f"state={state}&token=1")[1])

    def told(one: Response) -> object:
        lines = [line for line in one.headers.lines if line[0] != b"x-correlation-id"]
        correlation = one.headers.get(b"x-correlation-id") or b"-"
        return one.status, lines, (one.content or b"").replace(correlation, b"")

    assert [told(one) for one in answers] == [told(answers[0])] * len(answers)
    assert b"x-ran" not in answers[0].headers


def test_a_wrong_token_leaves_the_state_and_the_tenth_burns_it(shell: Shell) -> None:
    ruleset = rules()
    shell.login(ruleset)
    state = state_of(shell)
    for _ in range(9):
        assert shell.come_back(ruleset, f"state={state}")[1].status == 401
    assert shell.values
    shell.come_back(ruleset, f"state={state}")
    assert not shell.values
    assert shell.come_back(ruleset, f"state={state}&token=1")[1].status == 401


def test_edits_of_response_headers_are_laid_on_a_denial_after_the_return_too(shell: Shell) -> None:
    def lay(headers: Headers, values: tuple[bytes, ...]) -> None:
        headers.set(b"X-Laid", values[0])

    def defer(x: Exchange) -> None:
        x.deferred.append(Deferred("mfa", "0", (b"1",), lay))

    first = Rule(
        "mfa",
        0,
        before=(step(defer),),
        after=(suspends(),),
        resume=resuming_steps((step(proves), step(lambda _: answer(410)))),
        deferrals={"0": lay},
    )
    ruleset = Ruleset((first,))
    shell.login(ruleset)
    _, denied = shell.come_back(ruleset, f"state={state_of(shell)}&token=1")
    assert denied.status == 410
    assert denied.headers.values(b"x-laid") == [b"1"]
    assert b"TICKET" not in (denied.content or b"")


def test_variables_and_the_original_request_are_there_again(shell: Shell) -> None:
    def remember(x: Exchange) -> None:
        x.variables["risk"] = {"score": 7, "raw": b"\0"}

    def look(x: Exchange) -> None:
        assert x.variables["risk"] == {"score": 7, "raw": b"\0"}
        assert (x.request.method, x.request.path) == ("POST", "/login")
        x.answer().headers.add(b"X-Looked", b"1")

    first = Rule(
        "mfa",
        0,
        before=(step(remember),),
        after=(suspends(),),
        resume=resuming_steps((step(proves),)),
    )
    ruleset = Ruleset((first, Rule("later", 1, after=(step(look),))))
    shell.login(ruleset)
    _, second = shell.come_back(ruleset, f"state={state_of(shell)}&token=1")
    assert second.headers.values(b"x-looked") == [b"1"]


def test_an_exchange_that_cannot_be_stored_is_an_error_and_the_answer_stays_withheld(shell: Shell) -> None:
    shell.broken = {StoreSet}
    _, first = shell.login(rules())
    assert first.status == 503
    assert b"TICKET" not in (first.content or b"")


def test_a_rule_in_shadow_suspends_nothing(shell: Shell) -> None:
    x, first = shell.login(rules(shadow=True))
    assert (first.status, first.content) == (200, b"TICKET")
    assert not shell.values
    assert [note.message for note in x.notes] == ["would have suspended the exchange"]


@pytest.mark.parametrize(("path", "status"), [("/.vestibule", 404), ("/.vestibule/other", 404)])
def test_paths_of_the_proxys_own_lead_to_no_rule(path: str, status: int, shell: Shell) -> None:
    x = shell.begin(rules(), request("GET", path))
    found = shell.drive(returns.resume(x))
    assert found is not None
    assert found.status == status


# Limits


def limits(failed: Any = lambda x: x.status == 401, **more: Any) -> tuple[Ruleset, Rule]:
    rule = Rule("limit", 0, **more)

    def reserve(x: Exchange) -> Any:
        asked = Reserve("k", 5, 900.0, None, settles=True)
        found = yield asked
        if found.ticket is None:
            return answer(429)
        obligations.of(x).reservations.append(Reservation(rule, "limit", asked, found.ticket, failed, False))
        return None

    rule.before = (step(reserve), *rule.before)
    return Ruleset((rule,)), rule


@pytest.mark.parametrize(("status", "failed"), [(401, True), (200, False), (500, False)])
def test_a_try_is_settled_by_the_answer_as_it_arrived(status: int, failed: bool, shell: Shell) -> None:
    ruleset, _ = limits()
    x = shell.begin(ruleset, request("POST", "/login"))
    assert shell.drive(run.before(x)) is None
    found = shell.drive(run.after(x, upstream(status)))
    assert found is not None
    assert found.status == status
    assert shell.asked[-1] == Settle("k", "ticket", failed, 5, 900.0, None)
    assert x.obligations is None


def test_a_try_whose_request_was_not_forwarded_is_given_back(shell: Shell) -> None:
    for more in ({"before": (step(lambda _: answer(403)),)}, {"before": (step(lambda _: 1 / 0),)}):
        ruleset, _ = limits(**more)
        x = shell.begin(ruleset, request("POST", "/login"))
        assert shell.drive(run.before(x)) is not None
        assert shell.asked[-1] == Settle("k", "ticket", False, 5, 900.0, None)


def test_a_try_whose_upstream_cannot_be_reached_is_given_back(shell: Shell) -> None:
    ruleset, _ = limits()
    x = shell.begin(ruleset, request("POST", "/login"))
    shell.drive(run.before(x))
    found = shell.drive(run.refuse(x, 502, "no upstream"))
    assert found is not None
    assert found.status == 502
    assert shell.asked[-1] == Settle("k", "ticket", False, 5, 900.0, None)


def test_a_try_of_a_rule_that_is_skipped_is_given_back_and_the_request_goes_on(shell: Shell) -> None:
    def fails(_: Exchange) -> None:
        raise EffectFailed("down")

    ruleset, _ = limits(before=(step(fails),), skip_errors=True)
    x = shell.begin(ruleset, request("POST", "/login"))
    assert shell.drive(run.before(x)) is None
    assert shell.asked[-1] == Settle("k", "ticket", False, 5, 900.0, None)


def test_a_try_of_which_it_cannot_be_told_counts_and_is_an_error(shell: Shell) -> None:
    def failed(_: Exchange) -> bool:
        raise EvaluationError("missing", "response")

    ruleset, _ = limits(failed)
    x = shell.begin(ruleset, request("POST", "/login"))
    shell.drive(run.before(x))
    found = shell.drive(run.after(x, upstream()))
    assert found is not None
    assert found.status == 502
    assert shell.asked[-1] == Settle("k", "ticket", True, 5, 900.0, None)


def test_a_try_that_cannot_be_settled_leaves_the_answer_as_it_is(shell: Shell) -> None:
    shell.broken = {Settle}
    ruleset, _ = limits()
    x = shell.begin(ruleset, request("POST", "/login"))
    shell.drive(run.before(x))
    found = shell.drive(run.after(x, upstream(401)))
    assert found is not None
    assert found.status == 401
    assert [note.kind for note in x.notes] == ["not-settled"]


# Shared calls


def shares(**more: Any) -> Ruleset:
    rule = Rule("once", 0, after=(mark("own"),), **more)

    def once(x: Exchange) -> None:
        obligations.of(x).sharing = Sharing(rule, "once", "dwsid", 30.0)

    rule.before = (step(once),)
    return Ruleset((rule,))


def test_the_first_makes_the_call_and_publishes_its_answer_as_it_arrived(shell: Shell) -> None:
    x = shell.begin(shares(), request("POST", "/auth"))
    assert shell.drive(run.before(x)) is None
    assert run.needs_response(x, 200)
    found = shell.drive(run.after(x, upstream()))
    assert found is not None
    assert found.headers.values(b"x-ran") == [b"own"]
    published = shell.asked[-1]
    assert isinstance(published, Publish)
    assert (published.ticket, published.ttl) == ("lead", 30.0)
    assert published.value is not None
    shared = obligations.unpack(published.value, LIMITS)
    assert (shared.status, shared.content, shared.headers.get(b"x-ran")) == (200, b"TICKET", None)


@pytest.mark.parametrize("status", [302, 401, 500])
def test_an_answer_that_is_no_success_goes_only_to_those_who_wait(status: int, shell: Shell) -> None:
    x = shell.begin(shares(), request("POST", "/auth"))
    shell.drive(run.before(x))
    shell.drive(run.after(x, upstream(status)))
    published = shell.asked[-1]
    assert isinstance(published, Publish)
    assert published.value is not None
    assert published.ttl == 0


def test_a_call_that_failed_is_published_as_such(shell: Shell) -> None:
    x = shell.begin(shares(), request("POST", "/auth"))
    shell.drive(run.before(x))
    shell.drive(run.refuse(x, 504, "late"))
    published = shell.asked[-1]
    assert isinstance(published, Publish)
    assert published.value is None


def test_another_one_gets_the_same_answer_and_runs_its_own_after_rules(shell: Shell) -> None:
    shell.shared = obligations.pack(upstream())
    x = shell.begin(shares(), request("POST", "/auth"))
    found = shell.drive(run.before(x))
    assert found is not None
    assert (found.status, found.content, found.origin) == (200, b"TICKET", "upstream")
    assert found.headers.values(b"x-ran") == [b"own"]
    assert not any(isinstance(effect, Publish) for effect in shell.asked)


def test_exchanges_that_differ_in_what_is_sent_do_not_share(shell: Shell) -> None:
    ruleset = shares()
    requests = [
        request("POST", "/auth"),
        request("PUT", "/auth"),
        request("POST", "/auth/"),
        request("POST", "/auth", "a=1"),
        request("POST", "/auth", authorization="Bearer a"),
        request("POST", "/auth", authorization="Bearer b"),
    ]
    for one, content in itertools.product(requests, (None, b"a", b"b")):
        twin = one.copy()
        twin.content = content
        shell.drive(run.before(shell.begin(ruleset, twin)))
    keys = [effect.key for effect in shell.asked if isinstance(effect, Share)]
    assert len(set(keys)) == len(keys) == len(requests) * 3


def test_one_who_waits_in_vain_gets_an_error(shell: Shell) -> None:
    shell.broken = {Share}
    found = shell.drive(run.before(shell.begin(shares(), request("POST", "/auth"))))
    assert found is not None
    assert found.status == 503
