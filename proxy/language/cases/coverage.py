"""What of the rules the cases of a test file reached: each rule, each condition both ways, each of their terms.

Rules that stand in the test file itself are its own, and not counted. Pure: steps are wrapped, serving knows nothing
of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ...engine.exchange import Exchange
from ...engine.ruleset import Outcome, PathPattern, Rule, Ruleset, Running, Step
from ..cel.terms import Term, terms_of
from ..compile import Draft
from .inline_rules import INLINE
from .watching import Call, P, T, Watch, with_steps

_ALL = (PathPattern(prefix=True),)
# A phase as rules write it, with what they wrote there.
_PHASES = (("before", "before"), ("continue", "continue_"), ("after", "after"))
_STEP_KEYS = ("when", "name", "description")


@dataclass(frozen=True, slots=True)
class Branch:
    """One thing that a case can reach, and where it stands; `text` says what it is that none did."""

    file: str
    line: int
    column: int
    rule: str
    kind: Literal["rule", "branch"]
    text: str


@dataclass(slots=True)
class _Conditional:
    """A step's branches: that it ran, or both sides of its `when`, with those of its terms by where they begin."""

    ran: Branch | None = None
    term: Term | None = None
    sides: dict[bool, Branch] = field(default_factory=dict)
    terms: dict[tuple[int, bool], Branch] = field(default_factory=dict)

    def all(self) -> Iterator[Branch]:
        yield from [self.ran] if self.ran is not None else ()
        yield from (*self.sides.values(), *self.terms.values())


class Coverage(Watch):
    """Gathers what the cases of a test file reach."""

    def __init__(self) -> None:
        self.reached: dict[Branch, bool] = {}
        self._exchanges: list[Exchange] = []
        self._drafts: Sequence[Draft] = ()
        self._rules: dict[str, _Branches] = {}

    def watch(self, ruleset: Ruleset, drafts: Sequence[Draft]) -> Ruleset:
        """Give the rules of the cases that are played next, with steps that tell that they were reached."""
        if drafts is self._drafts:
            # Cases with the same rules: what there is to reach is known.
            return with_steps(ruleset, self._wrap)
        self._drafts = drafts
        written = [draft for draft in drafts if not draft.scope.document.source.name.endswith(INLINE)]
        self._rules = {draft.rule.name: _Branches(draft) for draft in written if draft.model.mode != "off"}
        for branches in self._rules.values():
            for branch in branches.all():
                self.reached.setdefault(branch, False)
        return with_steps(ruleset, self._wrap)

    def exchange(self) -> Call:
        def call(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            result = work(*args, **kwargs)
            if isinstance(result, Exchange):
                self._exchanges.append(result)
            return result

        return call

    def finish(self) -> None:
        """Take what the exchanges of a play tell, once it is over."""
        for exchange in self._exchanges:
            chosen = {one.rule.name for one in exchange.chosen.rules}
            skipped = {note.rule for note in exchange.notes if note.kind == "skipped"}
            ran = {*exchange.ran, *skipped, *(note.rule for note in exchange.notes if note.kind == "shadow")}
            # Where no rule was asked, none was turned down.
            asked = exchange.chosen is not exchange.ruleset.none
            for name, branches in self._rules.items():
                if name in ran:
                    self._reach(branches.matched)
                elif asked and (name not in chosen or (branches.answers and exchange.status)):
                    self._reach(branches.unmatched)
                if name in skipped:
                    self._reach(branches.skipped)
        self._exchanges.clear()

    def _reach(self, branch: Branch | None) -> None:
        if branch is not None:
            self.reached[branch] = True

    def _wrap(self, rule: Rule, phase: str, index: int, step: Step) -> Step:
        # What takes the state of a return stands behind the first step of `continue`, and nobody wrote it.
        written = index - 1 if phase == "continue" and index > 1 else index
        branches = self._rules.get(rule.name)
        if branches is None or not step.position:
            return step
        found, run, when = branches.steps[phase, written], step.run, step.when

        def told(exchange: Exchange) -> Outcome | Running:
            self._reach(found.ran)
            return run(exchange)

        def asked(exchange: Exchange) -> Any:
            held = when(exchange) if when is not None else True
            if isinstance(held, bool):
                self._reach(found.sides.get(held))
            if found.term is not None:
                found.term.ask(exchange, lambda term, value: self._reach(found.terms.get((term.start, value))))
            return held

        return replace(step, run=told, when=asked if when is not None else None)


class _Branches:
    """The branches of one rule."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        rule = draft.rule
        narrow = (rule.methods, rule.operations, rule.predicate, rule.statuses) != (None,) * 4 or rule.paths != _ALL
        self.answers = rule.statuses is not None
        self.matched = self.branch("the rule never ran", "name", kind="rule")
        self.unmatched = self.branch("its `match` turned no exchange down", "match") if narrow else None
        self.skipped = self.branch("`on_error` was never taken", "on_error") if rule.skip_errors else None
        self.steps = {
            (phase, index): self.step(phase, index, data)
            for phase, attribute in _PHASES
            for index, data in enumerate(getattr(draft.model, attribute))
        }

    def all(self) -> Iterator[Branch]:
        yield from (one for one in (self.matched, self.unmatched, self.skipped) if one is not None)
        for step in self.steps.values():
            yield from step.all()

    def branch(
        self, text: str, *loc: str | int, kind: Literal["rule", "branch"] = "branch", key: bool = False
    ) -> Branch:
        scope = self.draft.scope
        mark = scope.document.mark((*scope.loc, *loc), key=key)
        return Branch(scope.document.source.name, mark.line, mark.column, scope.name, kind, text)

    def step(self, phase: str, index: int, data: dict[str, Any]) -> _Conditional:
        action = next(key for key in data if key not in _STEP_KEYS)
        name = data.get("name") or f"{phase}[{index}].{action}"
        if "when" not in data:
            return _Conditional(ran=self.branch(f"{name} never ran", phase, index, action, key=True))
        loc = (phase, index, "when")
        source = str(data["when"]) if isinstance(data["when"], str) else str(data["when"]).lower()
        scope = self.draft.scope
        term = terms_of(source, scope.environment(answered=phase != "before"))
        if term.constant:
            return _Conditional()
        sides = {
            held: self.branch(f"the `when` of {name} was never {str(held).lower()}", *loc) for held in (True, False)
        }
        terms = {
            (leaf.start, held): self.term(source, leaf, held, *loc)
            for leaf in term.leaves()
            for held in (True, False)
            if term.terms and not leaf.constant
        }
        return _Conditional(None, term, sides, terms)

    def term(self, source: str, leaf: Term, held: bool, *loc: str | int) -> Branch:
        scope = self.draft.scope
        mark = scope.document.within((*scope.loc, *loc), leaf.start, leaf.end - leaf.start)
        text = f"`{_text(source, leaf)}` was never {str(held).lower()}"
        return Branch(scope.document.source.name, mark.line, mark.column, scope.name, "branch", text)


def _text(source: str, term: Term) -> str:
    """Cut a term out of its source; it does not know of the brackets that end it."""
    end = term.end
    while source.count("(", term.start, end) > source.count(")", term.start, end) and end < len(source):
        end += 1
    return " ".join(source[term.start : end].split())


def branches_of(drafts: Sequence[Draft]) -> dict[Branch, bool]:
    """Give the branches of rules that no case is about: none is reached."""
    return {branch: False for draft in drafts if draft.model.mode != "off" for branch in _Branches(draft).all()}
