"""Which fields of an answer are wanted: the grammar of Kibo's `responseFields`, such as `a,b(c,d(e))`.

A projection is a tree of names; a name without a tree below it is wanted whole. Arrays are transparent: a projection
of one holds for each of its elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .json_body import JsonBody
from .json_nodes import ArrayNode, Node, ObjectNode

Projection = dict[str, "Projection | None"]

_NAME = re.compile(r"[A-Za-z0-9_$@.\-]+")
_DEEPEST = 32


class ProjectionError(Exception):
    """A projection that cannot be read, and where."""

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.text = text
        self.offset = offset


def parse(text: str) -> Projection:
    """Parse a projection; raise ProjectionError."""
    at = 0

    def skip() -> None:
        nonlocal at
        while at < len(text) and text[at] in " \t":
            at += 1

    def read(depth: int) -> Projection:
        nonlocal at
        found: Projection = {}
        while True:
            skip()
            name = _NAME.match(text, at)
            if name is None:
                raise ProjectionError("a field's name was expected", min(at, max(len(text) - 1, 0)))
            at = name.end()
            skip()
            below: Projection | None = None
            if text.startswith("(", at):
                if depth >= _DEEPEST:
                    raise ProjectionError(f"fields are nested at most {_DEEPEST} levels deep", at)
                at += 1
                below = read(depth + 1)
                if not text.startswith(")", at):
                    raise ProjectionError("a closing parenthesis was expected", min(at, len(text) - 1))
                at += 1
                skip()
            _add(found, name[0], below)
            if not text.startswith(",", at):
                return found
            at += 1

    projection = read(0)
    if at < len(text):
        raise ProjectionError("a comma or the end was expected", at)
    return projection


def _add(into: Projection, name: str, below: Projection | None) -> None:
    if name not in into:
        into[name] = below
        return
    known = into[name]
    if known is None or below is None:
        into[name] = None
        return
    for inner, deeper in below.items():
        _add(known, inner, deeper)


def write(projection: Projection) -> str:
    """Write a projection as text."""
    return ",".join(name if below is None else f"{name}({write(below)})" for name, below in projection.items())


def includes(projection: Projection, path: Iterable[str]) -> bool:
    """Say whether a projection gives the whole value at a path of names."""
    level: Projection | None = projection
    for name in path:
        if level is None:
            return True
        if name not in level:
            return False
        level = level[name]
    return level is None


def widen(projection: Projection, paths: Iterable[tuple[str, ...]]) -> Projection:
    """Give a projection that has these paths of names as well."""
    wide = _copy(projection)
    for path in paths:
        below: Projection | None = None
        for name in reversed(path[1:]):
            below = {name: below}
        if path:
            _add(wide, path[0], below)
    return wide


def _copy(projection: Projection) -> Projection:
    return {name: None if below is None else _copy(below) for name, below in projection.items()}


def apply(projection: Projection, body: JsonBody) -> None:
    """Keep only what a projection names."""
    _keep(body.root, projection)


def _keep(node: Node, projection: Projection) -> None:
    if isinstance(node, ArrayNode):
        for index in range(len(node.items)):
            inner = node.open(index)
            if inner is not None:
                _keep(inner, projection)
        return
    if not isinstance(node, ObjectNode):
        return
    for name in list(node.members):
        if name not in projection:
            node.delete(name)
            continue
        below = projection[name]
        inner = node.open(name) if below is not None else None
        if inner is not None and below is not None:
            _keep(inner, below)


def trim(body: JsonBody, asked: Projection, widened: Projection | None) -> None:
    """Take out again what is in the body only because the proxy asked for it; what rules put there stays.

    `widened` is what the proxy asked for, None for everything. A body that a rule replaced as a whole stays as it is.
    It has to be the body that the rules edited: bytes do not say who put them there.
    """
    if not body.replaced:
        _trim(body.root, asked, widened)


def _trim(node: Node, asked: Projection, widened: Projection | None) -> None:
    if isinstance(node, ArrayNode):
        for index in range(len(node.items)):
            inner = None if node.is_assigned(index) else node.open(index)
            if inner is not None:
                _trim(inner, asked, widened)
        return
    if not isinstance(node, ObjectNode):
        return
    for name in list(node.members):
        # What nobody asked for by name is what the upstream always gives.
        if node.is_assigned(name) or (widened is not None and name not in widened):
            continue
        if name not in asked:
            _take(node, name)
            continue
        below = asked[name]
        inner = node.open(name) if below is not None else None
        if inner is not None and below is not None:
            _trim(inner, below, widened[name] if widened is not None else None)


def _take(node: Node, key: str | int) -> None:
    """Take a member out, but for what rules put below it."""
    value = node.find(key)
    if not isinstance(value, Node) or not _has_assigned(value):
        node.delete(key)
    elif isinstance(value, ObjectNode):
        for name in [name for name in value.members if not value.is_assigned(name)]:
            _take(value, name)
    elif isinstance(value, ArrayNode):
        for index in range(len(value.items) - 1, -1, -1):
            if not value.is_assigned(index):
                _take(value, index)


def _has_assigned(node: Node) -> bool:
    assigned = isinstance(node, ObjectNode | ArrayNode) and bool(node.assigned)
    return assigned or any(_has_assigned(inner) for inner in node.opened)
