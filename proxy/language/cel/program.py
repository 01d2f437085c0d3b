"""Source and environment to a program: parse, check, generate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .check import check
from .environment import Environment
from .findings import Read
from .functions import STANDARD
from .generate import generate
from .parser import parse
from .problems import CelProblems
from .types import Type, resolve


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression.

    `run` takes the one argument that variables are read from and returns the value; it raises EvaluationError when
    there is none, CostExceeded when it takes too much work, and lets Unreadable through. `names` are the root
    variables, `secrets` the literal names given to secret() outside of hmac(). A `constant` one gives the same for any
    argument.
    """

    run: Callable[[Any], Any]
    type: Type
    reads: tuple[Read, ...]
    names: frozenset[str]
    secrets: frozenset[str]
    constant: bool
    source: str


def compile(source: str, environment: Environment) -> Program:
    """Compile an expression; raise CelProblems with everything that is wrong with it."""
    tree = parse(source)
    functions = STANDARD
    if environment.functions:
        functions = {**STANDARD, **{(function.name, function.member): function for function in environment.functions}}
    found = check(tree, environment, functions)
    if found.problems:
        raise CelProblems(found.problems)
    return Program(
        run=generate(tree),
        type=resolve(tree.type),
        reads=tuple(dict.fromkeys(found.reads)),
        names=frozenset(found.names),
        secrets=frozenset(found.secrets),
        constant=found.constant,
        source=source,
    )
