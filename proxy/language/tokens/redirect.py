"""The signed token of a redirect: HS256, with the claims that the other side checks.

The clock and the randomness are the exchange's, so that a test can fix them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ...engine.errors import EvaluationError
from ...engine.exchange import Exchange
from ..action import StepEnvironment
from ..fields import Duration, Text
from . import minting
from .key_settings import named_key
from .keys import read_secret

# What the token says for itself, and `state`, by which the return is known.
RESERVED = ("iss", "sub", "aud", "iat", "nbf", "exp", "jti", "state")


@dataclass(frozen=True, slots=True)
class Signed:
    """A token, the parameter that carries it, and what is known of it when somebody comes back with an answer to it."""

    parameter: str
    text: str
    issuer: str
    subject: str
    id: str


Sign = Callable[[Exchange], Signed]


class RedirectToken(BaseModel):
    """A token that tells the page at the other end who comes and until when."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)

    secret: Text = Field(description="`${secret:NAME}`: the key that both sides know, 32 bytes or more.")
    subject: Text | None = Field(None, description="The claim `sub`: whom it is about; a random id when not given.")
    claims: dict[str, Any] = Field(
        default_factory=dict, description="Further claims: signed, and readable by everyone who sees the address."
    )
    expires_in: Duration = Field(900.0, description="How long it holds, such as `15m`.")
    parameter: Text = Field("session_token", min_length=1, description="The parameter of the address that carries it.")

    def compile(self, env: StepEnvironment) -> Sign:
        """Build the function that signs a token; `env` is that of the action whose setting `token` this is."""
        for name in self.claims:
            if name in RESERVED:
                env.problem("bad-setting", f"the claim {name} is set by the proxy", "token", "claims", name, key=True)
        if "${" in self.parameter:
            env.problem(
                "bad-name", "a parameter's name is literal text; names are never templates", "token", "parameter"
            )
        if self.expires_in < 1:
            env.problem("bad-setting", "a token holds for at least a second", "token", "expires_in")
        named = named_key(env, env.secret(self.secret, "token", "secret"), read_secret, ("HS256",), "token", "secret")
        subject = env.text(self.subject, "token", "subject", place="text").read if self.subject is not None else None
        claims = env.value(self.claims, "token", "claims").read
        parameter, expires_in, issuer = self.parameter, self.expires_in, env.public_origin

        def sign(x: Exchange) -> Signed:
            key = named.key(x)
            about = subject(x) if subject is not None else x.entropy(16).hex()
            if not about:
                raise EvaluationError("the subject of the token is empty")
            issued_by, id = issuer or x.request.host, x.entropy(16).hex()
            said = {**claims(x), "iss": issued_by, "sub": about, "jti": id}
            text = minting.mint(key, "HS256", said, now=x.now, expires_in=expires_in)
            return Signed(parameter, text, issued_by, about, id)

        return sign
