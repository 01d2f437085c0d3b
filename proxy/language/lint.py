"""Warnings about rules that compile and are probably not what was meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import model
from .environment import RuleScope, StepScope
from .problems import nearest


def warn(scope: RuleScope, rule: model.Rule, steps: Sequence[tuple[StepScope, str, Any]]) -> None:
    """Report what looks wrong in a rule."""
    for step, _, _ in steps:
        _unguarded_response(scope, rule, step)
        _unknown_fields(scope, rule, step)


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
            if not dot or what != "body" or not read.path:
                continue
            wrong = unknown_field(scope, rule, side, read.path)
            if wrong is not None:
                name, suggestion = wrong
                mark = scope.document.mark(loc)
                text = f"the {side} of this operation has no field {name!r}"
                scope.problems.warning("unknown-field", text, scope.document.source.name, mark, suggestion)


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
            if schema.get("additionalProperties") not in (None, False):
                return None
            return str(part), nearest(str(part), properties)
        schema = properties[part]
    return None
