"""How the exchanges of a case call the engine: as they do in `vestibule test`, or seen by somebody who watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, Protocol, TypeVar

from ...engine.message import Request, Response
from ...engine.ruleset import Rule, Ruleset, Step

P = ParamSpec("P")
T = TypeVar("T")


class Call(Protocol):
    """Calls the engine for one exchange."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


def plainly(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the engine, and nothing else."""
    return work(*args, **kwargs)


class Watch:
    """Watches nothing; a subclass sees each call of the engine, and gives the messages that are played."""

    request: type[Request] = Request
    response: type[Response] = Response

    def exchange(self) -> Call:
        """Give what calls the engine for one more exchange; asked in the order of the case."""
        return plainly


# Gives the step that takes the place of one: its rule, its phase, its place there, and itself.
Wrap = Callable[[Rule, str, int, Step], Step]


def with_steps(ruleset: Ruleset, wrap: Wrap, kind: type[Ruleset] = Ruleset) -> Ruleset:
    """Give a rule set of the same rules with other steps."""

    def wrapped(rule: Rule, phase: str, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(wrap(rule, phase, index, step) for index, step in enumerate(steps))

    return kind(
        [
            replace(
                rule,
                before=wrapped(rule, "before", rule.before),
                after=wrapped(rule, "after", rule.after),
                resume=wrapped(rule, "continue", rule.resume),
            )
            for rule in ruleset.rules
        ],
        ruleset.operations,
        dialect=ruleset.dialect,
        checks=ruleset.checks,
        configuration=ruleset.configuration,
        redact=ruleset.redact,
        revision=ruleset.revision,
        codec=ruleset.codec,
    )
