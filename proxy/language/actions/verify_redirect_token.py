"""The action `verify_redirect_token`: the token with which the shopper comes back after a redirect."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from ...engine.errors import EvaluationError
from ...engine.exchange import Exchange
from ...engine.message import Response
from ...engine.ruleset import Run
from ...engine.suspension import Suspended, parameter
from ..action import Action, StepEnvironment
from ..cel import DYN, STRING, map_of
from ..fields import Text
from ..tokens.jws import BadToken
from ..tokens.key_settings import named_key, refuse
from ..tokens.keys import read_secret
from ..tokens.verification import Verifier, check_times, open_token

_ALGORITHMS = ("HS256",)


class VerifyRedirectToken(Action):
    """Verify the token (HS256) with which the shopper comes back. One that does not hold is refused.

    It must name the `iss` and `sub` of the redirect's token and have an `exp`, and its `state` must be the `state` of
    the return. The token that this proxy sent is none that comes back: its `jti` is refused.
    """

    phases: ClassVar[frozenset[str]] = frozenset({"continue"})

    secret: Text = Field(description="`${secret:NAME}`: the key that both sides know, 32 bytes or more.")
    parameter: Text = Field(
        "session_token", min_length=1, description="The parameter that carries it: of the body, else of the query."
    )
    optional: bool = Field(
        False, description="Go on without a token that holds: `into` is then `{ok: false, error: <word>}`."
    )
    into: Text | None = Field(None, description="The variable that gets `{ok, claims, header}`, or `error`.")

    def compile(self, env: StepEnvironment) -> Run:
        if "${" in self.parameter:
            env.problem("bad-name", "a parameter's name is literal text; names are never templates", "parameter")
        if self.optional and self.into is None:
            text = "an optional token needs `into`, or nothing would tell whether it held"
            env.problem("bad-setting", text, "optional", key=True)
        if self.into is not None:
            env.declare(self.into, map_of(STRING, DYN), "into")
        named = named_key(env, env.secret(self.secret, "secret"), read_secret, _ALGORITHMS, "secret")
        verifier = Verifier()
        name, into, optional = self.parameter, self.into, self.optional

        def verify(x: Exchange) -> Response | None:
            try:
                token = open_token(_sent(x, name), _ALGORITHMS)
                claims = verifier.verify(token, [named.key(x)], x.now)
                check_times(claims, 0.0, x.now)
                _check_return(claims, x.suspended)
            except BadToken as error:
                if not optional:
                    return refuse(x, error)
                if into is not None:
                    x.variables[into] = {"ok": False, "error": error.word}
                return None
            if into is not None:
                x.variables[into] = {"ok": True, "claims": claims, "header": token.header}
            return None

        return verify


def _sent(x: Exchange, name: str) -> str:
    """Give the parameter of the body, else of the query; a missing one is the empty text."""
    try:
        return parameter(x.request, name) or ""
    except EvaluationError:
        return ""


def _check_return(claims: Mapping[str, Any], suspended: Suspended | None) -> None:
    """Check that a token is one for the exchange that is taken up again, and from the other side."""
    if suspended is None or "exp" not in claims:
        raise BadToken("claims", "a claim that the return needs is missing")
    if claims.get("iss") != suspended.issuer:
        raise BadToken("issuer", "its iss is not that of the redirect's token")
    if claims.get("sub") != suspended.subject:
        raise BadToken("claims", "its sub is not that of the redirect's token")
    state = claims.get("state")
    if not isinstance(state, str) or not hmac.compare_digest(state.encode(), suspended.state.encode()):
        raise BadToken("claims", "its state is not the state of the return")
    if claims.get("jti") in suspended.issued:
        raise BadToken("claims", "it is the token of the redirect itself")
