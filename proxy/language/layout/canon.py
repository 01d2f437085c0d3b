"""The one layout of rule and test files: order of keys, indentation, quotes, white space; comments stay.

Whether a map or list stands in brackets is its author's choice; one that does not fit a line is written out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..actions import ACTIONS
from .tree import Entry, Loc, Node, read_tree
from .writing import write_scalar, write_text

WIDTH = 120
_INDENT = 2
_LINE = re.compile(r"\r\n|\r|\n")

FILE = ("version", "packs", "configuration", "factors", "rules")
RULE = (
    "name", "description", "match", "mode", "fraction", "sticky", "on_error", "timeout", "configuration",
    "before", "after", "continue",
)  # fmt: skip
STEP = ("name", "description", "when", *ACTIONS)
TEST_FILE = ("rules", "packs", "configuration", "factors", "given", "cases")
CASE = (
    "name", "rules", "packs", "key_sets", "tokens", "lookups", "request", "upstream", "expect", "exchanges",
    "error", "warning",
)  # fmt: skip
PLAY = ("wait", "repeat", "tokens", "lookups", "request", "upstream", "expect", "keep", "together")
EXPECT = ("upstream", "response", "lookups", "rules", "log", "holds")
_PHASES = ("before", "after", "continue")


def canonical(text: str, *, reorder: bool = True) -> str:
    """Lay out a text that `load` took; without `reorder` keys stay in their order."""
    tree = read_tree(text)
    if reorder:
        first = tree.root.entries[:1]
        # Settings have `rules` too, which are no list of maps.
        lists = {one.key.value for one in tree.root.entries if one.key is not None and one.value.kind == "list"}
        if (kind := next((key for key in ("cases", "rules") if key in lists), None)) is not None:
            _sort(tree.root, (), test=kind == "cases")
        # What stands above everything is about the file.
        if first and first != tree.root.entries[:1]:
            top, first[0].leading = first[0].leading, []
            tree.root.entries[0].leading = [*top, *tree.root.entries[0].leading]
    lines = list(_Printer().block(tree.root, 0))
    while lines and not lines[0]:
        lines.pop(0)
    lines += tree.tail if lines else [line for line in tree.tail if line]
    return "\n".join(lines) + "\n"


# The order of keys


def _sort(node: Node, loc: Loc, *, test: bool) -> None:
    order = _order(loc, test=test)
    if order is not None and node.kind == "map":
        places = {name: place for place, name in enumerate(order)}
        node.entries.sort(key=lambda entry: places.get(entry.key.value if entry.key is not None else "", len(order)))
    for index, entry in enumerate(node.entries):
        _sort(entry.value, (*loc, entry.key.value if entry.key is not None else index), test=test)


def _order(loc: Loc, *, test: bool) -> tuple[str, ...] | None:
    """Give the order of the keys of what stands at a location; None where it is the author's."""
    match loc:
        case () if test:
            return TEST_FILE
        case ("cases", int()) if test:
            return CASE
        case ("cases", int(), "exchanges", int()) | ("cases", int(), "exchanges", int(), "together", int()) if test:
            return PLAY
        case ("cases", int(), *_, "expect") if test:
            return EXPECT
        case ("cases", int(), "rules", *rest) if test:
            return _order_in_rules(tuple(rest))
        case ():
            return FILE
        case ("rules", *rest):
            return _order_in_rules(tuple(rest))
    return None


def _order_in_rules(loc: Loc) -> tuple[str, ...] | None:
    match loc:
        case (int(),):
            return RULE
        case (int(), phase, int()) if phase in _PHASES:
            return STEP
    return None


# Lines


class _Printer:
    """Writes nodes as lines; each is whole, with its indentation."""

    def block(self, node: Node, indent: int) -> Iterator[str]:
        """Give the lines of a value that begins a line of its own."""
        pad = " " * indent
        if node.kind in ("scalar", "alias") or not node.entries:
            yield from self._attached(pad, node, indent, None)
            return
        for number, entry in enumerate(node.entries):
            leading = entry.leading
            if number == 0:
                leading = leading[next((i for i, line in enumerate(leading) if line), len(leading)) :]
            yield from (f"{pad}{line}" if line else "" for line in _single(leading))
            yield from self._entry(entry, indent)
        yield from (f"{pad}{line}" if line else "" for line in _single(node.tail))

    def _entry(self, entry: Entry, indent: int) -> Iterator[str]:
        pad, value = " " * indent, entry.value
        if entry.key is not None:
            anchor = f"&{entry.key.anchor} " if entry.key.anchor else ""
            yield from self._attached(f"{pad}{anchor}{_key(entry.key, flow=False)}:", value, indent, entry.trail)
            return
        if value.kind in ("map", "list") and value.anchor is None and self._is_block(value, f"{pad}-", entry.trail):
            lines = list(self.block(value, indent + _INDENT))
            # What stands above the first member stands above the dash.
            while lines[0].strip().startswith("#") or not lines[0].strip():
                yield f"{pad}{lines.pop(0).strip()}".rstrip()
            if entry.trail is not None:
                yield f"{pad}{entry.trail}"
            yield f"{pad}- {lines[0][indent + _INDENT :]}"
            yield from lines[1:]
            return
        yield from self._attached(f"{pad}-", value, indent, entry.trail)

    def _attached(self, head: str, node: Node, indent: int, trail: str | None) -> Iterator[str]:
        """Give the lines of a value behind what stands before it on its line."""
        anchor = f"&{node.anchor}" if node.anchor else ""
        comment = f"  {trail}" if trail is not None else ""
        if node.kind == "alias":
            yield f"{_joined(head, f'*{node.raw}')}{comment}"
        elif node.kind == "scalar":
            first, *more = self._scalar(node, indent, comment)
            yield _joined(head, anchor, first) if node.raw else f"{_joined(head, anchor)}{comment}"
            yield from more
        elif self._is_block(node, head, trail):
            yield f"{_joined(head, anchor)}{comment}"
            yield from self.block(node, indent + _INDENT)
        else:
            yield f"{_joined(head, _flow(node))}{comment}"

    def _is_block(self, node: Node, head: str, trail: str | None) -> bool:
        """Say whether a map or list is written out."""
        if not node.entries:
            return False
        if not node.flow or node.commented or _has_block(node):
            return True
        return len(_joined(head, _flow(node))) > WIDTH

    def _scalar(self, node: Node, indent: int, comment: str) -> Iterator[str]:
        if node.style in ("|", ">"):
            yield from _block_scalar(node, indent)
            return
        lines = _LINE.split(node.raw)
        if len(lines) == 1:
            yield f"{_written(node, flow=False)}{comment}"
            return
        # White space where a line is folded means nothing, unless it is escaped.
        pad = " " * (indent + _INDENT)
        yield lines[0].rstrip(" \t") if not lines[0].endswith("\\") else lines[0]
        for number, line in enumerate(lines[1:], start=2):
            kept = line.strip(" \t") if not line.rstrip(" \t").endswith("\\") else line.lstrip(" \t")
            last = comment if number == len(lines) else ""
            yield f"{pad}{kept}{last}" if kept else ""


def _single(lines: list[str]) -> Iterator[str]:
    """Leave one of several blank lines in a row."""
    for before, line in zip([None, *lines], lines, strict=False):
        if line or before != "":
            yield line


def _joined(*parts: str) -> str:
    text = " ".join(part for part in parts if part.strip())
    return text if parts[0].strip() else parts[0] + text


def _key(key: Node, *, flow: bool) -> str:
    return write_text(key.value, flow=flow) if key.kind == "scalar" else f"*{key.raw} "


def _written(node: Node, *, flow: bool) -> str:
    if node.value is None and not flow and not node.raw:
        return ""
    return write_scalar(node.value, flow=flow)


def _flow(node: Node) -> str:
    """Write a value on one line."""
    anchor = f"&{node.anchor} " if node.anchor else ""
    if node.kind == "alias":
        # A comma or a colon right behind it would be of its name.
        return f"*{node.raw}"
    if node.kind == "scalar":
        return f"{anchor}{_written(node, flow=True)}"
    if node.kind == "list":
        return f"{anchor}[{', '.join(_flow(entry.value) for entry in node.entries)}]"
    members = (f"{_key(entry.key, flow=True)}: {_flow(entry.value)}" for entry in node.entries if entry.key is not None)
    return f"{anchor}{{{', '.join(members)}}}"


def _has_block(node: Node) -> bool:
    """Say whether something in it can only stand on lines of its own."""
    return node.style in ("|", ">") or any(_has_block(entry.value) for entry in node.entries)


def _block_scalar(node: Node, indent: int) -> Iterator[str]:
    """Give a text that is written by its lines, moved to its new indentation."""
    header, *lines = _LINE.split(node.raw)
    signs, _, comment = header.partition("#")
    keeps = "+" in signs
    # What follows the last break is the next line of the file; what is blank before it counts where all is kept.
    while lines and not lines[-1].strip():
        lines.pop()
        if keeps:
            break
    written, meant = _least(lines), _least(str(node.value).split("\n"))
    start = written - meant
    sign = signs[0] + (str(_INDENT) if meant else "") + ("+" if keeps else "-" if "-" in signs else "")
    yield f"{sign}  #{comment}".rstrip() if comment else sign
    pad = " " * (indent + _INDENT)
    yield from (f"{pad}{line[start:]}" if line[start:] else "" for line in lines)


def _least(lines: list[str]) -> int:
    return min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0)
