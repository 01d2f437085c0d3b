"""Plays the exchanges of a case: one after the other or together, on one clock, by the engine that serves.

Here the engine is called with the messages at once. Who brings them to it by another way takes the exchanges from
`Stage.groups`, plays each as a Playing, and gives them to `Stage.played`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ...engine import returns, run
from ...engine.effects import Effect, Lookup
from ...engine.errors import ABSORBED, CostExceeded, EffectFailed, EvaluationError, Unreadable
from ...engine.exchange import Exchange
from ...engine.message import Headers, Limits, Request, Response
from ...engine.ruleset import Ruleset
from ..cel import to_json
from .comparison import compare
from .content import Expectation, GivenRequest, GivenUpstream, listed
from .expressions import Seen, compiled
from .filling import fillings
from .findings import Finding, Fix, Loc
from .messages import CaseError, make_request, make_response
from .model import Case, Given, OneByOne, Play, Together
from .names import Names
from .outside import CaseWorld
from .rehearsing import NotGivenError, Rehearse, Waiting
from .watching import Watch

# What the edge answers when the auth service gives none.
_UPSTREAM_FAILURES = {"down": (502, "the upstream cannot be reached"), "late": (504, "the upstream is late")}

# Where an exchange rests: at the call of the auth service (None), or at an effect that another one must end.
_Rest = Waiting | None


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a case. `ran` has rules in shadow too; `fixes` would make what is expected be what came."""

    findings: tuple[Finding, ...]
    ran: tuple[str, ...]
    fixes: tuple[Fix, ...] = ()


class Stage:
    """What the exchanges of one case share: rules, clock, randomness, store, names."""

    def __init__(
        self,
        ruleset: Ruleset,
        given: Given,
        case: Case,
        rehearse: Rehearse,
        limits: Limits,
        watch: Watch | None = None,
    ) -> None:
        self.ruleset = ruleset
        self.watch = watch or Watch()
        self.case = case
        self.limits = limits
        self.now = given.now.timestamp()
        self.entropy = _entropy(case.name)
        self.names = Names(given, case, self.clock)
        self.world = CaseWorld(ruleset, given, case, self.names)
        self._performer = rehearse(self.clock, self.world)

    def clock(self) -> float:
        return self.now

    def perform(self, effect: Effect, playing: Playing) -> object:
        """Perform an effect of an exchange at once: its result, or a Waiting; raise EffectFailed or CaseError."""
        self.world.lookups, self.world.calls = playing.lookups, playing.calls
        return self._performer.perform(effect)

    def play(self) -> Played:
        """Play the whole case."""
        played: list[_Playing] = []
        for wait, group in self.groups():
            self.now += wait
            playing = [_Playing(self, play, answers) for play, answers in group]
            _drive(playing)
            played += playing
        return self.played(played)

    def groups(self) -> list[Group]:
        """Give the exchanges in groups, one group after the other."""
        case = self.case
        if case.exchanges is not None:
            return [group for exchange in case.exchanges for group in _groups(exchange)]
        if case.request is None:
            raise ValueError("a case without a request is not played")
        only = OneByOne(request=case.request, upstream=case.upstream)
        if "expect" in case.model_fields_set:
            only = only.model_copy(update={"expect": case.expect})
        return list(_groups(only))

    def played(self, played: Sequence[Playing]) -> Played:
        """Say what came of the case."""
        ran = dict.fromkeys(name for one in played for name in one.ran)
        places = {id(play): loc for loc, play in _places(self.case)}
        fixes = (
            Fix((*places.get(id(one.play), ()), "expect", *fix.loc), fix.value) for one in played for fix in one.fixes
        )
        return Played(tuple(_told([one.findings for one in played])), tuple(ran), tuple(fixes))


def _places(case: Case) -> Iterator[tuple[Loc, Play]]:
    """Give the exchanges of a case with their places in it; the one of a case that has no list stands in itself."""
    for index, exchange in enumerate(case.exchanges or ()):
        if isinstance(exchange, OneByOne):
            yield ("exchanges", index), exchange
        else:
            yield from ((("exchanges", index, "together", inner), play) for inner, play in enumerate(exchange.together))


def _told(findings: Sequence[list[Finding]]) -> Iterator[Finding]:
    """Say of which exchange each finding is; the same findings of several in a row are told once."""
    total, first = len(findings), 0
    for same, group in groupby(findings):
        last = first + len(list(group))
        which = f"exchange {last}" if last == first + 1 else f"exchanges {first + 1} to {last}"
        place = f"{which} of {total}: " if total > 1 else ""
        yield from (finding.of(place) for finding in same)
        first = last


class Answers:
    """The auth service's answers to an exchange and its repetitions."""

    def __init__(self, play: Play) -> None:
        self._several = isinstance(play.upstream, list)
        self.given: list[GivenUpstream] = listed(play.upstream if play.upstream is not None else GivenUpstream())
        self._calls = 0

    def next(self) -> GivenUpstream:
        self._calls += 1
        if not self._several:
            return self.given[0]
        if self._calls > len(self.given):
            raise CaseError(f"the auth service was called {self._calls} times; `upstream` has {len(self.given)}")
        return self.given[self._calls - 1]


# What is under way at the same time, and how long the clock goes on before.
Group = tuple[float, list[tuple[Play, Answers]]]


def _groups(exchange: OneByOne | Together) -> Sequence[Group]:
    """Give what is under way at the same time, one group after the other, with how long the clock goes on before."""
    if isinstance(exchange, OneByOne):
        answers = Answers(exchange)
        return [(exchange.wait, [(exchange, answers)])] * exchange.repeat
    return [(exchange.wait, [pair for play in exchange.together for pair in [(play, Answers(play))] * play.repeat])]


def _drive(playing: Sequence[_Playing]) -> None:
    """Bring all to where they rest, then answer one after the other, as those that wait can go on."""
    for one in playing:
        one.go()
    while resting := [one for one in playing if not one.over]:
        free = [one for one in resting if isinstance(one.rest, Waiting) and one.rest.over]
        called = [one for one in resting if one.rest is None]
        if free or called:
            (free or called)[0].go()
        else:
            resting[0].give_up()


class Playing:
    """One exchange of a case: what it is given, and what came of it."""

    def __init__(self, stage: Stage, play: Play, answers: Answers) -> None:
        self.stage = stage
        self.play = play
        self.answers = answers
        self.lookups = play.lookups
        self.calls: list[Lookup] = []
        self.findings: list[Finding] = []
        self.fixes: list[Fix] = []
        self.ran: list[str] = []

    def begin(self) -> tuple[GivenRequest, Expectation]:
        """Give the request and what is expected, with the names that are known by now."""
        names, play = self.stage.names, self.play
        given = names.fill(play.request, play.tokens), names.fill(play.expect or Expectation(), play.tokens)
        self.lookups = names.fill(play.lookups, play.tokens)
        return given

    def answer(self) -> GivenUpstream:
        """Give the answer of the auth service to the call that is made now; raise CaseError."""
        return self.stage.names.fill(self.answers.next(), self.play.tokens)

    def end(self, expect: Expectation, exchange: Exchange, forwarded: Request | None, answer: Response | None) -> None:
        """Compare what came with what is expected, and keep what later exchanges name."""
        found = compare(expect, exchange, forwarded, answer, self.calls)
        self.findings += found
        if "expect" in self.play.model_fields_set:
            self.fixes += [finding.fix for finding in found if finding.fix is not None]
            self.fixes += fillings(expect, exchange, forwarded, answer)
        shadows = [note.rule for note in exchange.notes if note.kind == "shadow"]
        self.ran = [*exchange.ran, *shadows]
        seen = Seen(forwarded, answer, tuple(self.calls))
        for source in expect.holds or ():
            held, why = _value(source, seen)
            if held is not True:
                self.findings.append(Finding(f"holds: {source}: {why or f'expected true, got {held!r}'}"))
        for name, source in self.play.keep.items():
            value, why = _value(source, seen)
            if why is None:
                self.stage.names.keep(name, value)
            else:
                self.findings.append(Finding(f"keep.{name}: {source}: {why}"))


class _Playing(Playing):
    """One exchange under way in the engine."""

    def __init__(self, stage: Stage, play: Play, answers: Answers) -> None:
        super().__init__(stage, play, answers)
        self.call = stage.watch.exchange()
        self.rest: _Rest = None
        self.over = False
        self._run = self._play()

    def go(self) -> None:
        self._move(lambda: next(self._run))

    def give_up(self) -> None:
        """End a wait that no other exchange will end."""
        failed = EffectFailed("the exchange that it waits for did not go on", late=True)
        self._move(lambda: self._run.throw(failed))

    def _move(self, move: Callable[[], _Rest]) -> None:
        try:
            self.rest = move()
        except StopIteration:
            self.over = True
        except CaseError as error:
            self.findings.append(Finding(str(error)))
            self.over = True

    def _play(self) -> Generator[_Rest, None, None]:
        stage, call = self.stage, self.call
        given, expect = self.begin()
        forwarded: Request | None = None
        try:
            request = make_request(given, stage.ruleset, stage.limits, stage.watch.request)
        except Unreadable as error:
            # What the proxy does not take is refused before there is an exchange with rules.
            exchange = self._begin(Request("GET", "/", None, Headers(), limits=stage.limits))
            exchange.chosen = stage.ruleset.none
            answer = yield from self._settle(call(run.refuse, exchange, error.status, error.cause))
            self.end(expect, exchange, None, answer)
            return
        exchange = self._begin(request)
        try:
            if returns.is_reserved(request.path):
                begun = call(returns.resume, exchange)
            else:
                call(stage.ruleset.choose, exchange)
                begun = call(run.before, exchange)
            answer = yield from self._settle(begun)
        except Unreadable as error:
            answer = yield from self._settle(call(run.refuse, exchange, error.status, error.cause))
        if answer is None:
            forwarded = exchange.request.copy()
            yield None
            upstream = self.answer()
            if upstream.fails is not None:
                result = call(run.refuse, exchange, *_UPSTREAM_FAILURES[upstream.fails])
            else:
                result = call(run.after, exchange, make_response(upstream, stage.limits, stage.watch.response))
            answer = yield from self._settle(result)
        self.end(expect, exchange, forwarded, answer)

    def _begin(self, request: Request) -> Exchange:
        stage = self.stage
        return self.call(run.begin, stage.ruleset, request, clock=stage.clock, entropy=stage.entropy)

    def _settle(self, result: Response | run.Pending | None) -> Generator[_Rest, None, Response | None]:
        """Perform effects until there is an answer, or None."""
        while isinstance(result, run.Pending):
            try:
                value = self.stage.perform(result.effect, self)
                if isinstance(value, Waiting):
                    yield value
                    value = value.take()
            except EffectFailed as error:
                if isinstance(error, NotGivenError):
                    self.findings.append(Finding(error.cause))
                result = self.call(result.fail, error, 0.0)
            except CaseError as error:
                self.findings.append(Finding(str(error)))
                result = self.call(result.fail, EffectFailed("the case cannot answer"), 0.0)
            else:
                result = self.call(result.resume, value, 0.0)
        return result


def _value(source: str, seen: Seen) -> tuple[object, str | None]:
    """Give the value of an expression, or why it has none."""
    try:
        return to_json(compiled(source).run(seen)), None
    except (EvaluationError, Unreadable) as error:
        return None, error.cause
    except (*ABSORBED, CostExceeded) as error:
        return None, f"it failed: {type(error).__name__}"


def _entropy(seed: str) -> Callable[[int], bytes]:
    """Give bytes that are the same in every run of a case."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed}\0{count}".encode()).digest(size)

    return entropy
