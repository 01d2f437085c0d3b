"""Rules as they run, and choosing those of an exchange.

Choosing is by index: a tree over path segments finds the rules whose path can match, and what it finds is kept per
method and path, so that the common request costs one look-up. What depends on more than method and path (a host, a
header, a client's address) is a predicate that is asked each time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar
from urllib.parse import unquote

from mypy_extensions import mypyc_attr

from .effects import Effect
from .errors import Side, Unreadable
from .exchange import Exchange
from .message import Headers, Request, Response
from .suspension import Codec, PlainCodec, Suspend


class Flow(Enum):
    """What a step may say beside "go on" (None) and "this is the answer" (a Response)."""

    END = "end"


Outcome = Response | Flow | Suspend | None
Running = Generator[Effect, Any, Outcome]
Run = Callable[[Exchange], "Outcome | Running"]


@dataclass(frozen=True, slots=True)
class Step:
    """One action, compiled. `side` is the message to blame for an evaluation that does not say whose fault it is."""

    run: Run
    action: str
    name: str
    when: Callable[[Exchange], Any] | None = None
    side: Side | None = None
    position: str = ""
    # What a challenge can ask for, by name: for the one who comes back to prove it.
    factors: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """A named call of a pack: a method and a path template."""

    name: str
    method: str
    path: PathPattern
    dialect: str
    pack: str
    # The query parameter by which a client limits the fields of the answer, where the API has one.
    projection: str | None = None


@dataclass(frozen=True, slots=True)
class PathPattern:
    """The path of a match: segments, where None is any one non-empty segment; `prefix` also takes everything below.

    `search` replaces the segments by a test of the whole path. `names` are the names of the None segments, in order.
    `slash` says that it was written with one at its end, which no match sees and a call of the operation keeps.
    """

    segments: tuple[str | None, ...] = ()
    names: tuple[str, ...] = ()
    prefix: bool = False
    slash: bool = False
    search: Callable[[str], object] | None = None


@dataclass(slots=True)
class Rule:
    """A rule, compiled.

    `predicate` is what the index cannot answer. `needs_request` and `needs_response` say which bodies its steps read,
    so that all others can pass through.
    """

    name: str
    position: int
    paths: tuple[PathPattern, ...] = (PathPattern(prefix=True),)
    methods: frozenset[str] | None = None
    operations: tuple[str, ...] | None = None
    predicate: Callable[[Request], bool] | None = None
    statuses: Callable[[int], bool] | None = None
    origins: frozenset[str] = frozenset({"upstream"})
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    resume: tuple[Step, ...] = ()
    shadow: bool = False
    fraction: float = 1.0
    sticky: Callable[[Exchange], Any] | None = None
    sticky_side: Side | None = None
    skip_errors: bool = False
    timeout: float = 5.0
    needs_request: bool = False
    needs_response: bool = False
    # The fields of the response body that its `after` steps read, as paths; None stands for the whole body.
    response_fields: frozenset[tuple[str, ...]] | None = frozenset()
    # What it was compiled from, as a digest: an exchange that it suspended is taken up by the same rule or by none.
    revision: str = ""
    # The edits of its `response_headers`, by name.
    deferrals: Mapping[str, Callable[[Headers, tuple[bytes, ...]], None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A rule that matched, with the decoded path parameters of its match."""

    rule: Rule
    params: dict[str, str]


def fits(rule: Rule, origin: str, status: int) -> bool:
    """Say whether a rule has `after` steps for an answer of this origin and status."""
    return bool(rule.after) and origin in rule.origins and (rule.statuses is None or rule.statuses(status))


class Choice:
    """The rules that an exchange has, and what is known of them together; never changed once built.

    `needs_request` says that one needs the request's body, `is_sampled` that one runs on a share of the exchanges,
    `reads_answer` that one is for some answers of the upstream only, or reads its body.
    """

    __slots__ = ("_answers", "before", "is_sampled", "needs_request", "reads_answer", "rules")

    def __init__(self, rules: tuple[Chosen, ...]) -> None:
        self.rules = rules
        self.before = tuple([chosen for chosen in rules if chosen.rule.before])
        later = [chosen.rule for chosen in rules if chosen.rule.after]
        self.is_sampled = any(chosen.rule.fraction < 1 for chosen in rules)
        self.needs_request = any(chosen.rule.needs_request for chosen in rules)
        self.reads_answer = any(rule.needs_response or rule.statuses is not None for rule in later)
        self._answers: dict[tuple[str, int], tuple[tuple[Chosen, ...], bool]] = {}

    def for_answer(self, origin: str, status: int) -> tuple[tuple[Chosen, ...], bool]:
        """Give the rules whose `after` steps are for such an answer, and whether one of them reads its body."""
        found = self._answers.get((origin, status))
        if found is None:
            rules = tuple([chosen for chosen in self.rules if fits(chosen.rule, origin, status)])
            found = rules, any(chosen.rule.needs_response for chosen in rules)
            # There are some hundred statuses and three origins.
            self._answers[(origin, status)] = found
        return found


NO_RULES = Choice(())


class Route:
    """What method and path alone decide; with `is_open` some rule still has a predicate to be asked."""

    __slots__ = ("_choices", "_rules", "is_open", "operation")

    remembered: ClassVar[int] = 256

    def __init__(self, operation: Operation | None, rules: tuple[Chosen, ...]) -> None:
        self.operation = operation
        self._rules = rules
        self.is_open = any(chosen.rule.predicate is not None for chosen in rules)
        self._choices: dict[tuple[bool, ...], Choice] = {}

    def choose(self, request: Request) -> Choice:
        """Choose the rules of a request; raises Unreadable."""
        if not self.is_open:
            held: tuple[bool, ...] = ()
        else:
            held = tuple([
                chosen.rule.predicate is None or chosen.rule.predicate(request) for chosen in self._rules
            ])  # fmt: skip
        choice = self._choices.get(held)
        if choice is None:
            if len(self._choices) >= self.remembered:
                self._choices.clear()
            rules = [chosen for chosen, holds in zip(self._rules, held, strict=True) if holds] if held else self._rules
            choice = self._choices[held] = Choice(tuple(rules))
        return choice


@dataclass(slots=True)
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None
    here: list[tuple[Any, PathPattern]] = field(default_factory=list)
    below: list[tuple[Any, PathPattern]] = field(default_factory=list)


def split(path: str) -> list[str]:
    """Split a canonical path into segments; one trailing slash is ignored."""
    path = path.removesuffix("/")
    return path.split("/")[1:]


class PathIndex:
    """A tree over path segments; finds every pattern that a path satisfies, with its parameters."""

    def __init__(self, entries: Iterable[tuple[Any, PathPattern]]) -> None:
        self._root = _Node()
        self._searched: list[tuple[Any, PathPattern]] = []
        for what, pattern in entries:
            if pattern.search is not None:
                self._searched.append((what, pattern))
                continue
            node = self._root
            for segment in pattern.segments:
                if segment is None:
                    node.any = node.any or _Node()
                    node = node.any
                else:
                    node = node.literal.setdefault(segment, _Node())
            (node.below if pattern.prefix else node.here).append((what, pattern))

    def find(self, path: str) -> list[tuple[Any, dict[str, str]]]:
        found: list[tuple[Any, dict[str, str]]] = []

        def walk(node: _Node, rest: list[str], taken: tuple[str, ...]) -> None:
            found.extend((what, _params(pattern, taken)) for what, pattern in node.below)
            if not rest:
                found.extend((what, _params(pattern, taken)) for what, pattern in node.here)
                return
            head, tail = rest[0], rest[1:]
            if (literal := node.literal.get(head)) is not None:
                walk(literal, tail, taken)
            if node.any is not None and head:
                walk(node.any, tail, (*taken, head))

        walk(self._root, split(path), ())
        whole = path[:-1] if len(path) > 1 and path.endswith("/") else path
        for what, pattern in self._searched:
            if pattern.search is not None and pattern.search(whole):
                found.append((what, {}))
        return found


def _params(pattern: PathPattern, taken: tuple[str, ...]) -> dict[str, str]:
    try:
        return {name: unquote(value, errors="strict") for name, value in zip(pattern.names, taken, strict=True)}
    except UnicodeDecodeError:
        raise Unreadable("request", "a path parameter is not UTF-8") from None


@mypyc_attr(allow_interpreted_subclasses=True)
class Ruleset:
    """All rules of a configuration. Never changed once built; a reload builds another.

    `routes` is bounded: a client that makes up paths empties the memory of routes, no more.
    """

    remembered: ClassVar[int] = 4096
    none: ClassVar[Choice] = NO_RULES

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        operations: Iterable[Operation] = (),
        *,
        dialect: str = "problem",
        checks: Iterable[Callable[[Request], object]] = (),
        configuration: Mapping[str, Any] | None = None,
        redact: Redaction | None = None,
        revision: str = "",
        codec: Codec | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.named = {rule.name: rule for rule in self.rules}
        self.operations = tuple(operations)
        self.dialect = dialect
        # Context values that some rule names: each raises Unreadable for a request that has it malformed or twice.
        self.checks = tuple(checks)
        self.configuration = configuration or {}
        self.redact = redact or Redaction()
        self.revision = revision
        self.codec: Codec = codec or PlainCodec()
        self._operations = PathIndex((operation, operation.path) for operation in self.operations)
        self._rules = PathIndex((rule, path) for rule in self.rules for path in rule.paths)
        self._routes: dict[tuple[str, str], Route] = {}

    def route(self, method: str, path: str) -> Route:
        """Find the operation and the rules that a method and a canonical path allow."""
        key = (method, path)
        route = self._routes.get(key)
        if route is None:
            if len(self._routes) >= self.remembered:
                self._routes.clear()
            route = self._routes[key] = self._find(method, path)
        return route

    def _find(self, method: str, path: str) -> Route:
        asked = "GET" if method == "HEAD" else method
        operation: Operation | None = None
        inherited: dict[str, str] = {}
        for candidate, params in self._operations.find(path):
            if candidate.method == asked and (operation is None or _closer(candidate, operation)):
                operation, inherited = candidate, params
        chosen: dict[int, Chosen] = {}
        for rule, params in self._rules.find(path):
            if rule.methods is not None and asked not in rule.methods and method not in rule.methods:
                continue
            if rule.operations is not None and (operation is None or operation.name not in rule.operations):
                continue
            chosen.setdefault(rule.position, Chosen(rule, {**inherited, **params} if inherited else params))
        return Route(operation, tuple([chosen[position] for position in sorted(chosen)]))

    def choose(self, exchange: Exchange) -> None:
        """Choose the rules of an exchange, on the request as it was received; raises Unreadable."""
        request = exchange.request
        route = self.route(request.method, request.path)
        exchange.operation = operation = route.operation
        if operation is not None:
            exchange.dialect = operation.dialect
        for check in self.checks:
            check(request)
        exchange.chosen = route.choose(request)


def _closer(one: Operation, other: Operation) -> bool:
    """Prefer the operation whose path has fewer open segments."""
    return sum(s is None for s in one.path.segments) < sum(s is None for s in other.path.segments)


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is never logged: header names and query parameters in lower case, names of body fields.

    `context` are the context values that come from such a header.
    """

    headers: frozenset[str] = frozenset()
    query: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    context: frozenset[str] = frozenset()
