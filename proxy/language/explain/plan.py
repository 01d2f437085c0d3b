"""What rules were made from, as far as an explanation needs it: the keys of each match, the parts of each `when`.

Compiled once for a rule set, by what compiles the rules themselves, so that the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...engine.errors import ABSORBED, CostExceeded, EvaluationError, Unreadable
from ...engine.exchange import Exchange
from ...engine.message import Request
from ...engine.ruleset import Operation, PathIndex, Rule, Step
from ..cel import CelProblems, Program, compile
from ..cel.dissect import dissect
from ..compile import Draft
from ..environment import StepScope
from ..match import compile_path, compile_tests
from ..model import Match, Present, Regex
from ..secrecy import Holds, reads_secret
from .masks import Masks
from .messages import plain
from .trace import Condition, Part


@dataclass(frozen=True, slots=True)
class PlannedCondition:
    """A key of a match that is about the request."""

    key: str
    wanted: str
    test: Callable[[Request, Operation | None], bool]
    saw: Callable[[Request, Operation | None, Masks], str | None]

    def ask(self, request: Request, operation: Operation | None, masks: Masks) -> Condition:
        """Ask it of a request; one that cannot be read there does not hold."""
        try:
            saw = self.saw(request, operation, masks)
        except (Unreadable, EvaluationError) as error:
            saw = f"unreadable: {error.cause}"
        try:
            held = self.test(request, operation)
        except (Unreadable, EvaluationError):
            held = False
        return Condition(self.key, self.wanted, saw, held)


@dataclass(frozen=True, slots=True)
class PlannedWhen:
    """A `when` and its parts, each with how deep it lies and whether its value is secret."""

    text: str
    parts: tuple[tuple[int, str, Program, Holds | None], ...]

    def values(self, x: Exchange, masks: Masks) -> Iterator[Part]:
        """Evaluate the parts, also those that the whole did not come to."""
        for depth, text, program, holds in self.parts:
            value: str | None = None
            error: str | None = None
            try:
                found = plain(program.run(x))
                value = masks.secret(found) if holds is not None and holds(x) else masks.json(found)
            except (EvaluationError, Unreadable) as wrong:
                error = wrong.cause
            except (*ABSORBED, CostExceeded) as failure:
                error = type(failure).__name__
            yield Part(text, value, error, depth)


@dataclass(frozen=True, slots=True)
class Plan:
    """A rule as it was written. `whens` are by the identity of their steps."""

    rule: Rule
    mode: Literal["enforce", "shadow", "off"]
    on_error: Literal["fault", "continue"]
    conditions: tuple[PlannedCondition, ...]
    statuses: str | None
    origins: str | None
    whens: dict[int, PlannedWhen]


def plans_of(drafts: Iterable[Draft]) -> list[Plan]:
    """Make the plans of rules that were built without an error, in their order, those that are off too."""
    return [_plan(draft) for draft in drafts]


def _plan(draft: Draft) -> Plan:
    rule, match = draft.model, draft.model.match
    whens: dict[int, PlannedWhen] = {}
    for phase, compiled in draft.sides.items():
        written = [(scope, data) for scope, _, data in draft.steps if scope.phase == phase]
        for step, (scope, data) in zip(compiled, written, strict=True):
            if step.when is not None:
                whens[id(step)] = _when(scope, data["when"])
    context = {name: (value.type, value.read) for name, value in draft.scope.vocabulary.context.items()}
    return Plan(
        draft.rule,
        rule.mode,
        rule.on_error,
        tuple(_conditions(match, context)),
        _listed(match.status) if match.status is not None else None,
        _listed(match.origin) if match.origin is not None else None,
        whens,
    )


def _when(scope: StepScope, written: Any) -> PlannedWhen:
    source = written if isinstance(written, str) else "true" if written else "false"
    environment = scope.rule.environment(answered=scope.phase != "before")
    parts = []
    for depth, text in dissect(source):
        try:
            program = compile(text, environment)
        except CelProblems:
            # What means something only where it stands.
            continue
        parts.append((depth, text, program, reads_secret([program], scope)))
    return PlannedWhen(source.strip(), tuple(parts))


def _conditions(match: Match, context: dict[str, Any]) -> Iterator[PlannedCondition]:
    if match.operation is not None:
        names = frozenset(match.operation)
        yield PlannedCondition(
            "operation",
            _listed(match.operation),
            lambda _, operation: operation is not None and operation.name in names,
            _operation,
        )
    if match.method is not None:
        methods = frozenset(match.method)
        yield PlannedCondition(
            "method",
            _listed(match.method),
            lambda request, _: request.method in methods or (request.method == "HEAD" and "GET" in methods),
            lambda request, _operation, _masks: request.method,
        )
    if match.path is not None:
        index = PathIndex((path, compile_path(path)) for path in match.path)
        yield PlannedCondition(
            "path",
            _listed([path.regex if isinstance(path, Regex) else path for path in match.path]),
            lambda request, _: bool(index.find(request.path)),
            lambda request, _operation, masks: masks.text(request.path),
        )
    for key, name, test in compile_tests(match, context):
        written = getattr(match, key)
        label = {"headers": "header", "cookies": "cookie"}.get(key, key)
        yield PlannedCondition(
            f"{label} {name}".strip(),
            _wanted(written[name] if name else written),
            lambda request, _operation, test=test: test(request),  # type: ignore[misc]
            _reader(key, name, context),
        )


def _operation(request: Request, operation: Operation | None, masks: Masks) -> str:
    asked = f"{request.method} {masks.text(request.path)}"
    return f"{operation.name} ({asked})" if operation is not None else f"no operation ({asked})"


def _reader(key: str, name: str, context: dict[str, Any]) -> Callable[[Request, Any, Masks], str | None]:
    def read(request: Request, _: Any, masks: Masks) -> str | None:
        match key:
            case "host":
                return request.host
            case "client":
                return request.ip
            case "headers":
                text = request.headers.text(name.lower().encode())
                return None if text is None else masks.header(name.lower(), text)
            case "query" | "cookies":
                pairs = request.parameters if key == "query" else request.cookies
                if not pairs.has(name):
                    return None
                value = pairs.get(name)
                return masks.secret(value) if key == "cookies" else masks.json(value, name=name).strip('"')
        try:
            return masks.json(plain(context[name][1](request)), name=name).strip('"')
        except EvaluationError:
            return None

    return read


def _wanted(test: Any) -> str:
    match test:
        case Present():
            return "there" if test.present else "not there"
        case Regex():
            return f"like {test.regex}"
        case list():
            return _listed(test)
        case _:
            return str(test)


def _listed(values: Sequence[Any]) -> str:
    return str(values[0]) if len(values) == 1 else f"one of {', '.join(map(str, values))}"


def when_of(plan: Plan | None, step: Step) -> PlannedWhen | None:
    return plan.whens.get(id(step)) if plan is not None else None
