"""Test files of rule authors: each case is run by the production engine, with a fixed clock and no network.

Pure: texts in, outcomes out. Reading files and printing is the command's.
"""

from __future__ import annotations

import base64
import datetime as dt
import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ..engine import codings, run
from ..engine.errors import EffectFailed, Unreadable
from ..engine.exchange import Exchange
from ..engine.message import Headers, Limits, Message, Request, Response
from ..engine.ruleset import Ruleset
from ..engine.target import canonical
from .compile import Options, build
from .document import Document, Source, load, plain
from .fields import Text
from .model import Model
from .problems import Problems
from .validation import explain_validation

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

Lines = dict[str, Text | list[Text] | None]


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class Content(Model):
    """A body: at most one way to write it."""

    headers: Lines = Field(default_factory=dict)
    json_: Any = Field(None, alias="json")
    form: dict[str, Text] | None = None
    text: Text | None = None
    body: Text | None = Field(None, description="The body as it is, with no type of its own.")
    base64: str | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Content:
        given = self.model_fields_set & {"json_", "form", "text", "body", "base64"}
        if len(given) > 1:
            raise ValueError("a body is written in one way: json, form, text, body or base64")
        return self


class GivenRequest(Content):
    """The request of a case."""

    operation: str | None = None
    method: str | None = None
    path: str | None = None
    query: dict[str, Text] = Field(default_factory=dict)
    cookies: dict[str, Text] = Field(default_factory=dict)
    ip: str = "192.0.2.1"
    scheme: Literal["http", "https"] = "http"


class GivenUpstream(Content):
    """The answer of the auth service in a case."""

    status: int = 200
    reason: str | None = None


class Expected(Model):
    """What a message must be; what is not named is not compared."""

    headers: Lines = Field(default_factory=dict)
    json_: Any = Field(None, alias="json")
    form: dict[str, Text] | None = None
    text: Text | None = None
    raw: Text | None = Field(None, description="The body as bytes, after undoing its coding.")
    absent: list[Text] = Field(default_factory=list, description="Texts that stand nowhere in the message.")


class ExpectedRequest(Expected):
    """The request as it was forwarded."""

    method: str | None = None
    path: str | None = None
    query: dict[str, Text | list[Text]] | None = None
    cookies: dict[str, Text | None] = Field(default_factory=dict)


class ExpectedResponse(Expected):
    """The answer to the client."""

    status: int | None = None
    reason: str | None = None


class ExpectedRules(Model):
    """What ran, and who denied."""

    ran: list[str] | None = None
    denied_by: str | None = None


class Expectation(Model):
    """What a case expects."""

    upstream: ExpectedRequest | Literal["not called"] | None = None
    response: ExpectedResponse | None = None
    rules: ExpectedRules | None = None
    log: Annotated[list[str], BeforeValidator(_listed)] | None = Field(
        None, description="Texts of which each stands in a line that a rule logged."
    )


class ExpectedProblem(Model):
    """A problem that the rules must have."""

    code: str
    text: str | None = None
    line: int | None = None


class Case(Model):
    """One case: a request, the auth service's answer, and what comes of it; or the problem that the rules must have."""

    name: Text
    rules: list[str | dict[str, Any]] | None = Field(None, description="Rules of this case alone.")
    packs: list[str] | None = Field(None, description="Packs of this case's rules.")
    request: GivenRequest | None = None
    upstream: GivenUpstream | None = None
    expect: Expectation | None = None
    error: ExpectedProblem | str | None = Field(None, description="The code of a load error, or `{code, text, line}`.")
    warning: ExpectedProblem | str | None = Field(None, description="The same for a warning.")


class Given(Model):
    """What holds for all cases of a file."""

    now: str | None = None
    secrets: dict[str, Text] = Field(default_factory=dict)
    public_origin: str | None = None
    allow_redirects: list[str] = Field(default_factory=list)


class CaseFile(Model):
    """A test file."""

    rules: list[str | dict[str, Any]] = Field(default_factory=list, description="Rule files beside it, or rules.")
    packs: list[str] = Field(default_factory=list)
    configuration: dict[str, Any] = Field(default_factory=dict)
    given: Given = Field(default_factory=Given)
    cases: list[Case]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case went; `findings` says what differed, nothing when it went well."""

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
    """All outcomes of a file, the names of its rules, and the problems of the file or its rules."""

    outcomes: list[Outcome] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)


Find = Callable[[str], Source | None]


def run_cases(source: Source, find_rules: Find, find_pack: Find) -> Results:
    """Run a test file; `find_rules` gives a rule file by the name that the test file uses."""
    results = Results()
    document = load(source, results.problems)
    if document is None:
        return results
    try:
        file = CaseFile.model_validate(document.data)
    except ValidationError as error:
        explain_validation(error, CaseFile, document, (), results.problems)
        return results
    _Runner(source, document, file, find_rules, find_pack, results).run()
    return results


class _Runner:
    def __init__(
        self, source: Source, document: Document, file: CaseFile, find_rules: Find, find_pack: Find, results: Results
    ) -> None:
        self.source = source
        self.document = document
        self.file = file
        self.find_rules = find_rules
        self.find_pack = find_pack
        self.results = results
        self.limits = Limits()
        moment = dt.datetime.fromisoformat(file.given.now) if file.given.now else NOW
        self.now = moment.timestamp()

    def run(self) -> None:
        shared: tuple[Ruleset | None, Problems] | None = None
        for index, case in enumerate(self.file.cases):
            line = self.document.mark(("cases", index, "name")).line
            if case.rules is not None:
                ruleset, problems = self.build(case.rules, case.packs)
            else:
                shared = shared or self.build(self.file.rules, None)
                ruleset, problems = shared
            findings = self.check(case, ruleset, problems)
            ran: tuple[str, ...] = ()
            if findings is None and ruleset is not None:
                findings, ran = self.play(case, ruleset)
            self.results.outcomes.append(Outcome(self.source.name, line, case.name, tuple(findings or ()), ran))
        if shared is not None and shared[0] is not None:
            self.results.rules = [rule.name for rule in shared[0].rules]

    def build(self, rules: list[str | dict[str, Any]], packs: list[str] | None) -> tuple[Ruleset | None, Problems]:
        problems = Problems()
        sources: list[Source] = []
        for index, name in enumerate(rules):
            if isinstance(name, str):
                found = self.find_rules(name)
                if found is None:
                    mark = self.document.mark(("rules", index))
                    problems.error("unreadable-file", f"there is no rule file {name!r}", self.source.name, mark)
                else:
                    sources.append(found)
        inline = [plain(rule) for rule in rules if isinstance(rule, dict)]
        if inline:
            sources.append(self.inline(inline, self.file.packs if packs is None else packs))
        given = self.file.given
        options = Options(
            secrets=given.secrets.get,
            packs=self.find_pack,
            public_origin=given.public_origin,
            allow_redirects=tuple(given.allow_redirects),
            limits=self.limits,
            need_secrets=True,
        )
        built = build(sources, options, problems)
        return built.ruleset, built.problems

    def inline(self, rules: list[dict[str, Any]], packs: list[str]) -> Source:
        """Write rules of a test file as a rule file of their own (JSON is YAML)."""
        data = {"version": 1, "packs": packs, "configuration": plain(self.file.configuration), "rules": rules}
        return Source(f"{self.source.name}#rules", json.dumps(data, indent=1, ensure_ascii=False))

    def check(self, case: Case, ruleset: Ruleset | None, problems: Problems) -> list[str] | None:
        """Compare the problems of the rules with what a case expects of them; None when the case goes on to a request."""
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
                told = "; ".join(f"{problem.code}: {problem.text}" for problem in found) or "none"
                findings.append(f"expected the {kind} {expected.code} {expected.text or ''}, found {told}")
        if case.error is not None:
            return findings
        if ruleset is None:
            return [
                f"the rules do not load: {p.source}:{p.line}:{p.column}: {p.code}: {p.text}" for p in problems.errors
            ]
        if case.request is None:
            return findings if case.warning is not None else ["a case needs a `request` or an `error`"]
        return findings or None

    # Playing a case

    def play(self, case: Case, ruleset: Ruleset) -> tuple[list[str], tuple[str, ...]]:
        given = case.request or GivenRequest()
        random = _entropy(case.name)
        try:
            request = self.request(given, ruleset)
        except _CaseError as error:
            return [str(error)], ()
        except Unreadable as error:
            blank = Request("GET", "/", None, Headers(), limits=self.limits)
            exchange = run.begin(ruleset, blank, clock=lambda: self.now, entropy=random)
            exchange.chosen = ()
            refused = self.settle(run.refuse(exchange, error.status, error.cause))
            return self.compare(case, exchange, None, refused), ()
        exchange = run.begin(ruleset, request, clock=lambda: self.now, entropy=random)
        forwarded: Request | None = None
        try:
            ruleset.choose(exchange)
            early = self.settle(run.before(exchange))
        except Unreadable as error:
            early = self.settle(run.refuse(exchange, error.status, error.cause))
        if early is None:
            forwarded = exchange.request.copy()
            upstream = case.upstream or GivenUpstream()
            answer = self.settle(run.after(exchange, self.response(upstream)))
        else:
            answer = early
        return self.compare(case, exchange, forwarded, answer), tuple(exchange.ran)

    def settle(self, result: Any) -> Response | None:
        """Fail every effect: nothing outside is there in a test."""
        while isinstance(result, run.Pending):
            result = result.fail(EffectFailed("there is no network in a test"), 0.0)
        answer: Response | None = result
        return answer

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
            query = (f"{query}&" if query else "") + urlencode(given.query)
        headers, content = _content(given, "request")
        host = headers.text(b"host") or "localhost"
        if given.cookies:
            headers.add(b"Cookie", "; ".join(f"{name}={value}" for name, value in given.cookies.items()).encode())
        return Request(
            (method or "GET").upper(), target, query, headers, content,
            limits=self.limits, scheme=given.scheme, host=host, ip=given.ip, ips=(given.ip,),
        )  # fmt: skip

    def response(self, given: GivenUpstream) -> Response:
        headers, content = _content(given, "response")
        return Response(given.status, headers, content, limits=self.limits, reason=given.reason)

    # Comparing

    def compare(self, case: Case, exchange: Exchange, forwarded: Request | None, answer: Response | None) -> list[str]:
        expect = case.expect or Expectation()
        findings: list[str] = []
        if expect.upstream == "not called":
            if forwarded is not None:
                findings.append("upstream: the request was forwarded, and should not have been")
        elif expect.upstream is not None:
            if forwarded is None:
                status = answer.status if answer is not None else "no answer"
                findings.append(f"upstream: the request was not forwarded ({status}: {exchange.verdict.cause})")
            else:
                findings += self.compare_request(expect.upstream, forwarded)
        if expect.response is not None and answer is not None:
            findings += self.compare_response(expect.response, answer, exchange)
        if expect.rules is not None:
            findings += _compare_rules(expect.rules, exchange)
        if expect.log is not None:
            lines = [
                f"{note.kind} {note.rule}: {note.message} {json.dumps(note.fields, default=str)}"
                for note in exchange.notes
            ]
            findings += [
                f"log: no line has {text!r} in {lines}"
                for text in expect.log
                if not any(text in line for line in lines)
            ]
        return findings

    def compare_request(self, expected: ExpectedRequest, request: Request) -> list[str]:
        findings: list[str] = []
        if expected.method is not None and request.method != expected.method:
            findings.append(f"upstream.method: expected {expected.method}, got {request.method}")
        if expected.path is not None and request.path != expected.path:
            findings.append(f"upstream.path: expected {expected.path}, got {request.path}")
        if expected.query is not None:
            got: dict[str, list[str]] = {}
            for name, value in parse_qsl(request.query or "", keep_blank_values=True):
                got.setdefault(name, []).append(value)
            wanted = {name: _listed(value) for name, value in expected.query.items()}
            if got != wanted:
                findings.append(f"upstream.query: expected {wanted}, got {got}")
        for name, cookie in expected.cookies.items():
            have = request.cookies.all(name)
            if have != ([] if cookie is None else [cookie]):
                findings.append(f"upstream.cookies.{name}: expected {cookie!r}, got {have!r}")
        head = f"{request.method} {request.url}\n"
        return [*findings, *_compare_message("upstream", expected, request, head, None)]

    def compare_response(self, expected: ExpectedResponse, answer: Response, exchange: Exchange) -> list[str]:
        findings: list[str] = []
        if expected.status is not None and answer.status != expected.status:
            cause = exchange.verdict.cause or exchange.verdict.reason
            why = f" ({exchange.verdict.rule}: {cause})" if cause else ""
            findings.append(f"response.status: expected {expected.status}, got {answer.status}{why}")
        if expected.reason is not None and answer.reason != expected.reason:
            findings.append(f"response.reason: expected {expected.reason!r}, got {answer.reason!r}")
        own = exchange.correlation if answer.origin != "upstream" else None
        return [*findings, *_compare_message("response", expected, answer, f"{answer.status} {answer.reason}\n", own)]


class _CaseError(Exception):
    """A case that cannot be played."""


def _entropy(seed: str) -> Callable[[int], bytes]:
    """Give bytes that are the same in every run of a case."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed}\0{count}".encode()).digest(size)

    return entropy


def _content(given: Content, side: Literal["request", "response"]) -> tuple[Headers, bytes | None]:
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
    lines = [(name, text) for name, values in given.headers.items() if values is not None for text in _listed(values)]
    headers = Headers.of(lines, side=side)
    if kind is not None and b"content-type" not in headers:
        headers.add(b"Content-Type", kind.encode())
    coding = (headers.text(b"content-encoding") or "").lower()
    if content and given.body is None and given.base64 is None and coding in codings.CODINGS:
        content = codings.encode(content, coding)
    return headers, content


def _compare_rules(expected: ExpectedRules, exchange: Exchange) -> Iterator[str]:
    if expected.ran is not None and exchange.ran != expected.ran:
        yield f"rules.ran: expected {expected.ran}, got {exchange.ran}"
    if "denied_by" in expected.model_fields_set:
        verdict = exchange.verdict
        denied = verdict.rule if verdict.by == "rule" and verdict.action == "deny" else None
        if denied != expected.denied_by:
            yield f"rules.denied_by: expected {expected.denied_by}, got {denied}"


def _decoded(message: Message) -> bytes:
    coding = (message.headers.text(b"content-encoding") or "").lower()
    content = message.content or b""
    return codings.decode(content, coding, 1 << 30, message.side) if content and coding in codings.CODINGS else content


def _compare_message(
    where: str, expected: Expected, message: Message, head: str, correlation: str | None
) -> Iterator[str]:
    for name, values in expected.headers.items():
        got = [value.decode("utf-8", "replace") for value in message.headers.values(name.lower().encode())]
        wanted = [] if values is None else _listed(values)
        if got != wanted and not (len(wanted) == 1 and ", ".join(got) == wanted[0]):
            yield f"{where}.headers.{name}: expected {wanted}, got {got}"
    content = _decoded(message)
    if "json_" in expected.model_fields_set:
        yield from _compare_json(where, plain(expected.json_), content, correlation)
    if expected.form is not None:
        form = dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))
        if form != expected.form:
            yield f"{where}.form: expected {expected.form}, got {form}"
    for key, text in (("text", expected.text), ("raw", expected.raw)):
        if text is not None and content != text.encode():
            yield f"{where}.{key}: expected {text!r}, got {content.decode('utf-8', 'replace')!r}"
    lines = "".join(f"{n.decode('latin-1')}: {v.decode('utf-8', 'replace')}\n" for _, n, v in message.headers.lines)
    everything = head + lines + content.decode("utf-8", "replace")
    for text in expected.absent:
        if text in everything:
            yield f"{where}.absent: {text!r} stands in the message"


def _without(value: Any, text: str | None) -> Any:
    """Leave out members that hold the correlation id, or another that only the run knows."""
    if isinstance(value, Mapping):
        return {
            key: _without(item, text)
            for key, item in value.items()
            if text is None or not (isinstance(item, str) and text in item)
        }
    if isinstance(value, list):
        return [_without(item, text) for item in value]
    return value


def _compare_json(where: str, wanted: Any, content: bytes, correlation: str | None) -> Iterator[str]:
    try:
        got = msgspec.json.decode(content)
    except msgspec.DecodeError:
        yield f"{where}.json: the body is not JSON: {content[:200].decode('utf-8', 'replace')!r}"
        return
    got = _without(got, correlation)
    if _typed(got) != _typed(wanted):
        one = json.dumps(wanted, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
        other = json.dumps(got, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
        shown = list(difflib.unified_diff(one, other, "expected", "got", lineterm="", n=2))
        yield f"{where}.json:\n" + "\n".join(f"      {line}" for line in shown[2:])


def _typed(value: Any) -> Any:
    """Make 1, 1.0 and true three different values."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return type(value).__name__, value
