"""What the rules of cases cost: each case is played again and again by the engine that serves, every step timed.

Time is the caller's: a clock is handed in. What services and stores take is not counted, nor what carries bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...engine.ruleset import Rule
from .meter import CHOOSING, FIRST_STEP, OPENING, REST, WRITING, Clock, Meter, Overhead, steps_of, timed_rules
from .model import Case, OneByOne
from .playing import Stage
from .rehearsing import Rehearse
from .runner import Prepared

# How often a case is played in a row, so that the others' share a slow moment of the machine.
_BLOCK = 20
# Enough for a median, where time is short; and enough for any.
_LEAST = 5
_MOST = 5000


@dataclass(frozen=True, slots=True)
class Figure:
    """Microseconds for one exchange: the median of all plays, and the bounds of their middle half."""

    us: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an exchange; `runs` and `effects` are how often for one exchange, `share` is of all parts together."""

    name: str
    figure: Figure
    share: float
    runs: float
    effects: float = 0.0


@dataclass(frozen=True, slots=True)
class StepCost(Part):
    """A step; it has a cost without a run when its `when` does not hold."""

    action: str = ""
    phase: str = ""
    position: str = ""


@dataclass(frozen=True, slots=True)
class RuleCost:
    """A rule, with all of its steps."""

    name: str
    figure: Figure
    share: float
    steps: tuple[StepCost, ...]


@dataclass(frozen=True, slots=True)
class CaseCost:
    """What the exchanges of a case cost.

    `whole` and all parts are for one exchange, the mean over those of the case; `exchanges` are them one by one.
    `rules` are those that ran. `findings` say how the case went otherwise than it expects.
    """

    file: str
    line: int
    name: str
    plays: int
    whole: Figure
    exchanges: tuple[Figure, ...]
    engine: tuple[Part, ...]
    rules: tuple[RuleCost, ...]
    findings: tuple[str, ...]


def measure(
    cases: Sequence[Prepared], rehearse: Rehearse, *, clock: Clock, seconds: float, most: int = _MOST
) -> list[CaseCost]:
    """Play cases for so many seconds together, each a few times at least; `clock` counts nanoseconds."""
    end = clock() + int(seconds * 1e9)
    overhead = Overhead(clock)
    samples = [_Sample(case, rehearse, clock, overhead) for case in cases]
    for sample in samples:
        for _ in range(_LEAST):
            sample.play()
    while clock() < end and (unfinished := [sample for sample in samples if sample.plays < most]):
        for sample in unfinished:
            for _ in range(_BLOCK):
                if clock() < end and sample.plays < most:
                    sample.play()
    return [sample.cost() for sample in samples]


class _Sample:
    """One case, and what was measured of it."""

    def __init__(self, one: Prepared, rehearse: Rehearse, clock: Clock, overhead: Overhead) -> None:
        if one.ruleset is None:
            raise ValueError("a case without rules costs nothing")
        self.one = one
        self.rehearse = rehearse
        self.overhead = overhead
        self.rules: tuple[Rule, ...] = one.ruleset.rules
        size = FIRST_STEP + sum(len(steps_of(rule)) for rule in self.rules)
        self.meter = Meter(clock, size)
        self.ruleset = timed_rules(one.ruleset, self.meter)
        self.plays = 0
        # What a case expects is compared once, by the first play: it warms what serving has warm.
        self.findings = self.stage(one.case).play().findings
        self.case = _without_expectations(one.case)
        self.count = len(self.meter.ledgers)
        # Nanoseconds of each play: by row, all exchanges together; and by exchange, all rows together.
        self.rows = [array("d") for _ in range(size)]
        self.exchanges = [array("d") for _ in range(self.count)]
        self.runs = [0] * size
        self.effects = [0] * size
        self.entered = [False] * size

    def stage(self, case: Case) -> Stage:
        self.meter.ledgers.clear()
        return Stage(self.ruleset, self.one.given, case, self.rehearse, self.one.limits, self.meter)

    def play(self) -> None:
        self.stage(self.case).play()
        self.plays += 1
        ledgers = self.meter.ledgers
        net = [self.overhead.net(ledger) for ledger in ledgers]
        for times, parts in zip(self.exchanges, net, strict=True):
            times.append(sum(parts))
        for times, together in zip(self.rows, zip(*net, strict=True), strict=True):
            times.append(sum(together))
        for ledger in ledgers:
            for row, entries in enumerate(ledger.entries):
                if entries:
                    self.entered[row] = True
                    self.runs[row] += ledger.runs[row]
                    self.effects[row] += ledger.effects[row]

    def cost(self) -> CaseCost:
        figures = [_figure(times, self.count) for times in self.rows]
        total = sum(figure.us for figure in figures) or 1.0
        shares = [figure.us / total for figure in figures]
        each = self.plays * self.count

        def part(name: str, row: int) -> Part:
            return Part(name, figures[row], shares[row], self.runs[row] / each)

        rules: list[RuleCost] = []
        row = FIRST_STEP
        for rule in self.rules:
            own = range(row, row + len(steps_of(rule)))
            row = own.stop
            if not any(self.entered[one] for one in own):
                continue
            steps = tuple(
                StepCost(
                    step.name, figures[one], shares[one], self.runs[one] / each, self.effects[one] / each,
                    action=step.action, phase=phase, position=step.position,
                )
                for one, (phase, step) in zip(own, steps_of(rule), strict=True)
            )  # fmt: skip
            figure = _figure(_added(self.rows[one] for one in own), self.count)
            rules.append(RuleCost(rule.name, figure, sum(shares[one] for one in own), steps))
        return CaseCost(
            self.one.file,
            self.one.line,
            self.one.case.name,
            self.plays,
            _figure(_added(self.rows), self.count),
            tuple(_figure(times, 1) for times in self.exchanges),
            (
                part("choosing", CHOOSING),
                part("opening", OPENING),
                part("writing", WRITING),
                part("rest", REST),
            ),
            tuple(rules),
            self.findings,
        )


def _added(rows: Iterable[Sequence[float]]) -> list[float]:
    return [sum(times) for times in zip(*rows, strict=True)]


def _figure(times: Sequence[float], exchanges: int) -> Figure:
    """Give microseconds for one exchange; what is less than timing can tell is nothing."""
    ordered = sorted(times)
    last = len(ordered) - 1
    low, us, high = (max(0.0, ordered[round(last * part)] / exchanges / 1000) for part in (0.25, 0.5, 0.75))
    return Figure(us, low, high)


def _without_expectations(case: Case) -> Case:
    """Give a case of which nothing is compared."""
    nothing = {"expect": None}
    exchanges = case.exchanges and [
        exchange.model_copy(update=nothing)
        if isinstance(exchange, OneByOne)
        else exchange.model_copy(update={"together": [play.model_copy(update=nothing) for play in exchange.together]})
        for exchange in case.exchanges
    ]
    return case.model_copy(update={**nothing, "exchanges": exchanges})
