"""Test files of rule authors: each case is run by the production engine, with a fixed clock and no network.

Pure: texts in, outcomes out. Reading files and printing is the command's.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
from pydantic import ValidationError

from ..engine import codings, run
from ..engine.errors import EffectFailed, Unreadable
from ..engine.exchange import Exchange
from ..engine.message import Headers, Limits, Request, Response
from ..engine.ruleset import Ruleset
from ..engine.target import canonical
from .case_model import Case, CaseFile, Content, Expectation, ExpectedProblem, GivenRequest, GivenUpstream, listed
from .comparison import compare
from .compile import Options, build
from .document import Document, Source, load, plain
from .inline_rules import InlineRules
from .problems import Problems
from .validation import explain_validation


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case went; `findings` says what differed, nothing when it went well. `ran` has rules in shadow too."""

    file: str
    line: int
    name: str
    findings: tuple[str, ...] = ()
    ran: tuple[str, ...] = ()

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


# A request that has one of them twice is refused before any rule sees it.
_ONCE = (b"authorization", b"content-type", b"host")

FindRules = Callable[[str], Source | Sequence[Source] | None]
FindPack = Callable[[str], Source | None]


def run_cases(source: Source, find_rules: FindRules, find_pack: FindPack) -> Results:
    """Run a test file; `find_rules` gives a rule file, or all of a folder, by the name that the test file uses."""
    results = Results(texts={source.name: source.text})
    document = load(source, results.problems)
    if document is None:
        return results
    try:
        file = CaseFile.model_validate(document.data)
    except ValidationError as error:
        explain_validation(error, CaseFile, document, (), results.problems)
        return results
    _Runner(document, file, find_rules, find_pack, results).run()
    return results


_Rules = tuple[Ruleset | None, Problems]
_Loc = tuple[str | int, ...]


class _Runner:
    def __init__(
        self, document: Document, file: CaseFile, find_rules: FindRules, find_pack: FindPack, results: Results
    ) -> None:
        self.document = document
        self.file = file
        self.find_rules = find_rules
        self.find_pack = find_pack
        self.results = results
        self.limits = Limits()
        self.now = file.given.now.timestamp()

    def run(self) -> None:
        shared: _Rules | None = None
        name = self.document.source.name
        for index, case in enumerate(self.file.cases):
            line = self.document.mark(("cases", index, "name")).line
            if case.rules is not None:
                packs = ("cases", index, "packs") if case.packs is not None else ("packs",)
                ruleset, problems = self.build(case.rules, ("cases", index, "rules"), packs)
            else:
                shared = shared or self.build(self.file.rules, ("rules",), ("packs",))
                ruleset, problems = shared
            findings = self.check(case, ruleset, problems)
            ran: tuple[str, ...] = ()
            if findings is None and ruleset is not None:
                findings, ran = self.play(case, ruleset)
            self.results.outcomes.append(Outcome(name, line, case.name, tuple(findings or ()), ran))
        if shared is not None and shared[0] is not None:
            self.results.rules = [rule.name for rule in shared[0].rules]

    def build(self, rules: list[Any], loc: _Loc, packs: _Loc) -> _Rules:
        """Build rules of the file or of one case as they would be served: files in the order of their names."""
        found = Problems()
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
            inline = InlineRules(self.document, written, packs, ("configuration",))
            ordered.append(inline.source)
        self.results.texts.update((source.name, source.text) for source in sources.values())
        built = build(ordered, self.options(), found)
        if inline is None:
            return built.ruleset, built.problems
        problems = Problems()
        for problem in built.problems:
            problems.add(inline.relocate(problem))
        return built.ruleset, problems

    def options(self) -> Options:
        given = self.file.given

        def packs(name: str) -> Source | None:
            pack = self.find_pack(name)
            if pack is not None:
                self.results.texts[pack.name] = pack.text
            return pack

        return Options(
            secrets=given.secrets.get,
            packs=packs,
            public_origin=given.public_origin,
            allow_redirects=tuple(given.allow_redirects),
            limits=self.limits,
            need_secrets=True,
        )

    def check(self, case: Case, ruleset: Ruleset | None, problems: Problems) -> list[str] | None:
        """Compare the problems of the rules with what a case expects; None when the case goes on to a request."""
        findings = []
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
                findings.append(f"expected the {kind} {expected.code} {expected.text or ''}{line}, found {told}")
        if case.error is not None:
            return findings
        if ruleset is None:
            for problem in problems.errors:
                self.results.problems.add(problem)
            return [
                f"the rules do not load: {p.source}:{p.line}:{p.column}: {p.code}: {p.text}" for p in problems.errors
            ]
        if case.request is None:
            return findings if case.warning is not None else ["a case needs a `request` or an `error`"]
        return findings or None

    # Playing a case

    def play(self, case: Case, ruleset: Ruleset) -> tuple[list[str], tuple[str, ...]]:
        expect = case.expect or Expectation()
        try:
            request = self.request(case.request or GivenRequest(), ruleset)
        except _CaseError as error:
            return [str(error)], ()
        except Unreadable as error:
            # A target that no request can have is refused before there is an exchange with rules.
            blank = Request("GET", "/", None, Headers(), limits=self.limits)
            exchange = self.begin(case, ruleset, blank)
            exchange.chosen = ()
            return compare(expect, exchange, None, settle(run.refuse(exchange, error.status, error.cause))), ()
        exchange = self.begin(case, ruleset, request)
        forwarded: Request | None = None
        try:
            ruleset.choose(exchange)
            answer = settle(run.before(exchange))
        except Unreadable as error:
            answer = settle(run.refuse(exchange, error.status, error.cause))
        if answer is None:
            forwarded = exchange.request.copy()
            answer = settle(run.after(exchange, self.response(case.upstream or GivenUpstream())))
        shadows = [note.rule for note in exchange.notes if note.kind == "shadow"]
        return compare(expect, exchange, forwarded, answer), tuple(dict.fromkeys([*exchange.ran, *shadows]))

    def begin(self, case: Case, ruleset: Ruleset, request: Request) -> Exchange:
        return run.begin(ruleset, request, clock=lambda: self.now, entropy=_entropy(case.name))

    def request(self, given: GivenRequest, ruleset: Ruleset) -> Request:
        method, path = given.method, given.path
        if given.operation is not None:
            found = {operation.name: operation for operation in ruleset.operations}.get(given.operation)
            if found is None:
                raise _CaseError(f"no pack of the rules has an operation {given.operation!r}")
            method = method or found.method
            path = path or "/" + "/".join("x" if part is None else part for part in found.path.segments)
        if path is None:
            raise _CaseError("a request needs an `operation` or a `path`")
        target, query = canonical(path)
        if given.query:
            pairs = [(name, value) for name, values in given.query.items() for value in listed(values)]
            query = (f"{query}&" if query else "") + urlencode(pairs)
        headers, content = _content(given, "request")
        for name in _ONCE:
            if len(headers.values(name)) > 1:
                raise Unreadable("request", f"there is more than one {name.decode()}")
        host = headers.text(b"host") or "localhost"
        if given.cookies:
            headers.add(b"Cookie", "; ".join(f"{name}={value}" for name, value in given.cookies.items()).encode())
        return Request(
            method or "GET", target, query, headers, content,
            limits=self.limits, scheme=given.scheme, host=host, ip=given.ip, ips=(given.ip,),
        )  # fmt: skip

    def response(self, given: GivenUpstream) -> Response:
        headers, content = _content(given, "response")
        return Response(given.status, headers, content, limits=self.limits, reason=given.reason)


class _CaseError(Exception):
    """A case that cannot be played."""


def settle(result: Response | run.Pending | None) -> Response | None:
    """Fail every effect: nothing outside is there in a test."""
    while isinstance(result, run.Pending):
        result = result.fail(EffectFailed("there is no network in a test"), 0.0)
    return result


def _entropy(seed: str) -> Callable[[int], bytes]:
    """Give bytes that are the same in every run of a case."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed}\0{count}".encode()).digest(size)

    return entropy


def _content(given: Content, side: Literal["request", "response"]) -> tuple[Headers, bytes | None]:
    """Write the headers and the body of a message; a body that is written as a value is coded as its headers say."""
    content: bytes | None = None
    kind: str | None = None
    if "json_" in given.model_fields_set:
        content, kind = msgspec.json.encode(plain(given.json_)), "application/json"
    elif given.form is not None:
        content, kind = urlencode(given.form).encode(), "application/x-www-form-urlencoded"
    elif given.text is not None:
        content, kind = given.text.encode(), "text/plain; charset=utf-8"
    elif given.body is not None:
        content = given.body.encode()
    elif given.base64 is not None:
        content = base64.b64decode(given.base64)
    lines = [(name, text) for name, values in given.headers.items() if values is not None for text in listed(values)]
    headers = Headers.of(lines, side=side)
    if kind is not None and b"content-type" not in headers:
        headers.add(b"Content-Type", kind.encode())
    coding = (headers.text(b"content-encoding") or "").lower()
    if content and given.body is None and given.base64 is None and coding in codings.CODINGS:
        content = codings.encode(content, coding)
    return headers, content
