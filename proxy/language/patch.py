"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) over a body that keeps its bytes.

A patch is all or nothing: it works on a copy, which takes the body's place when every operation held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Raw
from pydantic import ConfigDict, Field, model_validator

from ..engine.errors import EvaluationError
from ..engine.exchange import Exchange
from ..engine.json_body import JsonBody
from ..engine.json_nodes import ArrayNode, ObjectNode, encode
from .action import StepEnvironment, Value
from .edits import text_at
from .model import Model
from .paths import Location, PathError, parse_pointer, resolve

_TAKES = {"add": "value", "replace": "value", "test": "value", "move": "from", "copy": "from", "remove": None}


class Operation(Model):
    """One operation of a JSON Patch; members that it does not know are ignored, as section 4 of the RFC wants."""

    model_config = ConfigDict(extra="ignore")

    op: Literal["add", "remove", "replace", "move", "copy", "test"] = Field(description="What it does (RFC 6902).")
    path: str = Field(description="A JSON Pointer (RFC 6901); '' is the whole body.")
    value: Any = Field(None, description="For add, replace and test.")
    from_: Annotated[str | None, Field(alias="from", description="For move and copy: a JSON Pointer.")] = None

    @model_validator(mode="after")
    def _complete(self) -> Operation:
        given = self.model_fields_set
        wanted = _TAKES[self.op]
        if wanted == "value" and "value" not in given:
            raise ValueError(f"`{self.op}` needs a `value`")
        if wanted == "from" and self.from_ is None:
            raise ValueError(f"`{self.op}` needs `from`")
        return self


Ready = tuple[str, tuple[str, ...], tuple[str, ...], Any]


class Patch:
    """A patch, compiled; `prepare` evaluates its values and gives the edit."""

    def __init__(self, env: StepEnvironment, operations: list[Operation]) -> None:
        self._operations: list[tuple[str, tuple[str, ...], tuple[str, ...], Value[Any] | None]] = []
        for index, operation in enumerate(operations):
            path = self._pointer(env, operation.path, index, "path")
            source = self._pointer(env, operation.from_ or "", index, "from")
            value = None
            if _TAKES[operation.op] == "value":
                value = env.value(operation.value, "patch", index, "value", secrets=env.side == "request")
            if operation.op == "remove" and path:
                env.hides(field=path[-1])
            self._operations.append((operation.op, path, source, value))

    @staticmethod
    def _pointer(env: StepEnvironment, text: str, index: int, key: str) -> tuple[str, ...]:
        try:
            return parse_pointer(text)
        except PathError as error:
            env.problem_within("bad-path", error.text, error.offset, 1, "patch", index, key)
            return ()

    def prepare(self, x: Exchange) -> Callable[[JsonBody], None]:
        ready = [
            (op, path, source, value.read(x) if value is not None else None)
            for op, path, source, value in self._operations
        ]
        return lambda body: apply_patch(body, ready)


def apply_patch(body: JsonBody, operations: Iterable[Ready]) -> None:
    """Apply a patch; what does not hold is an EvaluationError, and then the body is as it was."""
    work = body.copy()
    for operation in operations:
        _apply(work, *operation)
    body.become(work)


def _apply(body: JsonBody, op: str, path: tuple[str, ...], source: tuple[str, ...], value: Any) -> None:
    match op:
        case "add":
            _add(body, path, encode(value))
        case "replace":
            location = resolve(body, path)
            _replace(body, location, encode(value))
        case "remove":
            _remove(body, resolve(body, path))
        case "test":
            if not same(body.plain(body.locate(resolve(body, path))), value):
                raise EvaluationError("a `test` of the patch does not hold", body.side)
        case "copy":
            _add(body, path, text_at(body, resolve(body, source)))
        case _:
            if path[: len(source)] == source and len(path) > len(source):
                raise EvaluationError("a patch cannot move a value into itself", body.side)
            location = resolve(body, source)
            moved = text_at(body, location)
            if path != source:
                _remove(body, location)
                _add(body, path, moved)


def _replace(body: JsonBody, location: Location, raw: Raw) -> None:
    parent = body.parent(location) if location else None
    if parent is None:
        body.replace(raw)
    else:
        parent.put(location[-1], raw)


def _remove(body: JsonBody, location: Location) -> None:
    parent = body.parent(location) if location else None
    if parent is None:
        raise EvaluationError("the whole body cannot be removed", body.side)
    parent.delete(location[-1])


def _add(body: JsonBody, path: tuple[str, ...], raw: Raw) -> None:
    location = resolve(body, path, new=True)
    parent = body.parent(location) if location else None
    if isinstance(parent, ArrayNode) and isinstance(location[-1], int):
        parent.insert(location[-1], raw)
    else:
        _replace(body, location, raw)


def same(one: Any, other: Any) -> bool:
    """Compare two JSON values (RFC 6902 section 4.6): numbers by value, but no number equals a boolean."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return (type(one) is type(other) and one == other) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )


def apply_merge(body: JsonBody, patch: Any) -> None:
    """Merge a patch into a body; one that is no object takes the body's place."""
    if isinstance(patch, Mapping):
        top = body.top
        if isinstance(top, ObjectNode):
            _merge(top, patch)
        else:
            body.replace(encode(_stripped(patch)))
    else:
        body.replace(encode(patch))


def _merge(node: ObjectNode, patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            node.delete(key)
        elif isinstance(value, Mapping):
            inner = node.open(key) if key in node.members else None
            if isinstance(inner, ObjectNode):
                _merge(inner, value)
            else:
                node.put(key, encode(_stripped(value)))
        else:
            node.put(key, encode(value))


def _stripped(value: Any) -> Any:
    """Leave out members that are null: merged into nothing they say that there is nothing."""
    if isinstance(value, Mapping):
        return {key: _stripped(item) for key, item in value.items() if item is not None}
    return value
