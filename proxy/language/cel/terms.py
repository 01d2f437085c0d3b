"""A condition taken apart into the terms of its `&&`, `||` and `!`, each compiled for itself, to ask which decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ...engine.errors import ABSORBED, CostExceeded, EvaluationError, Unreadable
from . import nodes as n
from .check import check
from .environment import Environment
from .functions import STANDARD
from .generate import generate
from .parser import parse

Sign = Literal["", "&&", "||", "!"]


@dataclass(frozen=True, slots=True)
class Term:
    """A condition or a part of one, from `start` to `end` of its source; one without a `sign` has no terms.

    One whose value is known at load is `constant`.
    """

    start: int
    end: int
    sign: Sign
    terms: tuple[Term, ...]
    run: Callable[[Any], Any] | None
    constant: bool = False

    def leaves(self) -> Iterator[Term]:
        """Give the terms that have none themselves."""
        if not self.terms:
            yield self
        for term in self.terms:
            yield from term.leaves()

    def ask(self, x: Any, note: Callable[[Term, bool], None]) -> bool | None:
        """Evaluate the terms in the order of writing until they decide; `note` hears of each. None where one fails."""
        if self.sign == "!":
            held = self.terms[0].ask(x, note)
            return None if held is None else not held
        if not self.terms:
            held = self._value(x)
            if held is not None:
                note(self, held)
            return held
        decides, failed = self.sign == "||", False
        for term in self.terms:
            held = term.ask(x, note)
            if held is decides:
                return decides
            failed = failed or held is None
        return None if failed else not decides

    def _value(self, x: Any) -> bool | None:
        try:
            value = self.run(x) if self.run is not None else None
        except (EvaluationError, Unreadable, CostExceeded, *ABSORBED):
            return None
        return value if isinstance(value, bool) else None


def terms_of(source: str, environment: Environment) -> Term:
    """Take apart a condition that compiles in an environment."""
    tree = parse(source)
    # Checked as `compile` does it: that writes into the tree what each part reads.
    functions = {**STANDARD, **{(function.name, function.member): function for function in environment.functions}}
    check(tree, environment, functions)
    return _term(tree)


def _term(node: n.Node) -> Term:
    if node.known is not None:
        return Term(node.start, node.end, "", (), generate(node), constant=True)
    if isinstance(node, n.Logic):
        return Term(node.start, node.end, node.sign, tuple(map(_term, node.terms)), None)
    if isinstance(node, n.Call) and node.name == "!" and isinstance(node.args[0], n.Logic):
        return Term(node.start, node.end, "!", (_term(node.args[0]),), None)
    return Term(node.start, node.end, "", (), generate(node))
