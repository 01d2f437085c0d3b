"""Addresses that a client is sent to: rendered, checked against where it may be led, and given their parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from ..engine import dialects
from ..engine.addresses import (
    AddressError,
    Destinations,
    Pattern,
    fixed,
    is_written_out,
    parse_pattern,
    read,
    with_query,
)
from ..engine.exchange import Exchange
from ..engine.message import Response
from . import template
from .action import StepEnvironment
from .slots import constant

Check = Callable[[str], str]
Parameter = tuple[str, Callable[[Exchange], str]]


class Location:
    """An address and its parameters. `key` is the setting that holds it; `more` are parameters that are computed."""

    __slots__ = ("_check", "_parameters", "_read")

    def __init__(
        self,
        env: StepEnvironment,
        address: str,
        query: Mapping[str, str],
        allow: Sequence[str],
        *,
        key: str,
        more: Sequence[Parameter] = (),
    ) -> None:
        self._read, self._check = _address(env, address, allow, key)
        self._parameters = (*_parameters(env, query), *more)

    def render(self, x: Exchange) -> tuple[str, list[tuple[str, str]]]:
        """Evaluate what it is made of, on the message as the step found it."""
        return self._read(x), [(name, value(x)) for name, value in self._parameters]

    def finish(self, rendered: str, items: Sequence[tuple[str, str]]) -> str:
        """Check an address and add its parameters; one that leads where it must not is an AddressError."""
        return with_query(self._check(rendered), items)


def _address(
    env: StepEnvironment, address: str, allow: Sequence[str], key: str
) -> tuple[Callable[[Exchange], str], Check]:
    """Give how the address is read, and how it is checked; a constant one is checked here and now."""
    value = env.text(address, key, place="address")
    literal = _literal_start(address)
    destinations = _destinations(env, allow)
    written_out = is_written_out(literal, whole=value.constant)
    check = fixed if written_out else destinations.check
    try:
        if written_out:
            # Its host cannot change any more, so it can be read now.
            read(re.split(r"[/?#]", literal.partition("//")[2])[0].join(("https://", "/")))
        # Empty is only what stands in for a template that was reported already.
        if value.constant and constant(value):
            checked = check(constant(value))
            return value.read, lambda _: checked
    except AddressError as error:
        hint = "" if written_out else "; write `https://host/…` out, or name its host in `allow`"
        env.problem("bad-setting", error.cause + hint, key)
    return value.read, check


def _destinations(env: StepEnvironment, allow: Sequence[str]) -> Destinations:
    patterns: list[Pattern] = []
    for index, text in enumerate(allow):
        try:
            patterns.append(parse_pattern(text))
        except AddressError as error:
            env.problem("bad-setting", error.cause, "allow", index)
    for text in env.allow_redirects:
        try:
            patterns.append(parse_pattern(text))
        except AddressError as error:
            env.problem("bad-setting", f"the setting allow_redirects: {error.cause}")
    try:
        return Destinations(env.public_origin, patterns)
    except AddressError as error:
        env.problem("bad-setting", f"the setting public_origin: {error.cause}")
        return Destinations(None, patterns)


def _parameters(env: StepEnvironment, query: Mapping[str, str]) -> list[Parameter]:
    found: list[Parameter] = []
    for name, text in query.items():
        if not name or "${" in name:
            env.problem(
                "bad-name", "a parameter's name is literal text; names are never templates", "query", name, key=True
            )
        found.append((name, env.text(text, "query", name, place="query").read))
    return found


def _literal_start(text: str) -> str:
    """Return what stands before the first expression of a template."""
    try:
        parts = template.parse(text)
    except template.TemplateError:
        # It was reported where the template was compiled.
        return ""
    return parts[0] if isinstance(parts, list) and isinstance(parts[0], str) else ""


def refuse_address(x: Exchange, error: AddressError) -> Response:
    """Refuse an address, which is not repeated: it may be what an attacker made of the request."""
    x.verdict.code, x.verdict.cause = "redirect_refused", error.cause
    return dialects.answer(x.dialect, 403, correlation=x.correlation, limits=x.request.limits, code="redirect_refused")
