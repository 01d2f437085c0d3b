"""Telling whose each nanosecond of the engine is, from outside: steps, choosing and bodies are wrapped, nothing in the
engine knows of it.

What is timed is exclusive: a body that a step opens is not time of the step. The clock is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from statistics import median
from typing import Any

from ...engine.body import FormBody, JsonBody
from ...engine.effects import Effect
from ...engine.errors import Unreadable
from ...engine.exchange import Exchange
from ...engine.message import Headers, Limits, Message, Request, Response
from ...engine.ruleset import Outcome, Rule, Ruleset, Running, Step
from .watching import Call, P, T, Watch, with_steps

# Nanoseconds of any beginning.
Clock = Callable[[], int]

# The rows that every exchange has; those of the steps come behind them. REST is what no other row is.
REST, CHOOSING, OPENING, WRITING = range(4)
FIRST_STEP = 4
_CALIBRATIONS = 1001


class Ledger:
    """What is known of one exchange, by row: its time, how often it was entered and others from it, runs, effects."""

    __slots__ = ("effects", "entries", "nested", "runs", "times")

    def __init__(self, size: int) -> None:
        self.times = [0] * size
        self.entries = [0] * size
        self.nested = [0] * size
        self.runs = [0] * size
        self.effects = [0] * size


class Meter(Watch):
    """Times the exchanges of one case; `ledgers` are those since it was last emptied, in the order of the case."""

    def __init__(self, clock: Clock, size: int) -> None:
        self._clock = clock
        self._size = size
        # What happens between the calls of the engine is nobody's.
        self._nobody = self.ledger = Ledger(size)
        self._stack = [REST]
        self._mark = 0
        self.ledgers: list[Ledger] = []
        self.request, self.response = _messages(self)

    def exchange(self) -> Call:
        ledger = Ledger(self._size)
        self.ledgers.append(ledger)

        def call(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            self.ledger = ledger
            ledger.entries[REST] += 1
            self._mark = self._clock()
            try:
                return work(*args, **kwargs)
            finally:
                ledger.times[REST] += self._clock() - self._mark
                self.ledger = self._nobody

        return call

    def enter(self, row: int) -> None:
        """Begin a row within the one that runs; the book-keeping itself is in neither."""
        now = self._clock()
        ledger, stack = self.ledger, self._stack
        ledger.times[stack[-1]] += now - self._mark
        ledger.nested[stack[-1]] += 1
        ledger.entries[row] += 1
        stack.append(row)
        self._mark = self._clock()

    def leave(self) -> None:
        now = self._clock()
        self.ledger.times[self._stack.pop()] += now - self._mark
        self._mark = self._clock()

    def step(self, step: Step, row: int) -> Step:
        """Give the step that does the same and is timed."""
        run, when = step.run, step.when

        def timed(exchange: Exchange) -> Outcome | Running:
            self.ledger.runs[row] += 1
            self.enter(row)
            try:
                outcome = run(exchange)
            finally:
                self.leave()
            return self._drive(outcome, row) if isinstance(outcome, Generator) else outcome

        def asked(exchange: Exchange) -> Any:
            self.enter(row)
            try:
                return when(exchange) if when is not None else True
            finally:
                self.leave()

        return replace(step, run=timed, when=asked if when is not None else None)

    def _drive(self, running: Running, row: int) -> Running:
        """Run a generator of effects; while an effect is performed, nothing is timed."""
        move: Callable[[], Effect] = partial(next, running)
        try:
            while True:
                self.enter(row)
                try:
                    effect = move()
                except StopIteration as stop:
                    outcome: Outcome = stop.value
                    return outcome
                finally:
                    self.leave()
                self.ledger.effects[row] += 1
                try:
                    move = partial(running.send, (yield effect))
                except Exception as error:
                    move = partial(running.throw, error)
        finally:
            running.close()


def timed_rules(ruleset: Ruleset, meter: Meter) -> Ruleset:
    """Give a rule set that does the same and is timed; the rows of its steps are in the order of `steps_of`."""
    rows = count(FIRST_STEP)

    class Timed(Ruleset):
        def choose(self, exchange: Exchange) -> None:
            meter.ledger.runs[CHOOSING] += 1
            meter.enter(CHOOSING)
            try:
                super().choose(exchange)
            finally:
                meter.leave()

    return with_steps(ruleset, lambda _rule, _phase, _index, step: meter.step(step, next(rows)), Timed)


def steps_of(rule: Rule) -> list[tuple[str, Step]]:
    """Give the steps of a rule with their phases, in the order of their rows."""
    phases = (("before", rule.before), ("after", rule.after), ("continue", rule.resume))
    return [(phase, step) for phase, steps in phases for step in steps]


def _messages(meter: Meter) -> tuple[type[Request], type[Response]]:
    """Make the messages whose bodies are opened and written under the meter."""

    class Timed(Message):
        __slots__ = ()

        @property
        def document(self) -> JsonBody | FormBody:
            if self._document is not None:
                return self._document
            meter.ledger.runs[OPENING] += 1
            meter.enter(OPENING)
            try:
                document = super().document
                if isinstance(document, JsonBody):
                    # The engine reads it at the first field that is asked for, which would be time of that step.
                    with suppress(Unreadable):
                        _ = document.top
                return document
            finally:
                meter.leave()

        def settle(self) -> None:
            if not self.edited:
                return
            meter.ledger.runs[WRITING] += 1
            meter.enter(WRITING)
            try:
                super().settle()
            finally:
                meter.leave()

    class TimedRequest(Timed, Request):
        __slots__ = ()

    class TimedResponse(Timed, Response):
        __slots__ = ()

    return TimedRequest, TimedResponse


class Overhead:
    """What timing itself takes, in nanoseconds: of a call of the engine, of a row, of the row from which it is entered.

    Measured on a step that does nothing, so that such a step costs nothing.
    """

    def __init__(self, clock: Clock) -> None:
        meter = Meter(clock, FIRST_STEP + 1)
        step = meter.step(Step(lambda _: None, "", ""), FIRST_STEP)
        exchange = Exchange(
            Ruleset(), Request("GET", "/", None, Headers(), limits=Limits()), clock=lambda: 0.0, entropy=bytes
        )
        for _ in range(_CALIBRATIONS):
            meter.exchange()(_nothing, exchange)
            meter.exchange()(step.run, exchange)
        empty, one = meter.ledgers[::2], meter.ledgers[1::2]
        self.call = median(ledger.times[REST] for ledger in empty)
        self.row = median(ledger.times[FIRST_STEP] for ledger in one)
        self.nested = median(ledger.times[REST] for ledger in one) - self.call

    def net(self, ledger: Ledger) -> list[float]:
        """Give the time of each row without what timing took."""
        net = [
            time - entries * self.row - nested * self.nested
            for time, entries, nested in zip(ledger.times, ledger.entries, ledger.nested, strict=True)
        ]
        net[REST] += ledger.entries[REST] * (self.row - self.call)
        return net


def _nothing(_: Exchange) -> None:
    return None
