"""The action `redirect`: send the client to another address, which is checked before it is sent.

In the `after` of a rule with `continue` it suspends the exchange: the response is withheld until the client comes back.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ...engine import dialects, suspension
from ...engine.addresses import AddressError
from ...engine.exchange import Exchange
from ...engine.message import Headers, Line, Response
from ...engine.ruleset import Run
from ...engine.suspension import Suspend
from ..action import Action, StepEnvironment
from ..answers import KeepCookies, KeepHeaders, Kept, lay
from ..fields import Status, Text
from ..locations import Location, refuse_address
from ..tokens.redirect import RedirectToken, Sign

_ANY_METHOD = (302, 303)
# They keep the method, or may: a browser would send a login's body again.
_SAFE_METHODS_ONLY = (301, 307, 308)
_SAFE = frozenset({"GET", "HEAD"})
# How long a suspended exchange waits when no token says so.
_WAITS = 900.0
_STATE = "state"

_NO_STORE: Line = (b"cache-control", b"Cache-Control", b"no-store")
# The address has the state in it: no page that it leads to may tell it to others.
_NO_REFERRER: Line = (b"referrer-policy", b"Referrer-Policy", b"no-referrer")


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

    In the `after` of a rule that has `continue` the response is withheld: the address gets a `state`, with which the
    client comes back to `/.vestibule/continue`, where the rule goes on.
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
        description="How the return of a suspended exchange is bound to the browser: by a `cookie` when not given.",
    )
    keep_headers: KeepHeaders = Field(default_factory=list)
    keep_cookies: KeepCookies = Field(default_factory=list)

    def compile(self, env: StepEnvironment) -> Run:
        suspends = env.suspends and env.phase == "after"
        self._check_suspension(env, suspends=suspends)
        self._check_status(env)
        location = Location(env, self.to, self.query, self.allow, key="to")
        token = self._token(env)
        keep = Kept(env, self.keep_headers, self.keep_cookies)
        told = 401 if env.phase == "continue" else 403
        binds = self.bind != "none"
        ttl = self.token.expires_in if self.token is not None else _WAITS
        public = env.public_origin or ""
        if suspends:
            env.collects("response")

        def redirect(x: Exchange) -> Response | Suspend:
            rendered, items = location.render(x)
            kept = keep.read(x)
            signed = token(x) if token is not None else None
            if signed is not None:
                items.append((signed.parameter, signed.text))
            state = suspension.new_state(x) if suspends else ""
            if suspends:
                items.append((_STATE, state))
            try:
                to = location.finish(rendered, items)
            except AddressError as error:
                return refuse_address(x, error)
            answer = self._answer(x, to, told)
            if not suspends:
                return lay(answer, kept, ())
            details: dict[str, Any] = {}
            if signed is not None:
                details |= {"issuer": signed.issuer, "subject": signed.subject, "issued": [signed.id]}
            lay(answer, kept, (_NO_REFERRER,))
            if binds:
                secure = x.request.scheme == "https" or public.startswith("https:")
                suspension.bind(x, answer, details, ttl=ttl, secure=secure)
            return Suspend(answer, state, ttl, "continue", details)

        return redirect

    def _answer(self, x: Exchange, to: str, told: int) -> Response:
        if self.mode == "json" or (self.mode == "auto" and not x.navigates):
            return _tell(x, told, to)
        sent = self.status if self.status in _ANY_METHOD or x.received[0] in _SAFE else 303
        headers = Headers([_NO_STORE, (b"location", b"Location", to.encode())], side="response")
        return Response(sent, headers, b"", limits=x.request.limits, origin="rule")

    def _check_suspension(self, env: StepEnvironment, *, suspends: bool) -> None:
        if not suspends:
            if self.bind is not None:
                text = "`bind` is for a redirect that suspends the exchange: one in `after` of a rule with `continue`"
                env.problem("bad-setting", text, "bind", key=True)
            return
        if self.keep_headers:
            text = "a redirect that suspends the exchange keeps cookies only: the answer is withheld"
            env.problem("bad-setting", text, "keep_headers", key=True)
        if _STATE in self.query or (self.token is not None and self.token.parameter == _STATE):
            env.problem("bad-setting", "the parameter `state` is set by the proxy", "query")

    def _check_status(self, env: StepEnvironment) -> None:
        if self.status in _SAFE_METHODS_ONLY and env.methods is not None and not env.methods <= _SAFE:
            text = f"a {self.status} is for GET and HEAD only, and this rule matches other methods: use 302 or 303"
            env.problem("bad-setting", text, "status")

    def _token(self, env: StepEnvironment) -> Sign | None:
        if self.token is None:
            return None
        if self.token.parameter in self.query:
            env.problem("bad-setting", "this parameter carries the token", "query", self.token.parameter, key=True)
        return self.token.compile(env)


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
