"""The action `redirect`: send the client to another address, which is checked before it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ...engine import dialects
from ...engine.addresses import (
    AddressError,
    Destinations,
    Pattern,
    fixed,
    is_written_out,
    parse_pattern,
    read,
    with_query,
)
from ...engine.exchange import Exchange, Verdict
from ...engine.message import Headers, Line, Request, Response
from ...engine.ruleset import Run
from .. import template
from ..action import Action, StepEnvironment
from ..answers import KeepCookies, KeepHeaders, Kept, lay
from ..fields import Status, Text
from ..slots import constant
from ..tokens import RedirectToken

_ANY_METHOD = (302, 303)
# They keep the method, or may: a browser would send a login's body again.
_SAFE_METHODS_ONLY = (301, 307, 308)
_SAFE = frozenset({"GET", "HEAD"})
Check = Callable[[str], str]

_NO_STORE: Line = (b"cache-control", b"Cache-Control", b"no-store")


def _redirecting(value: int) -> int:
    if value not in (*_ANY_METHOD, *_SAFE_METHODS_ONLY):
        raise ValueError("a redirect has the status 302 or 303, or for GET and HEAD 301, 307 or 308")
    return value


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("the address is empty")
    return value


class Redirect(Action):
    """Send the client to another address. The phase ends and nothing more is forwarded.

    The address is one whose `https://host` is written out, a path that begins with one `/`, `public_origin`, or one
    whose host is in `allow` or in the setting `allow_redirects`; any other is refused with 403 `redirect_refused`.
    """

    to: Annotated[Text, AfterValidator(_not_empty)] = Field(description="The address.")
    status: Annotated[Status, AfterValidator(_redirecting)] = Field(
        302, description="302 or 303; 301, 307 and 308 only for GET and HEAD, for other methods 303 is sent instead."
    )
    query: dict[Text, Text] = Field(
        default_factory=dict,
        description="`{name: value}`: parameters of the address; one of the same name is replaced.",
    )
    token: RedirectToken | None = Field(None, description="A signed token (HS256) as a further parameter.")
    mode: Literal["auto", "redirect", "json"] = Field(
        "auto",
        description="`redirect` always redirects; `json` answers 403 (401 in `continue`) with `redirectUrl`; "
        "`auto` redirects a browser that navigates and answers any other client as `json` does.",
    )
    allow: list[Text] = Field(
        default_factory=list, description="Places that it may lead to: `host`, `host:port` or `*.host`, https only."
    )
    bind: Literal["cookie", "none"] | None = Field(
        None,
        description="How the return of a suspended exchange is bound to the browser; only where the redirect suspends.",
    )
    keep_headers: KeepHeaders = Field(default_factory=list)
    keep_cookies: KeepCookies = Field(default_factory=list)

    def compile(self, env: StepEnvironment) -> Run:
        if self.bind is not None:
            text = "`bind` is for a redirect that suspends the exchange: one in `after` of a rule with `continue`"
            env.problem("bad-setting", text, "bind", key=True)
        self._check_status(env)
        address, check = self._address(env)
        parameters = self._parameters(env)
        keep = Kept(env, self.keep_headers, self.keep_cookies)
        status, mode = self.status, self.mode
        told = 401 if env.phase == "continue" else 403

        def redirect(x: Exchange) -> Response:
            rendered = address(x)
            items = [(name, value(x)) for name, value in parameters]
            kept = keep.read(x)
            try:
                to = with_query(check(rendered), items)
            except AddressError as error:
                return _refuse(x, error)
            if mode == "json" or (mode == "auto" and not is_navigation(x.request)):
                return lay(_tell(x, told, to), kept, ())
            sent = status if status in _ANY_METHOD or x.request.received[0] in _SAFE else 303
            headers = Headers([_NO_STORE, (b"location", b"Location", to.encode())], side="response")
            return lay(Response(sent, headers, b"", limits=x.request.limits, origin="rule"), kept, ())

        return redirect

    def _check_status(self, env: StepEnvironment) -> None:
        if self.status in _SAFE_METHODS_ONLY and env.methods is not None and not env.methods <= _SAFE:
            text = f"a {self.status} is for GET and HEAD only, and this rule matches other methods: use 302 or 303"
            env.problem("bad-setting", text, "status")

    def _address(self, env: StepEnvironment) -> tuple[Callable[[Exchange], str], Check]:
        """Give how the address is read, and how it is checked; a constant one is checked here and now."""
        value = env.text(self.to, "to", place="address")
        literal = _literal_start(self.to)
        destinations = self._destinations(env)
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
            env.problem("bad-setting", error.cause + hint, "to")
        return value.read, check

    def _destinations(self, env: StepEnvironment) -> Destinations:
        patterns: list[Pattern] = []
        for index, text in enumerate(self.allow):
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

    def _parameters(self, env: StepEnvironment) -> tuple[tuple[str, Callable[[Exchange], str]], ...]:
        found: list[tuple[str, Callable[[Exchange], str]]] = []
        for name, text in self.query.items():
            if not name or "${" in name:
                env.problem(
                    "bad-name", "a parameter's name is literal text; names are never templates", "query", name, key=True
                )
            found.append((name, env.text(text, "query", name, place="query").read))
        if self.token is not None:
            if self.token.parameter in self.query:
                env.problem("bad-setting", "this parameter carries the token", "query", self.token.parameter, key=True)
            found.append((self.token.parameter, self.token.compile(env)))
        return tuple(found)


def _literal_start(text: str) -> str:
    """Return what stands before the first expression of a template."""
    try:
        parts = template.parse(text)
    except template.TemplateError:
        # It was reported where the template was compiled.
        return ""
    return parts[0] if isinstance(parts, list) and isinstance(parts[0], str) else ""


def is_navigation(request: Request) -> bool:
    """Say whether a browser navigates: `Sec-Fetch-Mode: navigate`, or without it an Accept that names text/html."""
    headers = Headers(request.received[1])
    mode = headers.get(b"sec-fetch-mode")
    if mode is not None:
        return mode.strip().lower() == b"navigate"
    accept = headers.get(b"accept") or b""
    return any(part.partition(b";")[0].strip().lower() == b"text/html" for part in accept.split(b","))


def _tell(x: Exchange, status: int, to: str) -> Response:
    return dialects.answer(
        x.dialect,
        status,
        correlation=x.correlation,
        limits=x.request.limits,
        code="redirect_required",
        reason="Go on at the address in redirectUrl.",
        extra={"redirectUrl": to},
    )


def _refuse(x: Exchange, error: AddressError) -> Response:
    """Refuse an address, which is not repeated: it may be what an attacker made of the request."""
    x.verdict = Verdict(code="redirect_refused", cause=error.cause)
    return dialects.answer(x.dialect, 403, correlation=x.correlation, limits=x.request.limits, code="redirect_refused")
