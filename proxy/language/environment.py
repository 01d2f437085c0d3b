"""What a step is compiled against: the names that it may read, and what becomes known of it on the way.

One `RuleScope` gathers what a rule reads and removes; one `StepScope` is the environment of one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..engine.errors import EvaluationError, Side
from ..engine.exchange import Exchange
from ..engine.factors import Factor
from ..engine.message import Headers, Limits
from ..engine.ruleset import Operation
from . import template
from .action import Phase, Place, Value
from .cel import BOOL, BYTES, DYN, NULL, STRING, CelProblems, Environment, Program, Type, Variable, compile, to_json
from .document import Document, plain
from .factors import Written, compile_factor, readable
from .model import Match
from .packs import Vocabulary
from .paths import FieldPath, PathError
from .paths import parse as parse_path
from .problems import Problems, nearest
from .variables import ROOTS, blame, response, standing, type_of, variable

Loc = tuple[str | int, ...]

_STAND_IN = compile("dyn(null)", Environment())


@dataclass(frozen=True, slots=True)
class Options:
    """What a rule set is built with. `secrets` gives a secret by name, `packs` the text of a pack by name.

    With `need_secrets` a secret that is not there is an error, else a warning. `targets` are those where the rules are
    to run (targets.py), beside the proxy itself. `upstream` says whether there is one that rules may call.
    """

    secrets: Callable[[str], str | None]
    packs: Callable[[str], Any]
    public_origin: str | None = None
    allow_redirects: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    need_secrets: bool = False
    targets: tuple[str, ...] = ()
    upstream: bool = True


@dataclass(slots=True)
class RuleScope:
    """A rule on its way to being compiled."""

    name: str
    document: Document
    loc: Loc
    options: Options
    vocabulary: Vocabulary
    problems: Problems
    match: Match
    configuration: Mapping[str, Any]
    declared: dict[str, Type]
    functions: tuple[Any, ...]
    methods: frozenset[str] | None = None
    prefixes: tuple[str, ...] = ()
    needs_request: bool = False
    needs_response: bool = False
    response_fields: set[tuple[str, ...]] | None = field(default_factory=set)
    context_read: set[str] = field(default_factory=set)
    hidden_headers: set[str] = field(default_factory=set)
    hidden_fields: set[str] = field(default_factory=set)
    missing_secrets: set[str] = field(default_factory=set)
    suspends: bool = False
    factors: Mapping[str, Written] = field(default_factory=dict)
    deferrals: dict[str, Callable[[Headers, tuple[bytes, ...]], None]] = field(default_factory=dict)
    _environments: dict[tuple[bool, bool, bool, int], Environment] = field(default_factory=dict)

    def environment(self, *, answered: bool, more: Mapping[str, Variable] | None = None) -> Environment:
        """Give the names that an expression may read; kept until another variable is declared."""
        key = (answered, self.vocabulary.verified, bool(more), len(self.declared))
        found = self._environments.get(key)
        if found is None:
            roots = standing(self.name, self.configuration, self.vocabulary.variables(self.configuration))
            if answered:
                roots["response"] = response()
            roots |= {name: variable(name, type_) for name, type_ in self.declared.items()}
            roots |= more or {}
            found = self._environments[key] = Environment(variables=roots, functions=self.functions)
        return found


class StepScope:
    """The environment of one step (see action.StepEnvironment)."""

    def __init__(
        self,
        rule: RuleScope,
        phase: Phase,
        loc: Loc,
        *,
        document: Document | None = None,
        names: Mapping[str, Variable] | None = None,
    ) -> None:
        self.rule = rule
        self.phase: Phase = phase
        self.loc = loc
        # Settings of a factor stand elsewhere than the step that names it, and read more.
        self.document = document or rule.document
        self._names = names or {}
        self.factors: dict[str, Factor] = {}
        self.side: Side = "request" if phase == "before" else "response"
        self.rule_name = rule.name
        self.suspends = rule.suspends
        self.methods = rule.methods
        self.prefixes = rule.prefixes
        self.operations: Mapping[str, Operation] = rule.vocabulary.operations
        self.limits = rule.options.limits
        self.public_origin = rule.options.public_origin
        self.allow_redirects = rule.options.allow_redirects
        self.has_upstream = rule.options.upstream
        told = self.redaction = rule.vocabulary.redaction()
        if rule.hidden_headers or rule.hidden_fields:
            self.redaction = replace(
                told, headers=told.headers | rule.hidden_headers, fields=told.fields | rule.hidden_fields
            )
        self.footprints: set[str] = set()
        self.programs: list[tuple[Program, Loc]] = []
        self.paths: list[tuple[FieldPath, Loc]] = []
        self.declares: list[tuple[str, Type]] = []
        self.verified = False

    # Problems

    def problem(
        self,
        code: str,
        text: str,
        *loc: str | int,
        key: bool = False,
        warning: bool = False,
        suggestion: str | None = None,
    ) -> None:
        mark = self.document.mark((*self.loc, *loc), key=key)
        report = self.rule.problems.warning if warning else self.rule.problems.error
        report(code, text, self.document.source.name, mark, suggestion)

    def problem_within(
        self, code: str, text: str, offset: int, length: int, *loc: str | int, suggestion: str | None = None
    ) -> None:
        mark = self.document.within((*self.loc, *loc), offset, length)
        self.rule.problems.error(code, text, self.document.source.name, mark, suggestion)

    # Expressions

    def expression(
        self, source: str, *loc: str | int, type: Type | None = None, secrets: bool = False, answered: bool = False
    ) -> Program:
        return self._compile(source, 0, loc, type, secrets=secrets, answered=answered)

    def _compile(
        self, source: str, offset: int, loc: Loc, type_: Type | None, *, secrets: bool, answered: bool = False
    ) -> Program:
        environment = self.rule.environment(answered=answered or self.phase != "before", more=self._names)
        try:
            program = compile(source, environment)
        except CelProblems as found:
            for problem in found.problems:
                text = problem.text
                if self.phase == "before" and source[problem.start : problem.end] == "response":
                    text = "there is no response before the auth service was called"
                elif problem.code == "unknown-member":
                    text = self.rule.vocabulary.why_unknown(source[problem.start : problem.end]) or text
                self.problem_within(
                    problem.code, text, offset + problem.start, problem.end - problem.start, *loc,
                    suggestion=problem.suggestion,
                )  # fmt: skip
            return _STAND_IN
        if type_ is not None and program.type not in (type_, DYN):
            text = f"this must give a {type_}, and gives a {program.type}"
            self.problem_within("wrong-type", text, offset, len(source), *loc)
        # What is evaluated later has its own message to blame.
        self._note(program, blamed=not answered)
        self.programs.append((program, (*self.loc, *loc)))
        for name in sorted(program.secrets):
            if secrets:
                self._need_secret(name, offset, len(source), loc)
            else:
                self._refuse_secret(offset, len(source), loc)
        return program

    def _note(self, program: Program, *, blamed: bool) -> None:
        for read in program.reads:
            if blamed:
                self.footprints.add(read.footprint)
            if read.footprint == "request.body" and self.phase != "continue":
                # In `continue` the request is the return, whose body is always at hand.
                self.rule.needs_request = True
            elif read.footprint == "response.body":
                self._needs_response(read.path)
            elif read.footprint.startswith("context."):
                self.rule.context_read.add(read.footprint.removeprefix("context."))

    def _needs_response(self, path: Iterable[str | int] | None) -> None:
        rule = self.rule
        rule.needs_response = True
        if path is None:
            rule.response_fields = None
        elif rule.response_fields is not None:
            rule.response_fields.add(tuple(name for name in path if isinstance(name, str)))

    def _need_secret(self, name: str, offset: int, length: int, loc: Loc) -> None:
        options = self.rule.options
        if options.secrets(name) is None:
            mark = self.document.within((*self.loc, *loc), offset, length)
            report = self.rule.problems.error if options.need_secrets else self.rule.problems.warning
            report("missing-secret", f"there is no secret {name!r}", self.document.source.name, mark)

    def _refuse_secret(self, offset: int, length: int, loc: Loc) -> None:
        text = "a secret must not be used here: it could reach the client or a log"
        self.problem_within("secret-here", text, offset, length, *loc)

    def _parse(self, source: str, loc: Loc) -> list[str | template.Expression] | template.Secret:
        try:
            return template.parse(source)
        except template.TemplateError as error:
            self.problem_within("bad-template", error.text, error.offset, error.length, *loc)
            return [""]

    def _secret(self, secret: template.Secret, loc: Loc, *, allowed: bool) -> Callable[[Exchange], str]:
        if allowed:
            self._need_secret(secret.name, secret.offset, len(secret.name), loc)
        else:
            self._refuse_secret(secret.offset, len(secret.name), loc)
        get, name = self.rule.options.secrets, secret.name

        def read(_: Exchange) -> str:
            text = get(name)
            if text is None:
                raise EvaluationError(f"there is no secret {name!r}")
            return text

        return read

    def text(self, source: str, *loc: str | int, place: Place, secrets: bool = False) -> Value[str]:
        parts = self._parse(source, loc)
        write = template.WRITERS[place]
        if isinstance(parts, template.Secret):
            read = self._secret(parts, loc, allowed=secrets)
            return Value(lambda x: write(read(x)), False, STRING, (), frozenset({parts.name}))
        for part in parts:
            if isinstance(part, str) and (wrong := template.check_literal(part, place)) is not None:
                self.problem("bad-text", wrong, *loc)
        programs = {
            id(part): self._compile(part.source, part.offset, loc, None, secrets=secrets)
            for part in parts
            if isinstance(part, template.Expression)
        }
        for part in parts:
            if isinstance(part, template.Expression) and _never_text(programs[id(part)].type):
                wrong = f"a {programs[id(part)].type} cannot be written as text"
                self.problem_within("wrong-type", wrong, part.offset, len(part.source), *loc)
        used = tuple(programs.values())
        names = frozenset(name for program in used for name in program.secrets)
        if not used:
            literal = "".join(part for part in parts if isinstance(part, str))
            return Value(lambda _: literal, True, STRING)
        if len(parts) == 1:
            run = used[0].run
            return Value(lambda x: write(run(x)), False, STRING, used, names)
        if len(parts) == 2 and isinstance(parts[0], str):
            head, tail = parts[0], used[0].run
            return Value(lambda x: head + write(tail(x)), False, STRING, used, names)
        pieces = tuple(part if isinstance(part, str) else programs[id(part)].run for part in parts)
        return Value(
            lambda x: "".join([piece if isinstance(piece, str) else write(piece(x)) for piece in pieces]),
            False, STRING, used, names,
        )  # fmt: skip

    def pieces(self, source: str, *loc: str | int, secrets: bool = False) -> tuple[str | Value[Any], ...]:
        parts = self._parse(source, loc)
        if isinstance(parts, template.Secret):
            read = self._secret(parts, loc, allowed=secrets)
            return (Value(read, False, STRING, (), frozenset({parts.name})),)
        found: list[str | Value[Any]] = []
        for part in parts:
            if isinstance(part, str):
                found.append(part)
            else:
                program = self._compile(part.source, part.offset, loc, None, secrets=secrets)
                found.append(Value(program.run, program.constant, program.type, (program,), program.secrets))
        return tuple(found)

    def value(self, data: Any, *loc: str | int, secrets: bool = False, json: bool = True) -> Value[Any]:
        if isinstance(data, str):
            return self._string(data, loc, secrets=secrets, json=json)
        if isinstance(data, dict):
            for name in data:
                if "${" in name:
                    self.problem("bad-name", "a name is literal text; names are never templates", *loc, name, key=True)
            members = {key: self.value(item, *loc, key, secrets=secrets, json=json) for key, item in data.items()}
            if all(member.constant for member in members.values()):
                constant = plain({key: member.read(_NOTHING) for key, member in members.items()})
                return Value(lambda _: constant, True, type_of(constant))
            reads = tuple((key, member.read) for key, member in members.items())
            return _joined(lambda x: {key: read(x) for key, read in reads}, members.values())
        if isinstance(data, list):
            items = [self.value(item, *loc, index, secrets=secrets, json=json) for index, item in enumerate(data)]
            if all(item.constant for item in items):
                constant = [item.read(_NOTHING) for item in items]
                return Value(lambda _: constant, True, type_of(constant))
            each = tuple(item.read for item in items)
            return _joined(lambda x: [read(x) for read in each], items)
        constant = plain(data)
        return Value(lambda _: constant, True, type_of(constant))

    def _string(self, source: str, loc: Loc, *, secrets: bool, json: bool) -> Value[Any]:
        parts = self._parse(source, loc)
        if not isinstance(parts, template.Secret) and len(parts) == 1 and isinstance(parts[0], template.Expression):
            program = self._compile(parts[0].source, parts[0].offset, loc, None, secrets=secrets)
            run = program.run
            if json and program.type not in (STRING, BOOL, NULL):
                return Value(lambda x: to_json(run(x)), False, program.type, (program,), program.secrets)
            return Value(run, False, program.type, (program,), program.secrets)
        return self.text(source, *loc, place="text", secrets=secrets)

    def path(self, source: str, *loc: str | int) -> FieldPath:
        try:
            path = parse_path(source)
        except PathError as error:
            self.problem_within("bad-path", error.text, error.offset, 1, *loc)
            return parse_path("unknown")
        self.paths.append((path, loc))
        return path

    def secret(self, source: str, *loc: str | int) -> Value[bytes]:
        parts = self._parse(source, loc)
        if not isinstance(parts, template.Secret):
            text = "a key is never written in a rule file: write `${secret:NAME}`, alone in its string"
            self.problem("literal-secret", text, *loc)
            return Value(lambda _: b"", False, BYTES)
        read = self._secret(parts, loc, allowed=True)
        return Value(lambda x: read(x).encode(), False, BYTES, (), frozenset({parts.name}))

    def declare(self, name: str, type: Type, *loc: str | int) -> None:
        if not name.isidentifier() or not name.isascii():
            text = f"{name!r} cannot be a variable: letters, digits and `_`, not a digit first"
            self.problem("bad-name", text, *loc, key=True)
            return
        if name in ROOTS or name in RESERVED or any(getattr(f, "name", None) == name for f in self.rule.functions):
            self.problem("bad-name", f"{name!r} is taken: it is a name of the language", *loc, key=True)
            return
        # Only later steps see it: a step reads the exchange as it found it.
        self.declares.append((name, type))

    def verifies(self) -> None:
        self.verified = True

    def finish(self) -> Side | None:
        """Make what the step declared known to later ones; give the side to blame."""
        if self.verified:
            self.rule.vocabulary.verified = True
        for name, type_ in self.declares:
            known = self.rule.declared.get(name)
            merged = type_ if known is None or known == type_ else DYN
            if known != merged:
                self.rule.declared.pop(name, None)
                self.rule.declared[name] = merged
                self.rule._environments.clear()
        return blame(self.footprints)

    def reads_body(self, side: Side, path: Iterable[str | int] | None) -> None:
        self.footprints.add(f"{side}.body")
        if side == "request":
            self.rule.needs_request = True
        else:
            self._needs_response(path)

    def factor(self, name: str, *loc: str | int) -> Factor | None:
        written = self.rule.factors.get(name)
        if written is None:
            text = f"there is no factor {name!r}: `factors` of a rule file or a pack says how it is proved"
            self.problem("unknown-factor", text, *loc, suggestion=nearest(name, self.rule.factors))
            return None
        names = readable()

        def scope(*below: str | int) -> StepScope:
            return StepScope(self.rule, self.phase, (*written.loc, *below), document=written.document, names=names)

        found = self.factors[name] = compile_factor(name, written, scope)
        return found

    def collects(self, side: Side) -> None:
        if side == "request":
            self.rule.needs_request = True
        else:
            self.rule.needs_response = True

    def defers(self, apply: Callable[[Headers, tuple[bytes, ...]], None]) -> str:
        name = str(len(self.rule.deferrals))
        self.rule.deferrals[name] = apply
        return name

    def hides(self, *, header: str | None = None, field: str | None = None) -> None:
        if header is not None:
            self.rule.hidden_headers.add(header.lower())
        if field is not None:
            self.rule.hidden_fields.add(field)


# Words of CEL, and its functions and macros, that no variable may take.
RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "null",
        "package",
        "namespace",
        "return",
        "true",
        "var",
        "void",
        "while",
        "has",
        "all",
        "exists",
        "exists_one",
        "map",
        "filter",
        "size",
        "matches",
        "startsWith",
        "endsWith",
        "contains",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "bool",
        "timestamp",
        "duration",
        "dyn",
        "type",
        "list",
        "optional",
        "cel",
        "math",
        "strings",
        "base64",
        "base64url",
        "sha256",
        "hmac",
        "uuid",
        "constantTimeEqual",
        "cidr",
        "ip",
        "secret",
        "url",
        "jwt",
    ]
)


class _Nothing:
    """Stands for the exchange where a constant is read: nothing of it may be asked."""


_NOTHING: Any = _Nothing()


def _joined(read: Callable[[Exchange], Any], values: Iterable[Value[Any]]) -> Value[Any]:
    values = tuple(values)
    return Value(
        read,
        False,
        DYN,
        tuple(program for value in values for program in value.programs),
        frozenset(name for value in values for name in value.secrets),
    )


def _never_text(type_: Type) -> bool:
    return type_ in (BYTES, NULL) or str(type_).startswith(("list", "map"))
