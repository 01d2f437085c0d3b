"""Warnings about rules that compile and are probably not what was meant."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..engine import projection
from . import model
from .cel import Program
from .cel.nodes import Call, Constant, walk
from .cel.parser import parse
from .environment import RuleScope, StepScope
from .problems import nearest

# A part of a pattern as far as its alternatives matter: an escape, a class, a bracket, a bar, any other character.
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_anchored = re.compile(r"(?:\(\?\w+\))?(?:\^|\\A)(?:[^\\]|\\.)*?(?:\$|\\z)", re.DOTALL).fullmatch
# Actions that end a phase wherever they run.
_FINAL = frozenset({"deny", "redirect", "respond", "end"})
# Edits that may well name a field that is not there yet.
_NEW = frozenset({"set", "default"})

Steps = Sequence[tuple[StepScope, str, Any]]


def warn(scope: RuleScope, rule: model.Rule, steps: Steps, unverified: set[str]) -> None:
    """Report what looks wrong in a rule; `unverified` gathers the variables that hold claims nobody verified."""
    ended: set[str] = set()
    for step, action, data in steps:
        if step.phase in ended:
            _warn_at(scope, "unreachable", "the step before this one ends the phase, always", step.loc, key=True)
            ended.discard(step.phase)
        elif action in _FINAL and "when" not in data:
            ended.add(step.phase)
        _unguarded_response(scope, rule, step)
        _unknown_fields(scope, rule, step)
        _unanchored(scope, step)
        if action == "select":
            with contextlib.suppress(projection.ProjectionError):
                for names in _leaves(projection.parse(data[action])):
                    _unknown_field(scope, rule, "response", names, step.loc)
        elif action == "set":
            unverified.update(str(loc[len(step.loc)]) for loc in _claims(step, unverified) if loc[-1] != "when")
        elif action == "deny":
            _unverified(scope, step, unverified)


def warn_of_order(drafts: Sequence[tuple[RuleScope, model.Rule, Steps]]) -> None:
    """Report rules whose steps another rule never lets run."""
    for phase in ("before", "after"):
        closed: list[model.Rule] = []
        for scope, rule, steps in drafts:
            earlier = next((other.name for other in closed if _covers(other.match, rule.match)), None)
            if earlier is not None and (rule.before if phase == "before" else rule.after):
                text = f"the rule {earlier!r} ends the phase before this one, always"
                _warn_at(scope, "unreachable", text, (*scope.loc, phase), key=True)
            ends = any(step.phase == phase and action in _FINAL and "when" not in data for step, action, data in steps)
            if ends and rule.mode == "enforce" and rule.fraction >= 1 and rule.on_error == "fault":
                closed.append(rule)


def _covers(earlier: model.Match, later: model.Match) -> bool:
    """Say whether what comes to the later rule surely came to the earlier one."""
    everything = earlier == model.Match() and later.origin in (None, ["upstream"])
    return everything or earlier == later


def _warn_at(scope: RuleScope, code: str, text: str, loc: tuple[str | int, ...], *, key: bool = False) -> None:
    scope.problems.warning(code, text, scope.document.source.name, scope.document.mark(loc, key=key))


def _calls(program: Program) -> Iterator[Call]:
    """Give the calls of an expression."""
    if program.source:
        yield from (node for node in walk(parse(program.source)) if isinstance(node, Call))


def _alternatives(pattern: str) -> list[str]:
    """Split a pattern at the bars outside of its groups: `^a|b$` anchors each of two patterns at one end only."""
    found, depth = [""], 0
    for part in _PART.findall(pattern):
        depth += (part == "(") - (part == ")")
        if part == "|" and depth == 0:
            found.append("")
        else:
            found[-1] += part
    return found


def _unanchored(scope: RuleScope, step: StepScope) -> None:
    """Warn of a pattern that also matches in the middle of a text."""
    for program, loc in step.programs:
        for call in _calls(program):
            pattern = call.args[-1] if call.name == "matches" and call.args else None
            text = pattern.value if isinstance(pattern, Constant) else None
            if isinstance(text, str) and not all(map(_anchored, _alternatives(text))):
                told = "this pattern is not anchored with ^ and $: it matches a part of a longer text too"
                _warn_at(scope, "unanchored-pattern", told, loc)


def _claims(step: StepScope, unverified: set[str]) -> Iterator[tuple[str | int, ...]]:
    """Give the places of a step's expressions that rest on claims nobody verified."""
    for program, loc in step.programs:
        if not unverified.isdisjoint(program.names) or any(call.name == "jwt" for call in _calls(program)):
            yield loc


def _unverified(scope: RuleScope, step: StepScope, unverified: set[str]) -> None:
    """Warn of a denial that rests on what the client says of itself."""
    for loc in _claims(step, unverified):
        if loc[-1] == "when":
            told = "jwt() only decodes: whoever is to be denied can write these claims as they like"
            _warn_at(scope, "unverified-claims", told, loc)


def _unguarded_response(scope: RuleScope, rule: model.Rule, step: StepScope) -> None:
    """Warn of a read of the response body that fails on every answer of another shape, such as an error."""
    if step.phase != "after" or rule.match.status is not None:
        return
    reads = [(read, loc) for program, loc in step.programs for read in program.reads]
    if any(read.footprint == "response.status" for read, _ in reads):
        return
    tested = {read.path for read, _ in reads if read.footprint == "response.body" and (read.tested or read.guarded)}
    for read, loc in reads:
        if read.footprint != "response.body" or read.tested or read.guarded or not read.path:
            continue
        if any(path is not None and read.path[: len(path)] == path for path in tested):
            continue
        name = ".".join(str(part) for part in read.path)
        text = f"response.body.{name} is read from every answer, errors too: match a `status`, or test has() first"
        mark = scope.document.mark(loc)
        scope.problems.warning("unguarded-response", text, scope.document.source.name, mark)
        return


def _unknown_fields(scope: RuleScope, rule: model.Rule, step: StepScope) -> None:
    """Warn of body fields that the schema of the matched operations does not have."""
    for program, loc in step.programs:
        for read in program.reads:
            side, dot, what = read.footprint.partition(".")
            if dot and what == "body" and read.path:
                _unknown_field(scope, rule, side, read.path, loc)
    for path, at in step.paths:
        is_target = at[0] in ("move", "copy") and path.text != at[-1]
        if path.names and at[0] not in _NEW and not is_target:
            _unknown_field(scope, rule, step.side, path.names, (*step.loc, *at))


def _leaves(wanted: projection.Projection) -> Iterator[tuple[str, ...]]:
    """Give the paths of a projection that go no deeper."""
    for name, below in wanted.items():
        yield from ((name, *names) for names in _leaves(below)) if below else [(name,)]


def _unknown_field(
    scope: RuleScope, rule: model.Rule, side: str, path: Sequence[str | int], loc: tuple[str | int, ...]
) -> None:
    wrong = unknown_field(scope, rule, side, path)
    if wrong is not None:
        name, suggestion = wrong
        text = f"the {side} of this operation has no field {name!r}"
        scope.problems.warning("unknown-field", text, scope.document.source.name, scope.document.mark(loc), suggestion)


def unknown_field(
    scope: RuleScope, rule: model.Rule, side: str, path: Sequence[str | int]
) -> tuple[str, str | None] | None:
    """Find the first name of a path that no schema of the rule's operations has, with the nearest that they have."""
    schemas = [scope.vocabulary.schemas.get((name, side)) for name in rule.match.operation or ()]
    if not schemas or any(schema is None for schema in schemas):
        return None
    found: tuple[str, str | None] | None = None
    for schema in schemas:
        found = _walk(schema, path)
        if found is None:
            return None
    return found


def _walk(schema: Any, path: Sequence[str | int]) -> tuple[str, str | None] | None:
    for part in path:
        if not isinstance(schema, dict):
            return None
        if isinstance(part, int) or "items" in schema:
            schema = schema.get("items", {})
            if isinstance(part, int):
                continue
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(properties, dict):
            return None
        if part not in properties:
            if _lets_in(schema, str(part)):
                return None
            return str(part), nearest(str(part), properties)
        schema = properties[part]
    return None


def _lets_in(schema: Mapping[str, Any], name: str) -> bool:
    """Say whether a schema has room for a name that is not among its properties."""
    if schema.get("additionalProperties") not in (None, False):
        return True
    try:
        return any(re.search(pattern, name) for pattern in schema.get("patternProperties", ()))
    except re.error:
        return True
