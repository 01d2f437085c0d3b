"""Edits at places of a body, for the actions and patches that name places by paths and pointers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from ..engine.errors import EvaluationError
from ..engine.form_body import FormBody
from ..engine.json_body import JsonBody
from ..engine.json_nodes import ArrayNode, Node, ObjectNode, encode
from .paths import FieldPath, Location, keys_of


def remove(path: FieldPath, body: JsonBody | FormBody) -> bool:
    """Remove every place that a path names; say whether there was one."""
    if isinstance(body, FormBody):
        name = path.form_name()
        there = body.pairs.find(name) is not None
        body.pairs.remove(name)
        return there
    static = path.static
    if static is not None:
        parent = body.parent(static)
        return parent is not None and parent.delete(static[-1])
    found = path.locate(body)
    remove_all(body, found)
    return bool(found)


def remove_all(body: JsonBody, locations: list[Location]) -> None:
    """Remove places; elements of an array from its end, so that the others keep their indexes."""
    for location in sorted(set(locations), key=_depth_first, reverse=True):
        parent = body.parent(location)
        if parent is not None:
            parent.delete(location[-1])


def _depth_first(location: Location) -> tuple[int, int]:
    last = location[-1]
    return len(location), last if isinstance(last, int) else 0


def make_parents(body: JsonBody, path: Location) -> Node:
    """Open what is to hold the last part of a path; missing objects are made, another parent is an EvaluationError."""
    node: Node = body.root
    for depth, part in enumerate(path[:-1]):
        if not node.holds(part):
            if not isinstance(part, str) or not isinstance(node, ObjectNode):
                raise body.missing(path[: depth + 1])
            node.put(part, encode({}))
        inner = node.open(part)
        if inner is None:
            raise EvaluationError(f"{'.'.join(str(p) for p in path[: depth + 1])} is no object", body.side)
        node = inner
    return node


def text_at(body: JsonBody, location: Location) -> Raw:
    """Give the text at a place, with its bytes as they are."""
    value = body.locate(location)
    return Raw(value.dump()) if isinstance(value, Node) else value


def put_new(parent: Node, last: Any, raw: Raw, path: FieldPath, body: JsonBody) -> None:
    """Put a member where none is; one that is there is an EvaluationError."""
    if parent.holds(last):
        raise EvaluationError(f"the body already has {path.text}", body.side)
    if not isinstance(parent, ObjectNode) or not isinstance(last, str):
        raise EvaluationError(f"there is no object to put {path.text} into", body.side)
    parent.put(last, raw)


def _targets(body: JsonBody, path: FieldPath, above: FieldPath | None) -> Iterable[tuple[Node, Any]]:
    """Give what is to hold the last part of a path, once per place; `above` is the path without that part."""
    last = path.segments[-1]
    if above is None:
        parents: list[Node] = [body.root]
    else:
        holders = above.locate(body)
        opened = [parent.open(place[-1]) for place in holders if (parent := body.parent(place)) is not None]
        if any(node is None for node in opened):
            raise EvaluationError(f"{path.text} goes through what is no object", body.side)
        parents = [node for node in opened if node is not None]
    for parent in parents:
        if isinstance(last.selector, str | int):
            index = last.selector
            if isinstance(index, int) and index < 0 and isinstance(parent, ArrayNode):
                index += len(parent.items)
            yield parent, index
        else:
            yield from ((parent, key) for key in keys_of(parent))


def assign(body: JsonBody, path: FieldPath, above: FieldPath | None, raw: Raw, *, if_absent: bool) -> None:
    """Put a value at every place of a path; an element of an array that is not there is an EvaluationError."""
    static = path.static
    if static is not None:
        _assign(make_parents(body, static), static[-1], raw, path, body, if_absent=if_absent)
        return
    for parent, last in _targets(body, path, above):
        _assign(parent, last, raw, path, body, if_absent=if_absent)


def _assign(parent: Node, last: Any, raw: Raw, path: FieldPath, body: JsonBody, *, if_absent: bool) -> None:
    if isinstance(parent, ArrayNode):
        if not parent.holds(last):
            raise EvaluationError(f"the array has no element for {path.text}", body.side)
    elif not isinstance(last, str):
        raise EvaluationError(f"there is no array for {path.text}", body.side)
    if not (if_absent and parent.holds(last)):
        parent.put(last, raw)


def keep_only(body: JsonBody, locations: Iterable[Location]) -> None:
    """Remove all but these places and what is above and below them."""
    _prune(body.root, _tree(locations))


_Tree = dict[Any, "_Tree | None"]


def _tree(locations: Iterable[Location]) -> _Tree:
    """Put places into a tree; below a place that is kept whole there is nothing more to say."""
    root: _Tree = {}
    for location in locations:
        level: _Tree | None = root
        for part in location[:-1]:
            if level is None:
                break
            level = level.setdefault(part, {})
        if level is not None:
            level[location[-1]] = None
    return root


def _prune(node: Node, tree: _Tree) -> None:
    keys = keys_of(node)
    # From the end, as indexes move.
    keys.reverse()
    for key in keys:
        if key not in tree:
            node.delete(key)
            continue
        below = tree[key]
        inner = node.open(key) if below is not None else None
        if inner is not None and below is not None:
            _prune(inner, below)
