"""A `match` compiled: paths for the index, and one predicate for what the index cannot answer."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import re2

from ..engine.errors import EvaluationError, Unreadable
from ..engine.message import Request
from ..engine.ruleset import PathPattern
from ..engine.target import canonical
from .cel import BOOL, INT, STRING, Type
from .document import plain
from .model import Match, Present, Regex

Predicate = Callable[[Request], bool]
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class MatchError(Exception):
    """A part of a match that means nothing."""


def compile_regex(pattern: str) -> Callable[[str], object]:
    """Compile an RE2 expression that must match a whole text; raise MatchError."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise MatchError(f"not a regular expression of RE2: {_words(error)}") from None
    fullmatch: Callable[[str], object] = compiled.fullmatch
    return fullmatch


def _words(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def compile_path(path: str | Regex) -> PathPattern:
    """Compile one path of a match or an operation; raise MatchError."""
    if isinstance(path, Regex):
        return PathPattern(search=compile_regex(path.regex))
    if not path.startswith("/"):
        raise MatchError("a path begins with `/`")
    prefix = path.endswith("/*")
    stem = path[:-2] if prefix else path
    names: list[str] = []
    segments: list[str | None] = []
    for segment in (stem.removesuffix("/")).split("/")[1:]:
        parameter = _PARAMETER.fullmatch(segment)
        if parameter is not None:
            if parameter[1] in names:
                raise MatchError(f"the parameter {parameter[1]!r} stands twice in the path")
            names.append(parameter[1])
            segments.append(None)
        elif "{" in segment or "}" in segment:
            raise MatchError("a parameter is a whole segment: `/a/{id}`")
        elif "*" in segment:
            raise MatchError("`*` stands only at the end, after a slash: `/prefix/*`")
        else:
            segments.append(_segment(segment))
    return PathPattern(tuple(segments), tuple(names), prefix, slash=bool(segments) and stem.endswith("/"))


def _segment(segment: str) -> str:
    if not segment:
        raise MatchError("no request has such a path: a segment is empty")
    try:
        path, query = canonical("/" + segment)
    except Unreadable as error:
        raise MatchError(f"no request has such a path: {error.cause}") from None
    if query is not None or segment in (".", ".."):
        raise MatchError("no request has such a path: a path has no query and no dot segments")
    return path[1:]


def _text_test(test: Any) -> tuple[Callable[[str], object] | None, bool | None]:
    """Give a test of a value and, for `{present}`, whether it must be there."""
    match test:
        case Present():
            return None, test.present
        case Regex():
            return compile_regex(test.regex), None
        case list():
            return frozenset(test).__contains__, None
        case _:
            return lambda text: text == test, None


def _header(name: str, test: Any) -> Predicate:
    key = name.lower().encode()
    check, present = _text_test(test)

    def holds(request: Request) -> bool:
        if check is None:
            return (key in request.headers) is present
        text = request.headers.text(key)
        return text is not None and bool(check(text))

    return holds


def _pair(kind: str, name: str, test: Any) -> Predicate:
    check, present = _text_test(test)

    def holds(request: Request) -> bool:
        pairs = request.parameters if kind == "query" else request.cookies
        if check is None:
            return pairs.has(name) is present
        return pairs.has(name) and bool(check(pairs.get(name)))

    return holds


def _hosts(hosts: Iterable[str]) -> Predicate:
    exact = frozenset(host for host in hosts if not host.startswith("*."))
    below = tuple(host[1:] for host in hosts if host.startswith("*."))

    def holds(request: Request) -> bool:
        host = request.host.lower()
        host = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
        # `shop.example.` is the same host (RFC 3986 section 3.2.2).
        host = host.removesuffix(".")
        return host in exact or (bool(below) and host.endswith(below))

    return holds


def _clients(networks: Iterable[str]) -> Predicate:
    nets = tuple(ipaddress.ip_network(network) for network in networks)

    def holds(request: Request) -> bool:
        try:
            address = ipaddress.ip_address(request.ip)
        except ValueError:
            return False
        return any(address in net for net in nets)

    return holds


def fits(wanted: Any, type_: Type) -> bool:
    """Say whether a context value of a type can equal what a match wants: one value or a list."""
    values = wanted if isinstance(wanted, list) else [wanted]
    kinds = {STRING: (str, int, float), INT: (int,), BOOL: (bool,)}.get(type_, ())
    return bool(values) and all(isinstance(v, kinds) and (type_ == BOOL or not isinstance(v, bool)) for v in values)


def _context(read: Callable[[Request], Any], wanted: Any) -> Predicate:
    values = wanted if isinstance(wanted, list) else [wanted]

    def holds(request: Request) -> bool:
        try:
            value = read(request)
        except EvaluationError:
            # What was not sent is equal to nothing.
            return False
        return any(type(value) is type(other) and value == other for other in values)

    return holds


def compile_statuses(patterns: Iterable[int | str]) -> Callable[[int], bool]:
    """Compile statuses and classes such as `2xx`; raise MatchError."""
    exact: set[int] = set()
    classes: set[int] = set()
    for pattern in patterns:
        if isinstance(pattern, int) and 100 <= pattern <= 599:
            exact.add(int(pattern))
        elif isinstance(pattern, str) and re.fullmatch(r"[1-5]xx", pattern):
            classes.add(int(pattern[0]))
        else:
            raise MatchError("a status is a number from 100 to 599, or a class such as 2xx")
    return lambda status: status in exact or status // 100 in classes


def compile_tests(
    match: Match, context: Mapping[str, tuple[Type, Callable[[Request], Any]]]
) -> list[tuple[str, str, Predicate]]:
    """Compile what the path index cannot answer, test by test: its key, the name that it looks at, and what holds.

    Raises MatchError.
    """
    tests: list[tuple[str, str, Predicate]] = []
    if match.host is not None:
        tests.append(("host", "", _hosts(match.host)))
    if match.client is not None:
        tests.append(("client", "", _clients(match.client)))
    tests += [("headers", name, _header(name, test)) for name, test in match.headers.items()]
    tests += [("query", name, _pair("query", name, test)) for name, test in match.query.items()]
    tests += [("cookies", name, _pair("cookies", name, test)) for name, test in match.cookies.items()]
    for name, wanted in match.context.items():
        type_, read = context[name]
        values = plain(wanted if isinstance(wanted, list) else [wanted])
        texts = [str(v) if type_ == STRING and not isinstance(v, bool) else v for v in values]
        tests.append(("context", name, _context(read, texts)))
    return tests


def compile_predicate(match: Match, context: Mapping[str, tuple[Type, Callable[[Request], Any]]]) -> Predicate | None:
    """Compile what the path index cannot answer; None when there is nothing. Raises MatchError."""
    every = tuple(test for _, _, test in compile_tests(match, context))
    if not every:
        return None
    return every[0] if len(every) == 1 else lambda request: all(test(request) for test in every)
