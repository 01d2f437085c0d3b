"""Names, members and items: what an expression reads of its environment, and of values.

A static path into a document stays one, so that no more is opened than the expression names.
"""

from __future__ import annotations

from ...engine.errors import ABSORBED, EvaluationError
from ..problems import nearest
from . import nodes as n
from .findings import Checking
from .types import BOOL, DENOTED, DYN, INT, STRING, TYPE, UINT, Type, is_open, may_equal, optional_of, with_article


class Places:
    """Checks the names and selections of one expression."""

    def __init__(self, checking: Checking) -> None:
        self.checking = checking
        container = checking.environment.container
        parts = container.split(".") if container else []
        self.prefixes = [".".join(parts[:length]) + "." for length in range(len(parts), 0, -1)] + [""]

    # Names

    def name(self, node: n.Name) -> None:
        if not node.rooted and (local := self.checking.lookup(node.name)) is not None:
            node.local, node.type, node.fails = local, local.type, False
            return
        if self.global_name(node, node.name, rooted=node.rooted):
            return
        node.type = DYN
        known = [*self.checking.environment.variables, *self.checking.scope]
        suggestion = nearest(node.name, known)
        if (node.name, False) in self.checking.functions:
            text = f"{node.name} is a function: write {node.name}(…)"
        else:
            text = f"there is no variable {node.name!r}"
        self.checking.problem("unknown-name", text, node.start, node.end, suggestion)

    def global_name(self, node: n.Name | n.Select, name: str, *, rooted: bool) -> bool:
        """Take a name as a variable of the environment or a type; say whether it is one."""
        for prefix in [""] if rooted else self.prefixes:
            variable = self.checking.environment.variables.get(prefix + name)
            if variable is not None:
                node.access = n.Access(variable, parents=() if variable.has is None else (variable.has,))
                node.type = variable.type
                self.checking.found.names.add(prefix + name)
                self.checking.found.constant = False
                return True
        denoted = DENOTED.get(name)
        if denoted is None:
            return False
        node.type, node.known, node.fails = TYPE, (denoted,), False
        return True

    def dotted(self, node: n.Node) -> tuple[str, bool] | None:
        """Return a chain of plain selections as a dotted name, and whether it began with a dot."""
        names: list[str] = []
        while isinstance(node, n.Select) and not node.optional and not node.tested:
            names.append(node.name)
            node = node.operand
        if not isinstance(node, n.Name) or (not node.rooted and self.checking.lookup(node.name) is not None):
            return None
        return ".".join([node.name, *reversed(names)]), node.rooted

    # Members and items

    def select(self, node: n.Select) -> None:
        if not node.tested and not node.optional:
            dotted = self.dotted(node)
            if dotted is not None and self.global_name(node, dotted[0], rooted=dotted[1]):
                return
        operand = node.operand
        self.checking.visit(operand)
        access = getattr(operand, "access", None)
        if access is not None and access.variable.members is not None and not access.path:
            self.member(node, access)
        elif access is not None and access.variable.open is not None:
            self.step(node, access, node.name)
        else:
            self.checking.consume(operand)
            node.type = self.part(node, operand.type)
            if node.optional and not is_open(node.type) and node.type.name != "optional_type":
                node.type = optional_of(node.type)
            if node.tested:
                node.type = BOOL

    def part(self, node: n.Select, type: Type) -> Type:
        """Return the type of a member of a value of a type."""
        inner = type.parameters[0] if type.name == "optional_type" else type
        if is_open(inner):
            return optional_of(DYN) if node.optional or type is not inner else DYN
        if inner.name != "map":
            start = node.start if node.tested else node.name_start
            self.checking.problem(
                "wrong-type", f"{with_article(inner)} has no members, so no {node.name!r}", start, node.end
            )
            return DYN
        key, value = inner.parameters
        if not may_equal(key, STRING):
            self.checking.problem("wrong-type", f"the keys of this map are of type {key}", node.name_start, node.end)
        return value if type is inner else optional_of(value)

    def member(self, node: n.Select, access: n.Access) -> None:
        """Select a member of a struct."""
        members = access.variable.members or {}
        member = members.get(node.name)
        if member is None:
            end = node.name_start + len(node.name)
            suggestion = nearest(node.name, members)
            text = f"there is no {node.name!r} here"
            self.checking.problem("unknown-member", text, node.name_start, end, suggestion)
            node.type, node.access = (BOOL if node.tested else DYN), None
            return
        optional = access.optional or node.optional
        tests = (*access.tests, member.has) if optional and member.has is not None else access.tests
        parents = access.parents if node.tested or member.has is None else (*access.parents, member.has)
        node.access = n.Access(member, (), tests, optional=optional, parents=parents)
        node.type = optional_of(member.type) if optional else member.type
        if node.tested:
            node.type = BOOL
            node.fails = bool(access.parents) or member.has is not None
            self.checking.test(member, ())
        elif node.optional:
            self.checking.test(member, ())

    def step(self, node: n.Select | n.Index, access: n.Access, key: str | int) -> None:
        """Go one step deeper into a document that is opened only where it is read."""
        variable, path = access.variable, (*access.path, key)
        assert variable.open is not None
        known = len(self.checking.found.problems)
        if isinstance(node, n.Select):
            type = self.part(node, node.operand.type)
        else:
            type = self.item(node, node.operand.type, node.index.type)
        if len(self.checking.found.problems) > known:
            node.type = DYN
            return
        try:
            reader = variable.open(path)
        except ABSORBED as error:
            self.checking.problem(
                "wrong-type",
                error.cause if isinstance(error, EvaluationError) else "no such path",
                node.start,
                node.end,
            )
            node.type = DYN
            return
        tested = isinstance(node, n.Select) and node.tested
        optional = access.optional or node.optional
        tests = (*access.tests, reader.has) if optional and not tested else access.tests
        node.access = n.Access(variable, path, tests, optional=optional, parents=access.parents, reader=reader)
        node.type = type
        if optional and type.name != "optional_type":
            node.type = optional_of(type)
        if tested:
            node.type = BOOL
        if tested or node.optional:
            self.checking.test(variable, path)

    def index(self, node: n.Index) -> None:
        operand = node.operand
        self.checking.visit(operand)
        access = getattr(operand, "access", None)
        key = node.index
        if isinstance(key, n.Constant) and access is not None:
            if type(key.value) is str and access.variable.members is not None and not access.path:
                self.member_by_key(node, access, key)
                return
            is_static = type(key.value) is str or (type(key.value) is int and key.value >= 0)
            if is_static and access.variable.open is not None:
                self.checking.visit(key)
                self.step(node, access, key.value)
                return
        self.checking.consume(operand)
        node.type = self.item(node, operand.type, self.checking.value(key))

    def member_by_key(self, node: n.Index, access: n.Access, key: n.Constant) -> None:
        """Take `struct['name']` as `struct.name`."""
        self.checking.visit(key)
        selected = n.Select(
            operand=node.operand, name=key.value, name_start=key.start, optional=node.optional,
            start=node.start, end=node.end,
        )  # fmt: skip
        self.member(selected, access)
        node.access, node.type, node.fails = selected.access, selected.type, selected.fails

    def item(self, node: n.Index, type: Type, key: Type) -> Type:
        """Return the type of an item of a value of a type."""
        inner = type.parameters[0] if type.name == "optional_type" else type
        optional = node.optional or type is not inner
        if is_open(inner):
            return optional_of(DYN) if optional else DYN
        if inner.name == "list":
            if not is_open(key) and key not in (INT, UINT):
                self.checking.problem(
                    "wrong-type", f"a list's index is an int, not a {key}", node.index.start, node.index.end
                )
            found = inner.parameters[0]
        elif inner.name == "map":
            found = inner.parameters[1]
            if not may_equal(key, inner.parameters[0]):
                text = f"the keys of this map are of type {inner.parameters[0]}, not {key}"
                self.checking.problem("wrong-type", text, node.index.start, node.index.end)
        else:
            self.checking.problem(
                "wrong-type", f"{with_article(inner)} has no items", node.operand.start, node.operand.end
            )
            return DYN
        return optional_of(found) if optional else found
