"""Explanations as text for people, in 100 columns, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from .. import __version__
from ..language.explain.trace import Asked, Change, Condition, MessageTrace, RuleTrace, StepTrace, Trace, When

_WIDTH = 100
# What a person reads of one value; JSON has all of it.
_LONGEST = 300
_STATES = {
    "ran": ("ran", "green"),
    "skipped": ("failed, and was left out", "yellow"),
    "failed": ("failed", "red"),
    "not reached": ("matched, and was not reached", "yellow"),
    "left out": ("matched, and was left out", "yellow"),
    "off": ("is off", None),
}
_MESSAGES = (
    ("received", "client → vestibule"), ("forwarded", "vestibule → auth service"),
    ("arrived", "auth service → vestibule"), ("delivered", "vestibule → client"),
)  # fmt: skip


def as_data(traces: Sequence[Trace]) -> dict[str, Any]:
    """Give explanations as plain data; within a version of the program's first number, members are only added."""
    return {
        "vestibule": __version__,
        "exchanges": [{**asdict(trace), "near_misses": [rule.name for rule in trace.near_misses]} for trace in traces],
    }


def as_text(traces: Sequence[Trace], *, verbose: bool = False) -> str:
    """Write explanations for people."""
    blocks = []
    for number, trace in enumerate(traces, start=1):
        head = [_bold(f"exchange {number} of {len(traces)}")] if len(traces) > 1 else []
        blocks.append("\n".join([*head, *_Text(verbose=verbose).trace(trace)]))
    return "\n\n".join(blocks) + "\n"


class _Text:
    def __init__(self, *, verbose: bool) -> None:
        self.verbose = verbose

    def trace(self, trace: Trace) -> Iterator[str]:
        operation = f"  {trace.operation}" if trace.operation is not None else ""
        yield _bold(f"{trace.received.start}{operation}")
        yield from _wrapped(_decision(trace), 2)
        if trace.us is not None:
            yield click.style(f"  {trace.us:.1f} µs in the rules and the engine", dim=True)
        matched = [rule for rule in trace.rules if rule.state not in ("no match", "off")]
        for rule in matched:
            yield ""
            yield from self.rule(rule)
        if trace.near_misses:
            yield from ("", _bold("did not match, the nearest first"))
            yield from self.misses(trace.near_misses)
        off = [rule.name for rule in trace.rules if rule.state == "off"]
        if off:
            yield from ("", f"{_bold('off')}: {', '.join(off)}")
        if trace.asked:
            yield from ("", _bold("asked for by the exchange itself"))
            for asked in trace.asked:
                yield from _asked(asked, 2)
        if trace.remarks:
            yield from ("", _bold("notes"))
            for remark in trace.remarks:
                yield from _wrapped(f"{remark.rule}: {remark.message} ({remark.kind})", 2)
        if self.verbose:
            for name, title in _MESSAGES:
                message: MessageTrace | None = getattr(trace, name)
                yield from ("", _bold(title))
                yield from _message(message)

    # Rules

    def rule(self, rule: RuleTrace) -> Iterator[str]:
        words, color = _STATES[rule.state]
        shadow = ", in shadow" if rule.mode == "shadow" else ""
        yield _aside(f"{_bold(rule.name)} {click.style(words + shadow, fg=color)}", _cost(rule.us))
        if rule.note is not None:
            yield from _wrapped(rule.note, 2)
        if self.verbose:
            for condition in rule.conditions:
                yield from _wrapped(f"{condition.key} {condition.wanted}: {_was(condition)}", 2)
        for step in rule.steps:
            yield from self.step(step, shadow=rule.mode == "shadow")

    def step(self, step: StepTrace, *, shadow: bool) -> Iterator[str]:
        yield _aside(f"  {step.name} {_outcome(step, shadow=shadow)}", f"{step.position} {_cost(step.us)}".strip())
        if step.when is not None:
            yield from _when(step.when)
        if step.error is not None:
            yield from _wrapped(click.style(f"failed with {step.error}", fg="red"), 4)
        for change in step.changes:
            yield from _change(change)
        for asked in step.asked:
            yield from _asked(asked, 4)

    def misses(self, rules: Sequence[RuleTrace]) -> Iterator[str]:
        for rule in rules:
            failed = rule.failed_conditions
            told = failed if self.verbose else failed[:1]
            yield f"  {_bold(rule.name)}"
            for condition in told:
                yield from _wrapped(f"{condition.key} {condition.wanted}: {_was(condition)}", 4)
            if len(failed) > len(told):
                yield click.style(f"    and {len(failed) - len(told)} more of its {len(rule.conditions)}", dim=True)


def _decision(trace: Trace) -> str:
    decision = trace.decision
    status = "no answer" if decision.status is None else str(decision.status)
    place = f" ({decision.step})" if decision.step is not None else ""
    match decision.by:
        case "upstream":
            ran = sum(rule.state == "ran" for rule in trace.rules)
            return f"{status} from the auth service; {ran} of {len(trace.rules)} rules ran, none answered"
        case "rule":
            word = "denied" if decision.denied else "answered"
            why = "; ".join(part for part in (decision.reason, decision.code, decision.detail, decision.cause) if part)
            return f"{status}, {word} by {decision.rule}{place}" + (f": {why}" if why else "")
        case _:
            who = f"{decision.rule}{place} failed" if decision.rule is not None else "the proxy answered"
            return f"{status}, {who}: {decision.cause or decision.code or 'no cause'}"


def _was(condition: Condition) -> str:
    saw = "there is none" if condition.saw is None else f"this is {_clipped(condition.saw)}"
    return click.style(saw, fg="green" if condition.held else "red")


def _outcome(step: StepTrace, *, shadow: bool) -> str:
    match step.state:
        case "not held":
            return click.style("did not run", fg="yellow")
        case "not reached":
            return click.style("was not reached", dim=True)
        case "failed":
            return click.style("failed", fg="red")
        case "not done":
            return click.style("is not done in shadow", fg="yellow")
        case _:
            would = "would have " if shadow and step.outcome else ""
            return click.style(would + (step.outcome or "ran"), fg="green")


def _when(when: When) -> Iterator[str]:
    yield from _wrapped(f"when {' '.join(when.text.split())}", 4, hang=5)
    if when.held is None and when.error is None:
        yield "         gave no boolean"
    for part in when.parts:
        value = part.value if part.error is None else click.style(f"no value: {part.error}", fg="red")
        yield from _wrapped(f"{' '.join(part.text.split())} = {_clipped(value or '')}", 9 + 2 * part.depth, hang=2)


def _change(change: Change) -> Iterator[str]:
    what = f"{change.of} {change.place}"
    if change.before is None:
        yield from _wrapped(click.style(f"+ {what}: {_clipped(change.after or '')}", fg="green"), 4, hang=2)
    elif change.after is None:
        yield from _wrapped(click.style(f"- {what}: {_clipped(change.before)}", fg="red"), 4, hang=2)
    else:
        told = f"~ {what}: {_clipped(change.before)} → {_clipped(change.after)}"
        yield from _wrapped(click.style(told, fg="cyan"), 4, hang=2)


def _asked(asked: Asked, indent: int) -> Iterator[str]:
    given = asked.given if asked.error is None else click.style(asked.error, fg="red")
    yield from _wrapped(f"? {asked.kind} {asked.what} → {_clipped(given or 'not answered')}", indent, hang=2)


def _message(message: MessageTrace | None) -> Iterator[str]:
    if message is None:
        yield "  there was none"
        return
    yield from _wrapped(message.start, 2)
    for name, value in message.headers:
        yield from _wrapped(f"{name}: {_clipped(value)}", 2)
    if message.body is not None:
        yield from _wrapped(_clipped(message.body), 2)


# Layout


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _cost(us: float | None) -> str:
    return "" if us is None else f"{us:.1f} µs"


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _aside(left: str, right: str) -> str:
    """Put a text at the right end of a line, dimmed, or below when there is no room."""
    if not right:
        return left
    room = _WIDTH - len(click.unstyle(left)) - len(right)
    told = click.style(right, dim=True)
    return f"{left}{' ' * room}{told}" if room > 0 else f"{left}\n{' ' * max(_WIDTH - len(right), 0)}{told}"


def _wrapped(text: str, indent: int, *, hang: int = 2) -> Iterator[str]:
    """Break a text into lines of the width; one with colours keeps them only when it needs no break."""
    if len(click.unstyle(text)) + indent <= _WIDTH:
        yield " " * indent + text
        return
    yield from textwrap.wrap(
        click.unstyle(text),
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang),
        break_on_hyphens=False,
    )
