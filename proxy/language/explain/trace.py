"""What an explanation is: plain data, for who shows it, writes it down or compares it with another.

Values are texts (JSON where they came from a body or an expression), None where there is nothing. What is secret is
masked already, unless secrets were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# `no match`: some condition of its match failed. `left out`: not in its `fraction` this time. `not reached`: it
# matched, and the phase was over before. `skipped`: it failed, and `on_error: continue` took it out.
RuleState = Literal["ran", "no match", "left out", "not reached", "skipped", "failed", "off"]
# `not held`: its `when` gave false. `not done`: in shadow, and what it asks for cannot be done there.
StepState = Literal["ran", "not held", "not reached", "failed", "not done"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of a match: what it wants, and what this exchange has. `saw` is None where there is no such thing."""

    key: str
    wanted: str
    saw: str | None
    held: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a `when` and its value, or why it has none; `depth` says how deep it lies in the expression."""

    text: str
    value: str | None
    error: str | None
    depth: int


@dataclass(frozen=True, slots=True)
class When:
    """A `when` that was asked: what it gave, or why it gave nothing."""

    text: str
    held: bool | None
    error: str | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was. `of` is the request, the response, the variables or the answers to come.

    `place` is what of it: `path`, `status`, `header x-site`, `body a.b[0]`, a variable's name.
    """

    of: Literal["request", "response", "variables", "answers to come"]
    place: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """An effect: what was asked of the world outside, and what it gave or why it failed."""

    kind: str
    what: str
    given: str | None
    error: str | None


@dataclass(slots=True)
class StepTrace:
    """One run of a step, or that there was none. `order` counts the steps of the exchange as they were taken.

    `outcome` says what it came to where the phase did not simply go on; `us` is its cost in microseconds, where known.
    """

    name: str
    action: str
    phase: str
    position: str
    state: StepState = "not reached"
    order: int | None = None
    when: When | None = None
    changes: tuple[Change, ...] = ()
    asked: list[Asked] = field(default_factory=list)
    outcome: str | None = None
    error: str | None = None
    us: float | None = None


@dataclass(slots=True)
class RuleTrace:
    """A rule: whether it matched, and its steps. `note` says why it ended otherwise than its steps say."""

    name: str
    mode: str
    on_error: str
    state: RuleState
    conditions: tuple[Condition, ...]
    steps: list[StepTrace]
    note: str | None = None
    us: float | None = None

    @property
    def failed_conditions(self) -> tuple[Condition, ...]:
        return tuple(condition for condition in self.conditions if not condition.held)

    @property
    def missed_by(self) -> Condition | None:
        """The first condition that failed."""
        return next(iter(self.failed_conditions), None)


@dataclass(frozen=True, slots=True)
class MessageTrace:
    """A message: its first line, its header lines, its body as JSON or in words."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answered the client (`upstream`, `rule`, `proxy`), with what, and why."""

    by: str
    status: int | None
    rule: str | None
    step: str | None
    action: str | None
    reason: str | None
    detail: str | None
    code: str | None
    cause: str | None
    denied: bool


@dataclass(frozen=True, slots=True)
class Remark:
    """What a rule noted: a line of `log`, what a rule in shadow would have done, an answer that was replaced."""

    kind: str
    rule: str
    message: str


@dataclass(slots=True)
class Trace:
    """One exchange, explained.

    The messages are those that came in, were forwarded, arrived from the auth service and went out; None for one that
    there was not. `asked` are the effects that no step asked for. `us` is the cost of the whole in microseconds.
    """

    operation: str | None
    received: MessageTrace
    forwarded: MessageTrace | None
    arrived: MessageTrace | None
    delivered: MessageTrace | None
    rules: list[RuleTrace]
    asked: list[Asked]
    remarks: tuple[Remark, ...]
    decision: Decision
    us: float | None = None

    @property
    def near_misses(self) -> list[RuleTrace]:
        """The rules that did not match, those first that were nearest to it."""

        def distance(rule: RuleTrace) -> tuple[int, int]:
            first = next(index for index, condition in enumerate(rule.conditions) if not condition.held)
            return len(rule.failed_conditions), -first

        return sorted((rule for rule in self.rules if rule.state == "no match"), key=distance)

    @property
    def taken(self) -> list[tuple[RuleTrace, StepTrace]]:
        """The steps that were come to, in the order in which they were."""
        steps = [(rule, step) for rule in self.rules for step in rule.steps if step.order is not None]
        return sorted(steps, key=lambda pair: pair[1].order or 0)
