"""What is wrong with a test file beyond its shape: names that mean nothing, expressions that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..cel import BOOL, DYN, CelProblems
from ..document import Document
from ..problems import Problems, nearest
from .content import Expectation
from .expressions import compiled
from .model import Case, CaseFile, GeneratedKey, OneByOne, Play, Token

_Loc = tuple[str | int, ...]


def check_file(document: Document, file: CaseFile, problems: Problems) -> None:
    """Report what a test file names and does not have."""
    _Checks(document, file, problems).run()


class _Checks:
    def __init__(self, document: Document, file: CaseFile, problems: Problems) -> None:
        self.document = document
        self.file = file
        self.problems = problems

    def run(self) -> None:
        given = self.file.given
        self.key_sets(given.key_sets, ("given", "key_sets"))
        self.tokens(given.tokens, ("given", "tokens"))
        for index, case in enumerate(self.file.cases):
            loc: _Loc = ("cases", index)
            self.key_sets(case.key_sets, (*loc, "key_sets"))
            self.tokens(case.tokens, (*loc, "tokens"))
            self.expressions(case.expect, (*loc, "expect"))
            for place, play in _plays(case, loc):
                self.play(case, play, place)

    def play(self, case: Case, play: Play, loc: _Loc) -> None:
        self.tokens(play.tokens, (*loc, "tokens"))
        self.expressions(play.expect, (*loc, "expect"))
        for name, source in play.keep.items():
            if name in {**self.file.given.tokens, **case.tokens, **play.tokens}:
                mark = self.document.mark((*loc, "keep", name), key=True)
                self.problems.error("bad-name", f"{name!r} is a token already", self.document.source.name, mark)
            self.expression(source, (*loc, "keep", name))

    def key_sets(self, key_sets: Mapping[str, Sequence[str] | str], loc: _Loc) -> None:
        for url, names in key_sets.items():
            for index, name in enumerate(names if not isinstance(names, str) else ()):
                place = (*loc, url, index)
                if self.secret(name, place) and not isinstance(self.file.given.secrets[name], GeneratedKey):
                    text = f"the secret {name!r} has no public key: write `{name}: {{generate: ES256}}`"
                    self.problems.error("wrong-value", text, self.document.source.name, self.document.mark(place))

    def tokens(self, tokens: Mapping[str, Token], loc: _Loc) -> None:
        for name, token in tokens.items():
            if token.secret is not None:
                self.secret(token.secret, (*loc, name, "secret"))

    def secret(self, name: str, loc: _Loc) -> bool:
        known = self.file.given.secrets
        if name not in known:
            text = f"`given.secrets` has no {name!r}"
            hint = nearest(name, known)
            self.problems.error("missing-secret", text, self.document.source.name, self.document.mark(loc), hint)
        return name in known

    def expressions(self, expect: Expectation | None, loc: _Loc) -> None:
        written = self.document.at((*loc, "holds"))
        for index, source in enumerate(expect.holds or () if expect is not None else ()):
            place = (*loc, "holds", index) if isinstance(written, list) else (*loc, "holds")
            self.expression(source, place, test=True)

    def expression(self, source: str, loc: _Loc, *, test: bool = False) -> None:
        name = self.document.source.name
        try:
            program = compiled(source)
        except CelProblems as found:
            for problem in found.problems:
                mark = self.document.within(loc, problem.start, problem.end - problem.start)
                self.problems.error(problem.code, problem.text, name, mark, problem.suggestion)
            return
        if test and program.type not in (BOOL, DYN):
            text = f"this must give a {BOOL}, and gives a {program.type}"
            self.problems.error("wrong-type", text, name, self.document.mark(loc))


def _plays(case: Case, loc: _Loc) -> Iterator[tuple[_Loc, Play]]:
    for index, exchange in enumerate(case.exchanges or ()):
        place = (*loc, "exchanges", index)
        if isinstance(exchange, OneByOne):
            yield place, exchange
        else:
            yield from (((*place, "together", inner), play) for inner, play in enumerate(exchange.together))
