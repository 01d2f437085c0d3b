"""The parts of an expression whose values explain what it gave: operands, terms, arguments, places."""

from __future__ import annotations

from collections.abc import Iterator

from . import nodes as n
from .parser import parse
from .problems import CelProblems

# How many brackets that belong to a part may stand around its end.
_BRACKETS = 8


def dissect(source: str) -> list[tuple[int, str]]:
    """Give the parts of a valid expression, a part before those inside it, each with how deep it lies.

    Literals explain themselves, and what a macro does with its variable has no one value: neither is a part.
    """
    found: dict[str, int] = {}
    for depth, node in _below(parse(source), 0, frozenset()):
        text = _text(source, node)
        if text is not None:
            found.setdefault(text, depth)
    return [(depth, text) for text, depth in found.items()]


def _below(node: n.Node, depth: int, bound: frozenset[str]) -> Iterator[tuple[int, n.Node]]:
    """Give the parts below a node that have a value; `bound` are the names that macros around it bind."""
    if _is_place(node):
        return
    bound |= _binds(node)
    for part in n.children(node):
        if _is_literal(part):
            continue
        if any(isinstance(one, n.Name) and one.name in bound for one in n.walk(part)):
            yield from _below(part, depth, bound)
        else:
            yield depth, part
            yield from _below(part, depth + 1, bound)


def _binds(node: n.Node) -> frozenset[str]:
    match node:
        case n.Comprehension():
            return frozenset(name.name for name in node.names)
        case n.Bind() | n.OptionalMap():
            return frozenset({node.name.name})
        case _:
            return frozenset()


def _is_place(node: n.Node) -> bool:
    """Say whether a node is a name, or a static path below one: it is read as one."""
    while isinstance(node, n.Select | n.Index):
        if isinstance(node, n.Index) and not isinstance(node.index, n.Constant):
            return False
        node = node.operand
    return isinstance(node, n.Name)


def _is_literal(node: n.Node) -> bool:
    if isinstance(node, n.ListLiteral | n.MapLiteral):
        return all(_is_literal(part) for part in n.children(node))
    return isinstance(node, n.Constant)


def _text(source: str, node: n.Node) -> str | None:
    """Cut a part out of its source; a node does not know of the brackets at its ends."""
    end = node.end
    for _ in range(_BRACKETS):
        start = node.start
        for _ in range(_BRACKETS):
            if _is_whole(text := source[start:end].strip()):
                return text
            start = source.rfind("(", 0, start)
            if start < 0:
                break
        end = source.find(")", end) + 1
        if not end:
            break
    return None


def _is_whole(text: str) -> bool:
    try:
        parse(text)
    except CelProblems:
        return False
    return True
