"""Test files of rule authors: each case is run by the production engine, with a fixed clock and no network.

Pure: texts in, outcomes out. Reading files and printing is the command's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ...engine.message import Limits
from ...engine.ruleset import Ruleset
from ..compile import Draft, Options, build
from ..document import Document, Source, load
from ..problems import Problems
from ..validation import explain_validation
from .checks import check_file
from .coverage import Coverage
from .findings import Finding, Fix
from .inline_rules import InlineRules
from .model import Case, CaseFile, ExpectedProblem, Given
from .playing import Stage
from .rehearsing import Rehearse
from .tokens import secrets_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case went; `findings` says what differed, nothing when it went well. `ran` has rules in shadow too."""

    file: str
    line: int
    name: str
    findings: tuple[Finding, ...] = ()
    ran: tuple[str, ...] = ()
    # What would make it go well, by places in the file.
    fixes: tuple[Fix, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.findings


@dataclass(slots=True)
class Results:
    """All outcomes of a file and the names of its rules.

    `problems` are those of the test file, and those of its rules that no case expects; `texts` are the files' by name.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)
    texts: dict[str, str] = field(default_factory=dict)


FindRules = Callable[[str], Source | Sequence[Source] | None]
FindPack = Callable[[str], Source | None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case with the rules that it is about; with `findings`, empty or not, it has no exchange to play.

    `drafts` are what the rules were made from.
    """

    case: Case
    given: Given
    file: str
    line: int
    limits: Limits
    ruleset: Ruleset | None
    findings: tuple[Finding, ...] | None
    drafts: Sequence[Draft] = ()
    # Its place among the cases of the file.
    index: int = 0


def run_cases(
    source: Source,
    find_rules: FindRules,
    find_pack: FindPack,
    rehearse: Rehearse,
    coverage: Coverage | None = None,
    clock: Callable[[], float] | None = None,
) -> Results:
    """Run a test file; `find_rules` gives a rule file, or all of a folder, by the name that the test file uses.

    `rehearse` makes what performs the effects of a case; `coverage` gathers what of the rules the cases reach, and
    `clock` counts the seconds that each takes.
    """
    results = Results(texts={source.name: source.text})
    for one in prepare(source, find_rules, find_pack, results):
        findings = one.findings
        ran: tuple[str, ...] = ()
        fixes: tuple[Fix, ...] = ()
        began = clock() if clock is not None else 0.0
        if findings is None and one.ruleset is not None:
            ruleset = one.ruleset if coverage is None else coverage.watch(one.ruleset, one.drafts)
            played = Stage(ruleset, one.given, one.case, rehearse, one.limits, coverage).play()
            findings, ran = played.findings, played.ran
            fixes = tuple(Fix(("cases", one.index, *fix.loc), fix.value) for fix in played.fixes)
            if coverage is not None:
                coverage.finish()
        seconds = clock() - began if clock is not None else 0.0
        results.outcomes.append(Outcome(one.file, one.line, one.case.name, findings or (), ran, fixes, seconds))
    return results


def prepare(
    source: Source,
    find_rules: FindRules,
    find_pack: FindPack,
    results: Results,
    *,
    served: Sequence[Source] | None = None,
) -> Iterator[Prepared]:
    """Give the cases of a test file one by one; problems and the names of its rules go into `results`.

    `served` are rule files that take the place of all that the test file names.
    """
    document = load(source, results.problems)
    if document is None:
        return
    try:
        file = CaseFile.model_validate(document.data)
    except ValidationError as error:
        explain_validation(error, CaseFile, document, (), results.problems)
        return
    check_file(document, file, results.problems)
    if not results.problems.errors:
        yield from _Preparation(document, file, find_rules, find_pack, served, results).run()


_Rules = tuple[Ruleset | None, Problems, list[Draft]]
_Loc = tuple[str | int, ...]


class _Preparation:
    def __init__(
        self,
        document: Document,
        file: CaseFile,
        find_rules: FindRules,
        find_pack: FindPack,
        served: Sequence[Source] | None,
        results: Results,
    ) -> None:
        self.document = document
        self.file = file
        self.find_rules = find_rules
        self.find_pack = find_pack
        self.served = served
        self.results = results
        self.limits = Limits()
        self.secrets = secrets_of(file.given)

    def run(self) -> Iterator[Prepared]:
        shared: _Rules | None = None
        name = self.document.source.name
        for index, case in enumerate(self.file.cases):
            line = self.document.mark(("cases", index, "name")).line
            if case.rules is not None and self.served is None:
                packs = ("cases", index, "packs") if case.packs is not None else ("packs",)
                ruleset, problems, drafts = self.build(case.rules, ("cases", index, "rules"), packs)
            else:
                shared = shared or self.build(self.file.rules, ("rules",), ("packs",))
                ruleset, problems, drafts = shared
            found = self.check(case, ruleset, problems)
            findings = tuple(found) if found is not None else None
            yield Prepared(case, self.file.given, name, line, self.limits, ruleset, findings, drafts, index)
        if shared is not None and shared[0] is not None:
            self.results.rules = [rule.name for rule in shared[0].rules]

    def build(self, rules: list[Any], loc: _Loc, packs: _Loc) -> _Rules:
        """Build rules of the file or of one case as they would be served: files in the order of their names."""
        found = Problems()
        drafts: list[Draft] = []
        if self.served is not None:
            self.results.texts.update((source.name, source.text) for source in self.served)
            built = build(self.served, self.options(), found, keep=drafts)
            return built.ruleset, built.problems, drafts
        sources: dict[str, Source] = {}
        for index, name in enumerate(rules):
            if isinstance(name, str):
                given = self.find_rules(name)
                if given is None:
                    mark = self.document.mark((*loc, index))
                    found.error("unreadable-file", f"there is no rule file {name!r}", self.document.source.name, mark)
                    continue
                for source in [given] if isinstance(given, Source) else given:
                    sources[source.name] = source
        ordered = [sources[name] for name in sorted(sources, key=lambda name: name.split("/"))]
        written = [((*loc, index), rule) for index, rule in enumerate(rules) if isinstance(rule, dict)]
        inline: InlineRules | None = None
        if written or (self.document.at(packs) and not sources):
            inline = InlineRules(self.document, written, packs)
            ordered.append(inline.source)
        self.results.texts.update((source.name, source.text) for source in sources.values())
        built = build(ordered, self.options(), found, keep=drafts)
        if inline is None:
            return built.ruleset, built.problems, drafts
        problems = Problems()
        for problem in built.problems:
            problems.add(inline.relocate(problem))
        return built.ruleset, problems, drafts

    def options(self) -> Options:
        given = self.file.given

        def packs(name: str) -> Source | None:
            pack = self.find_pack(name)
            if pack is not None:
                self.results.texts[pack.name] = pack.text
            return pack

        return Options(
            secrets=self.secrets.get,
            packs=packs,
            public_origin=given.public_origin,
            allow_redirects=tuple(given.allow_redirects),
            limits=self.limits,
            need_secrets=True,
        )

    def check(self, case: Case, ruleset: Ruleset | None, problems: Problems) -> list[Finding] | None:
        """Compare the problems of the rules with what a case expects; None when the case goes on to a request."""
        findings: list[Finding] = []
        for kind, wanted in (("error", case.error), ("warning", case.warning)):
            if wanted is None:
                continue
            expected = ExpectedProblem(code=wanted) if isinstance(wanted, str) else wanted
            found = [problem for problem in problems if problem.severity == kind]
            if not any(
                problem.code == expected.code
                and (expected.text is None or expected.text in problem.text)
                and (expected.line is None or expected.line == problem.line)
                for problem in found
            ):
                told = "; ".join(f"{problem.line}: {problem.code}: {problem.text}" for problem in found) or "none"
                line = f" in line {expected.line}" if expected.line is not None else ""
                text = f"expected the {kind} {expected.code} {expected.text or ''}{line}, found {told}"
                findings.append(Finding(text))
        if case.error is not None:
            return findings
        if ruleset is None:
            for problem in problems.errors:
                self.results.problems.add(problem)
            return [
                Finding(f"the rules do not load: {p.source}:{p.line}:{p.column}: {p.code}: {p.text}")
                for p in problems.errors
            ]
        if case.request is None and case.exchanges is None:
            none = Finding("a case needs a `request`, `exchanges` or an `error`")
            return findings if case.warning is not None else [none]
        return findings or None
