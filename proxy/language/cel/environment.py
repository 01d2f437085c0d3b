"""What an expression may name: variables with their types and how they are read, and functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .types import DYN, Type


@dataclass(frozen=True, slots=True)
class Reader:
    """How one place of a document is read; both take the one argument of a program."""

    get: Callable[[Any], Any]
    has: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Variable:
    """A name that an expression may read.

    `read` gives its value, or `attribute` is a chain of Python attributes that is written inline. `members` makes it a
    struct of exactly these names. `open` makes it a document of which only what a path names is read; what is not
    static falls back to `read`. `has` is what `has()` says of it as a member (always true without). A name may be
    dotted. Values must be of the declared type: it is trusted.
    """

    type: Type = DYN
    read: Callable[[Any], Any] | None = None
    attribute: str | None = None
    members: Mapping[str, Variable] | None = None
    open: Callable[[tuple[str | int, ...]], Reader] | None = None
    footprint: str = ""
    has: Callable[[Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A function, by its overloads: the parameters' types and the result's. A member function's first is its target.

    `literal` are the positions that take only string literals. With `exchange` the program's argument comes first.
    One that is not `pure` is never evaluated at load. `cost` gives the units of work for the same arguments; it is
    charged where work can multiply (in loops and after bindings), with `grows` everywhere. `check` looks at a first
    argument that is a literal text and may give a problem's code, its words and what may have been meant.
    """

    name: str
    overloads: tuple[tuple[tuple[Type, ...], Type], ...]
    call: Callable[..., Any]
    member: bool = False
    literal: tuple[int, ...] = ()
    exchange: bool = False
    cost: Callable[..., int] | None = None
    grows: bool = False
    pure: bool = True
    check: Callable[[str], tuple[str, str, str | None] | None] | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """The names of an expression. `functions` come on top of the standard ones; `container` is a prefix for names."""

    variables: Mapping[str, Variable] = field(default_factory=dict)
    functions: tuple[Function, ...] = ()
    container: str = ""

    def with_variables(self, variables: Mapping[str, Variable]) -> Environment:
        """Return the same environment with more variables."""
        return replace(self, variables={**self.variables, **variables})
