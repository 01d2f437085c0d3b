"""Watching an exchange go through the rules: steps are wrapped, nothing in the engine knows of it.

The rules do what they would do unwatched. What is read for the explanation alone is read from copies, or evaluated
beside what the engine evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ...engine import returns, run
from ...engine.effects import Effect
from ...engine.errors import EffectFailed
from ...engine.exchange import Exchange
from ...engine.faults import classify
from ...engine.message import Request, Response
from ...engine.ruleset import Choice, Flow, Outcome, Rule, Ruleset, Running, Step
from ..cases.watching import Call, P, T, Watch, with_steps
from . import messages
from .asking import asked, given
from .masks import Masks
from .plan import Plan, when_of
from .trace import Asked, StepTrace, When

# A step by its rule, its phase and its place there.
Key = tuple[str, str, int]


class Recording:
    """What was seen of one exchange."""

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.exchange: Exchange | None = None
        self.received: Request | None = None
        self.forwarded: Request | None = None
        self.arrived: Response | None = None
        self.delivered: Response | None = None
        # The rules that matched, before their `fraction` was drawn; and every answer that there was: origin, status.
        self.matched: Choice | None = None
        self.answers: list[tuple[str, int]] = []
        self.visits: list[tuple[Key, StepTrace]] = []
        self.asked: list[Asked] = []
        self._begun = False
        # What a step asked for, so that it is not told a second time as nobody's.
        self._told: Effect | None = None
        # One that waits for its result and is no step's.
        self._nobodys: Effect | None = None

    def see(self, work: object, args: tuple[Any, ...], result: object) -> None:
        """Take in a call of the engine and what it gave."""
        if isinstance(result, Exchange):
            self.exchange = result
            self._receive(result.request)
            return
        if work in (run.before, returns.resume):
            self._begun = True
        if result is None and self._begun and self.exchange is not None and self.forwarded is None:
            self.forwarded = self.exchange.request.copy()
        if isinstance(result, Response):
            self.delivered = result
        if isinstance(result, run.Pending):
            self._nobodys = result.effect if result.effect is not self._told else None
            if self._nobodys is not None:
                self.asked.append(Asked(*asked(result.effect, self.masks), None, None))

    def prepare(self, work: object, args: tuple[Any, ...]) -> None:
        """Take down what a call of the engine is about to change."""
        if self._nobodys is not None and isinstance(getattr(work, "__self__", None), run.Pending):
            effect, self._nobodys = self._nobodys, None
            last = self.asked.pop()
            failed = args[0].cause if isinstance(args[0], EffectFailed) else None
            result = None if failed is not None else given(effect, args[0], self.masks)
            self.asked.append(Asked(last.kind, last.what, result, failed))
        if work is run.before and self.exchange is not None:
            self.matched = self.exchange.chosen
            # A body may have come since.
            self._receive(self.exchange.request)
        if work is run.after:
            arrived: Response = args[1]
            self.arrived = arrived.copy()
            self.answers.append((arrived.origin, arrived.status))
            messages.study(arrived, self.masks)

    def _receive(self, request: Request) -> None:
        self.received = request.copy()
        messages.study(request, self.masks)

    def visit(self, key: Key, step: Step) -> StepTrace:
        seen = StepTrace(step.name, step.action, key[1], step.position, state="ran", order=len(self.visits) + 1)
        self.visits.append((key, seen))
        return seen

    def ask(self, seen: StepTrace, effect: Effect) -> Asked:
        self._told = effect
        one = Asked(*asked(effect, self.masks), None, None)
        seen.asked.append(one)
        return one


class Tracer(Watch):
    """Watches the exchanges of a case; `recordings` are in the order of the case."""

    def __init__(self, plans: Iterable[Plan], ruleset: Ruleset, secrets: Iterable[str], *, show: bool) -> None:
        self.plans: Sequence[Plan] = tuple(plans)
        self.recordings: list[Recording] = []
        self._named = {plan.rule.name: plan for plan in self.plans if plan.mode != "off"}
        self._masks: Callable[[], Masks] = partial(Masks, ruleset.redact, secrets, show=show)
        self._current = Recording(self._masks())
        self.ruleset = with_steps(ruleset, self._wrap)

    def exchange(self) -> Call:
        recording = Recording(self._masks())
        self.recordings.append(recording)

        def call(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            self._current = recording
            recording.prepare(work, args)
            result = work(*args, **kwargs)
            recording.see(work, args, result)
            return result

        return call

    def _wrap(self, rule: Rule, phase: str, index: int, step: Step) -> Step:
        """Give the step that does the same and is seen."""
        key, when, run_ = (rule.name, phase, index), step.when, step.run
        planned = when_of(self._named.get(rule.name), step)
        waiting: dict[int, StepTrace] = {}

        def ask(x: Exchange) -> Any:
            recording = self._current
            seen = waiting[id(recording)] = recording.visit(key, step)
            held: Any = None
            try:
                held = when(x) if when is not None else True
            except Exception as error:
                seen.state, seen.error = "failed", _told(error, step)
                raise
            finally:
                if planned is not None:
                    known = held if isinstance(held, bool) else None
                    parts = tuple(planned.values(x, recording.masks))
                    seen.when = When(planned.text, known, seen.error, parts)
            if held is False:
                seen.state = "not held"
            return held

        def act(x: Exchange) -> Outcome | Running:
            recording = self._current
            seen = waiting.pop(id(recording), None) or recording.visit(key, step)
            before = messages.take(x)
            try:
                outcome = run_(x)
            except Exception as error:
                seen.state, seen.error = "failed", _told(error, step)
                raise
            if isinstance(outcome, Generator):
                return self._drive(outcome, recording, seen, step, before, x)
            self._end(recording, seen, before, x, outcome)
            return outcome

        return replace(step, when=ask if when is not None else None, run=act)

    def _drive(
        self, running: Running, recording: Recording, seen: StepTrace, step: Step, before: messages.Snapshot,
        x: Exchange,
    ) -> Running:  # fmt: skip
        """Run a generator of effects, and take down what it asks for and is given."""
        move: Callable[[], Effect] = partial(next, running)
        try:
            while True:
                try:
                    effect = move()
                except StopIteration as stop:
                    outcome: Outcome = stop.value
                    self._end(recording, seen, before, x, outcome)
                    return outcome
                except Exception as error:
                    seen.state, seen.error = "failed", _told(error, step)
                    raise
                one = recording.ask(seen, effect)
                try:
                    result = yield effect
                except GeneratorExit:
                    seen.state = "not done"
                    raise
                except Exception as failure:
                    told = failure.cause if isinstance(failure, EffectFailed) else type(failure).__name__
                    seen.asked[seen.asked.index(one)] = Asked(one.kind, one.what, None, told)
                    move = partial(running.throw, failure)
                else:
                    text = given(effect, result, recording.masks)
                    seen.asked[seen.asked.index(one)] = Asked(one.kind, one.what, text, None)
                    move = partial(running.send, result)
        finally:
            running.close()

    def _end(
        self, recording: Recording, seen: StepTrace, before: messages.Snapshot, x: Exchange, outcome: Outcome
    ) -> None:
        seen.changes = messages.changes(before, x, recording.masks)
        if isinstance(outcome, Response):
            seen.outcome = f"answered {outcome.status}"
            if x.rule is None or not x.rule.shadow:
                recording.answers.append((outcome.origin, outcome.status))
        elif isinstance(outcome, Flow):
            seen.outcome = "ended the phase"
        elif outcome is not None:
            seen.outcome = f"suspended the exchange, and answered {outcome.answer.status}"
            recording.answers.append((outcome.answer.origin, outcome.answer.status))


def _told(error: Exception, step: Step) -> str:
    status, cause = classify(error, step.side)
    return f"{status}: {cause}"
