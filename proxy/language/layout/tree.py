"""A file as it is written: maps, lists and scalars with their places, and the comments and blank lines between them.

The text is one that `load` took: nothing here refuses anything.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..scalars import resolve
from ..syntax import LINES

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_COMMENT = re.compile(r"#[^\r\n]*")
_ANCHOR = re.compile(r"&[^\s,\[\]{}]+\s*")
Loc = tuple[str | int, ...]


@dataclass(slots=True)
class Node:
    """A value: a scalar, an alias, a map or a list. From `start`, where its anchor begins, to `end` in the text."""

    kind: str
    start: int
    end: int
    anchor: str | None = None
    # Of a scalar: what it stands for, how it was quoted, and its text in the file. Of an alias: its name as `raw`.
    value: Any = None
    style: str | None = None
    raw: str = ""
    flow: bool = False
    entries: list[Entry] = field(default_factory=list)
    # Comments behind the last entry, and whether some stand between the brackets.
    tail: list[str] = field(default_factory=list)
    commented: bool = False
    column: int = 0

    def entry(self, part: str | int) -> Entry | None:
        if self.kind == "map":
            return next((one for one in self.entries if one.key is not None and one.key.value == part), None)
        if self.kind == "list" and isinstance(part, int) and 0 <= part < len(self.entries):
            return self.entries[part]
        return None


@dataclass(slots=True)
class Entry:
    """A member of a map or an item of a list. `leading` are comments above it, and "" for a blank line."""

    key: Node | None
    value: Node
    start: int = 0
    parent: Node | None = None
    leading: list[str] = field(default_factory=list)
    trail: str | None = None


@dataclass(slots=True)
class Tree:
    """A whole file; `tail` are the comments behind everything."""

    root: Node
    tail: list[str] = field(default_factory=list)

    def find(self, loc: Loc) -> Node | None:
        """Give the value at a location; None where there is none, or where it stands behind an alias."""
        node = self.root
        for part in loc:
            entry = node.entry(part)
            if entry is None:
                return None
            node = entry.value
        return node


def read_tree(text: str) -> Tree:
    """Read a text that `load` took."""
    return _Reader(text).read()


def comments_of(text: str) -> list[str]:
    """Give the comments of a text, without the white space behind them."""
    reader = _Reader(text)
    reader.nodes()
    return [text[start:end].rstrip() for start, end in reader.comments()]


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = [0, *(found.end() for found in LINES.finditer(text))]
        # What is no gap between values: scalars and aliases.
        self.taken: list[tuple[int, int]] = []
        # The entry whose value a map or list is.
        self.owners: dict[int, Entry] = {}

    def read(self) -> Tree:
        root = self.nodes()
        comments = list(self.comments())
        self._place(root, comments)
        tree = Tree(root)
        entries = list(_entries(root))
        for entry in entries:
            if self._begins_line(entry.start) and self._blank_before(entry.start):
                entry.leading.append("")
        self._attach(tree, entries, comments)
        return tree

    # Values

    def nodes(self) -> Node:
        """Read the values."""
        root: Node | None = None
        stack: list[tuple[Node, list[Node]]] = []
        for event in yaml.parse(self.text, Loader=_LOADER):
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                stack.append((self._opened(event), []))
                continue
            if isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
                node = self._scalar(event)
                self.taken.append((node.start, node.end))
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                node, below = stack.pop()
                pairs = zip(below[::2], below[1::2], strict=True) if node.kind == "map" else ((None, n) for n in below)
                node.entries = [Entry(key, value, parent=node) for key, value in pairs]
                closed: Any = event.end_mark
                node.end = closed.index if node.flow else below[-1].end
            else:
                continue
            if stack:
                stack[-1][1].append(node)
            else:
                root = node
        if root is None:
            raise ValueError("there is nothing in this text")
        return root

    def _opened(self, event: Any) -> Node:
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
        start = event.start_mark.index
        return Node(kind, start, start, event.anchor, flow=bool(event.flow_style))

    def _scalar(self, event: Any) -> Node:
        start, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, yaml.AliasEvent):
            return Node("alias", start, end, raw=str(event.anchor))
        raw = self.text[start:end]
        if event.anchor is not None:
            raw = raw[match.end() :] if (match := _ANCHOR.match(raw)) else raw
        value = event.value if event.style else resolve(event.value)[0]
        return Node("scalar", start, end, event.anchor, value, event.style or None, raw)

    def _place(self, node: Node, comments: list[tuple[int, int]]) -> None:
        """Find where entries begin: an item of a block list at its dash."""
        before = node.start
        for entry in node.entries:
            entry.start = entry.key.start if entry.key is not None else entry.value.start
            if node.kind == "list" and not node.flow:
                entry.start = self._dash(before, entry.value.start, comments)
            before = entry.value.end
            self.owners[id(entry.value)] = entry
            self._place(entry.value, comments)
        if node.entries:
            node.column = self._column(node.entries[0].start)

    def _dash(self, start: int, end: int, comments: list[tuple[int, int]]) -> int:
        for position in range(start, end):
            if self.text[position] == "-" and not any(begin <= position < stop for begin, stop in comments):
                return position
        return end

    # Comments

    def comments(self) -> Iterator[tuple[int, int]]:
        """Give the spans of comments, once the values were read."""
        at = 0
        for start, end in [*sorted(self.taken), (len(self.text), len(self.text))]:
            while (found := _COMMENT.search(self.text, at, start)) is not None:
                yield found.span()
                at = found.end()
            at = max(at, end)

    def _attach(self, tree: Tree, entries: list[Entry], comments: list[tuple[int, int]]) -> None:
        """Give each comment to what it is about: the line that it ends, or what follows it."""
        starts = [entry.start for entry in entries]
        blanks = {id(entry): entry.leading for entry in entries}
        for entry in entries:
            entry.leading = []
        for start, end in comments:
            text = self.text[start:end].rstrip()
            index = bisect_right(starts, start)
            for node in self._around(entries[index - 1] if index else None):
                if node.flow and node.start < start < node.end:
                    node.commented = True
            if index and not self._begins_line(start):
                self._trail(entries[index - 1], start, text)
                continue
            # Of those that begin at one place the outermost is first.
            following = entries[index] if index < len(entries) else None
            target = self._leading_of(tree, entries[index - 1] if index else None, following, start)
            if self._blank_before(start):
                target.append("")
            target.append(text)
        for entry in entries:
            entry.leading += blanks[id(entry)]
            self._raise_trail(entry)

    def _trail(self, entry: Entry, start: int, text: str) -> None:
        while entry.parent is not None and entry.parent.flow and entry.parent.end <= start:
            owner = self.owners.get(id(entry.parent))
            if owner is None:
                break
            entry = owner
        if entry.trail is None:
            entry.trail = text
        else:
            entry.leading.append(text)

    def _raise_trail(self, entry: Entry) -> None:
        """Put a comment behind a dash above it: the line is that of the item's first member."""
        if entry.key is None and entry.trail is not None and entry.value.kind in ("map", "list"):
            value = entry.value
            if not value.flow and value.anchor is None:
                entry.leading.append(entry.trail)
                entry.trail = None

    def _leading_of(self, tree: Tree, last: Entry | None, following: Entry | None, start: int) -> list[str]:
        column = self._column(start)
        outer = self._column(following.start) if following is not None else -1
        for node in self._around(last):
            if node.flow and node.start < start < node.end:
                break
            if not node.flow and outer < node.column <= column and node.column > 0:
                return node.tail
        return following.leading if following is not None else tree.tail

    def _around(self, entry: Entry | None) -> Iterator[Node]:
        """Give the maps and lists that an entry stands in, and the one that it has, from the inside."""
        if entry is not None and entry.value.kind in ("map", "list"):
            yield entry.value
        while entry is not None and entry.parent is not None:
            yield entry.parent
            entry = self.owners.get(id(entry.parent))

    # Lines

    def _line(self, position: int) -> int:
        return bisect_right(self.lines, position) - 1

    def _column(self, position: int) -> int:
        return position - self.lines[self._line(position)]

    def _begins_line(self, position: int) -> bool:
        return not self.text[self.lines[self._line(position)] : position].strip()

    def _blank_before(self, position: int) -> bool:
        line = self._line(position)
        return line > 0 and not self.text[self.lines[line - 1] : self.lines[line]].strip()


def _entries(node: Node) -> Iterator[Entry]:
    for entry in node.entries:
        yield entry
        yield from _entries(entry.value)
