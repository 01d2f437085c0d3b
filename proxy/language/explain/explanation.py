"""What was seen of an exchange, and what its rules were made from, to one explanation."""

from __future__ import annotations

from collections.abc import Iterator

from ...engine.exchange import Exchange
from ...engine.message import Headers, Limits, Request
from ...engine.ruleset import Rule, Step
from . import messages
from .plan import Plan
from .trace import Condition, Decision, Remark, RuleState, RuleTrace, StepTrace, Trace
from .tracer import Key, Recording

_WORDS = {"upstream": "the auth service", "rule": "a rule", "proxy": "the proxy"}


def trace_of(plans: list[Plan], recording: Recording) -> Trace:
    """Explain an exchange that is over."""
    exchange = recording.exchange
    if exchange is None:
        raise ValueError("no exchange was begun")
    return _Explanation(plans, recording, exchange).trace()


class _Explanation:
    def __init__(self, plans: list[Plan], recording: Recording, exchange: Exchange) -> None:
        self.plans = plans
        self.recording = recording
        self.exchange = exchange
        self.masks = recording.masks
        self.request = recording.received or Request("GET", "/", None, Headers(), limits=Limits())
        self.matched = {chosen.rule.name for chosen in recording.matched.rules} if recording.matched else set[str]()
        self.kept = {chosen.rule.name for chosen in exchange.chosen.rules}
        self.skipped = {note.rule: note.message for note in exchange.notes if note.kind == "skipped"}
        self.visits: dict[Key, list[StepTrace]] = {}
        for key, seen in recording.visits:
            self.visits.setdefault(key, []).append(seen)
        self.answers = list(recording.answers)
        delivered = recording.delivered
        if delivered is not None and delivered.origin == "proxy":
            self.answers.append((delivered.origin, delivered.status))

    def trace(self) -> Trace:
        recording, exchange, masks = self.recording, self.exchange, self.masks
        forwarded, arrived, delivered = recording.forwarded, recording.arrived, recording.delivered
        remarks = (Remark(note.kind, note.rule, masks.text(note.message)) for note in exchange.notes)
        return Trace(
            operation=exchange.operation.name if exchange.operation is not None else None,
            received=messages.show(self.request, masks),
            forwarded=messages.show(forwarded, masks) if forwarded is not None else None,
            arrived=messages.show(arrived, masks) if arrived is not None else None,
            delivered=messages.show(delivered, masks) if delivered is not None else None,
            rules=[self.rule(plan) for plan in self.plans],
            asked=recording.asked,
            remarks=tuple(remarks),
            decision=self.decision(),
        )

    def decision(self) -> Decision:
        verdict, delivered = self.exchange.verdict, self.recording.delivered
        reason, detail = (None if text is None else self.masks.text(text) for text in (verdict.reason, verdict.detail))
        return Decision(
            by=verdict.by,
            status=delivered.status if delivered is not None else None,
            rule=verdict.rule,
            step=verdict.step,
            action=verdict.action,
            reason=reason,
            detail=detail,
            code=verdict.code,
            cause=verdict.cause,
            denied=verdict.denies,
        )

    # Rules

    def rule(self, plan: Plan) -> RuleTrace:
        if plan.mode == "off":
            return RuleTrace(plan.rule.name, plan.mode, plan.on_error, "off", (), [])
        steps = list(self.steps(plan.rule))
        conditions = list(self.conditions(plan))
        state, note = self.state(plan, steps, conditions)
        return RuleTrace(plan.rule.name, plan.mode, plan.on_error, state, tuple(conditions), steps, note)

    def steps(self, rule: Rule) -> Iterator[StepTrace]:
        phases: tuple[tuple[str, tuple[Step, ...]], ...] = (
            ("before", rule.before), ("continue", rule.resume), ("after", rule.after)
        )  # fmt: skip
        for phase, steps in phases:
            taken = [seen for index in range(len(steps)) for seen in self.visits.get((rule.name, phase, index), ())]
            # One that runs on a second answer too comes to its steps again.
            yield from sorted(taken, key=lambda seen: seen.order or 0)
            for index, step in enumerate(steps):
                if (rule.name, phase, index) not in self.visits:
                    yield StepTrace(step.name, step.action, phase, step.position)

    def conditions(self, plan: Plan) -> Iterator[Condition]:
        operation = self.exchange.operation
        for planned in plan.conditions:
            yield planned.ask(self.request, operation, self.masks)
        rule = plan.rule
        if plan.mode == "off" or not rule.after:
            return
        origin, status = self.answer(rule)
        of_origin = origin in rule.origins
        if plan.origins is not None or (not of_origin and not rule.before):
            saw = None if origin is None else _WORDS[origin]
            yield Condition("origin", plan.origins or "upstream", saw, of_origin)
        # The status of an answer that it is not for at all tells nothing.
        if of_origin and plan.statuses is not None and rule.statuses is not None:
            yield Condition("status", plan.statuses, str(status), status is not None and rule.statuses(status))

    def answer(self, rule: Rule) -> tuple[str | None, int | None]:
        """Give the answer that a rule's `after` is to be judged by: one that fits, else the first."""
        for origin, status in self.answers:
            if origin in rule.origins and (rule.statuses is None or rule.statuses(status)):
                return origin, status
        return self.answers[0] if self.answers else (None, None)

    def state(self, plan: Plan, steps: list[StepTrace], conditions: list[Condition]) -> tuple[RuleState, str | None]:
        name, verdict = plan.rule.name, self.exchange.verdict
        if name in self.skipped:
            return "skipped", self.masks.text(self.skipped[name])
        if any(step.order is not None for step in steps):
            if verdict.by == "proxy" and verdict.rule == name:
                # The step tells it, unless it failed when the answer came.
                return "failed", None if any(step.error for step in steps) else verdict.cause
            return "ran", None
        if any(not condition.held for condition in conditions):
            return "no match", None
        if name in self.matched and name not in self.kept:
            if verdict.by == "proxy" and verdict.rule == name:
                return "failed", verdict.cause
            return "left out", f"it runs on {plan.rule.fraction:.0%} of the exchanges, and not on this one"
        return "not reached", self.why_not_reached()

    def why_not_reached(self) -> str:
        verdict = self.exchange.verdict
        if verdict.by == "rule":
            return f"{verdict.rule} ended the phase before ({verdict.action})"
        if verdict.rule is not None:
            return f"{verdict.rule} failed before"
        if verdict.by == "proxy":
            return f"the proxy answered before: {verdict.cause}"
        return "a rule before it ended the phase"
