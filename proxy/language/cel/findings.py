"""What the checker finds, and what its parts share: the names in scope, the problems, the reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from . import nodes as n
from .environment import Environment, Variable
from .functions import FunctionTable
from .problems import CelProblem
from .types import Type


@dataclass(frozen=True, slots=True)
class Read:
    """A variable with a footprint that an expression reads, and the static path into it.

    `path` is None when it is read as a whole or by a key that is not known at load. `tested`: it stands only in `has()`
    or after `.?`. `guarded`: the same expression tests this path or one above it.
    """

    footprint: str
    path: tuple[str | int, ...] | None
    tested: bool = False
    guarded: bool = False


@dataclass(slots=True)
class Checked:
    """What the checker learned of an expression."""

    problems: list[CelProblem] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    # Whether it depends on nothing but its source.
    constant: bool = True


class Checking(ABC):
    """The state of one check."""

    def __init__(self, environment: Environment, functions: FunctionTable) -> None:
        self.environment = environment
        self.functions = functions
        self.found = Checked()
        self.scope: dict[str, list[n.Local]] = {}

    @abstractmethod
    def visit(self, node: n.Node) -> None:
        """Check a node that its parent may still go on from, as `a.b` goes on from `a`."""

    def problem(self, code: str, text: str, start: int, end: int, suggestion: str | None = None) -> None:
        self.found.problems.append(CelProblem(code, text, start, end, suggestion))

    def value(self, node: n.Node) -> Type:
        """Check a node whose value is used as it is, and return its type."""
        self.visit(node)
        self.consume(node)
        return node.type

    def consume(self, node: n.Node) -> None:
        """Note that a node's value is read, where it is one of the environment's."""
        if not isinstance(node, n.Name | n.Select | n.Index) or node.access is None:
            return
        access, variable = node.access, node.access.variable
        if isinstance(node, n.Select) and node.tested:
            return
        if variable.read is None and variable.attribute is None and not (variable.open and access.path):
            names = ", ".join(sorted(variable.members or ()))
            self.problem("not-a-value", f"this is read by a member: {names}", node.start, node.end)
        if variable.footprint:
            self.found.reads.append(Read(variable.footprint, access.path or None, tested=access.optional))
        node.fails = variable.attribute is None or access.optional

    def test(self, variable: Variable, path: tuple[str | int, ...]) -> None:
        if variable.footprint:
            self.found.reads.append(Read(variable.footprint, path, tested=True))

    def lookup(self, name: str) -> n.Local | None:
        """Return the macro's variable that a name means, the innermost."""
        found = self.scope.get(name)
        return found[-1] if found else None
