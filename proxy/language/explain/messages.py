"""Messages and variables as they stand between two steps, and what of them differs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from ...engine.errors import EvaluationError, Unreadable
from ...engine.exchange import Exchange
from ...engine.message import Message, Request, Response
from ..cel import to_json
from .masks import Masks
from .trace import Change, MessageTrace

_ABSENT = object()
_VARIABLES = "secret_variables"


@dataclass(frozen=True, slots=True)
class _Opaque:
    """A body that is neither JSON nor a form, or that cannot be read."""

    content: bytes
    kind: str

    @property
    def words(self) -> str:
        return f"{len(self.content)} bytes of {self.kind}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a step may change, as it is now."""

    request: Request
    request_body: Any
    response: Response | None
    response_body: Any
    variables: Mapping[str, Any]
    deferred: int


def body_of(message: Message) -> Any:
    """Read the body of a message as it would be sent, without touching the message; `_ABSENT` for none."""
    twin = message.copy() if isinstance(message, Request | Response) else message
    try:
        twin.settle()
        if not twin.content:
            return _ABSENT
        return copy.deepcopy(twin.document.value())
    except (Unreadable, EvaluationError):
        return _Opaque(twin.content or b"", twin.headers.text(b"content-type") or "no type")


def take(x: Exchange) -> Snapshot:
    """Take down what a step may change."""
    response = x.response
    return Snapshot(
        x.request.copy(),
        body_of(x.request),
        response.copy() if response is not None else None,
        body_of(response) if response is not None else _ABSENT,
        dict(x.variables),
        len(x.deferred),
    )


def changes(before: Snapshot, x: Exchange, masks: Masks) -> tuple[Change, ...]:
    """Say what is not any more as it was."""
    after = take(x)
    found = list(_request_changes(before, after, masks))
    if after.response is not None and before.response is not None:
        found += _response_changes(before, after, masks)
    hidden = x.state.get(_VARIABLES, ())
    for name, value in after.variables.items():
        if name not in before.variables or before.variables[name] is not value:
            old = before.variables.get(name, _ABSENT)
            found.append(
                Change(
                    "variables",
                    name,
                    None if old is _ABSENT else _variable(name, old, hidden, masks),
                    _variable(name, value, hidden, masks),
                )
            )
    for edit in x.deferred[before.deferred :]:
        told = ", ".join(masks.text(value.decode("utf-8", "replace")) for value in edit.values)
        found.append(Change("answers to come", "headers", None, told or "an edit"))
    return tuple(found)


def _variable(name: str, value: Any, hidden: Any, masks: Masks) -> str:
    return masks.secret(value) if name in hidden else masks.json(plain(value), name=name)


def plain(value: Any) -> Any:
    """Give a value of an expression as JSON has it, or the name of its type."""
    try:
        return to_json(value)
    except EvaluationError:
        return f"<{type(value).__name__}>"


def _request_changes(before: Snapshot, after: Snapshot, masks: Masks) -> Iterator[Change]:
    one, two = before.request, after.request
    if one.method != two.method:
        yield Change("request", "method", one.method, two.method)
    if one.path != two.path:
        yield Change("request", "path", masks.text(one.path), masks.text(two.path))
    if one.query != two.query:
        yield Change("request", "query", *(None if q is None else masks.query(q) for q in (one.query, two.query)))
    yield from _headers("request", one, two, masks)
    yield from _bodies("request", before.request_body, after.request_body, masks)


def _response_changes(before: Snapshot, after: Snapshot, masks: Masks) -> Iterator[Change]:
    one, two = before.response, after.response
    if one is None or two is None:
        return
    if one.status != two.status:
        yield Change("response", "status", str(one.status), str(two.status))
    if one.reason != two.reason:
        yield Change("response", "reason", one.reason, two.reason)
    yield from _headers("response", one, two, masks)
    yield from _bodies("response", before.response_body, after.response_body, masks)


_Side = Literal["request", "response"]


def _headers(of: _Side, one: Message, two: Message, masks: Masks) -> Iterator[Change]:
    old, new = _lines(one), _lines(two)
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) == new.get(key):
            continue
        before, after = list(old.get(key, ())), list(new.get(key, ()))
        # Of several lines of a name only those that came or went are told.
        gone = [value for value in before if value not in after]
        come = [value for value in after if value not in before]
        for index in range(max(len(gone), len(come), 1)):
            pair = (gone[index : index + 1], come[index : index + 1])
            yield Change(of, f"header {key}", *(masks.header(key, value[0]) if value else None for value in pair))


def _lines(message: Message) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, _, value in message.headers.lines:
        found.setdefault(key.decode("latin-1"), []).append(value.decode("utf-8", "replace"))
    return found


def _bodies(of: _Side, one: Any, two: Any, masks: Masks) -> Iterator[Change]:
    asked = of == "request"
    for path, before, after in differences(one, two):
        name = next((part for part in reversed(path) if isinstance(part, str)), "")
        hidden = any(masks.hides(part, asked=asked) for part in path if isinstance(part, str))
        place = f"body {path_text(path)}" if path else "body"
        texts = (
            None if value is _ABSENT else value.words if isinstance(value, _Opaque)
            else masks.secret(value) if hidden else masks.json(value, name=name, asked=asked)
            for value in (before, after)
        )  # fmt: skip
        yield Change(of, place, *texts)


Path = tuple[str | int, ...]


def differences(one: Any, two: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Give what differs between two JSON values, as deep as it can be told: path, before, after."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for name in dict.fromkeys((*one, *two)):
            yield from differences(one.get(name, _ABSENT), two.get(name, _ABSENT), (*path, name))
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for index, (before, after) in enumerate(zip(one, two, strict=True)):
            yield from differences(before, after, (*path, index))
    elif type(one) is not type(two) or one != two:
        yield path, one, two


def path_text(path: Path) -> str:
    """Write a path as rules do."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def show(message: Message, masks: Masks) -> MessageTrace:
    """Give a whole message as it may be shown."""
    if isinstance(message, Request):
        query = "" if message.query is None else f"?{masks.query(message.query)}"
        start = f"{message.method} {masks.text(message.path)}{query}"
    elif isinstance(message, Response):
        start = f"{message.status} {message.reason}" if message.reason else str(message.status)
    else:
        raise TypeError("a message is a request or a response")
    lines = tuple(
        (name.decode("latin-1"), masks.header(key.decode("latin-1"), value.decode("utf-8", "replace")))
        for key, name, value in message.headers.lines
    )
    body = body_of(message)
    asked = isinstance(message, Request)
    text = None if body is _ABSENT else body.words if isinstance(body, _Opaque) else masks.json(body, asked=asked)
    return MessageTrace(start, lines, text)


def study(message: Message, masks: Masks) -> None:
    """Learn what is secret in a message, so that it is hidden elsewhere too."""
    masks.study_headers(message.headers)
    if isinstance(message, Request):
        with suppress(Unreadable):
            masks.study({name: message.parameters.all(name) for name in message.parameters.names()}, asked=True)
    body = body_of(message)
    if body is not _ABSENT and not isinstance(body, _Opaque):
        masks.study(body, asked=isinstance(message, Request))
