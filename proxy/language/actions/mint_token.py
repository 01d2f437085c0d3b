"""The action `mint_token`: sign a token of one's own."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ...engine.exchange import Exchange
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..cel import STRING
from ..fields import Duration, Text
from ..secrecy import mark_secret
from ..tokens import minting
from ..tokens.key_settings import named_key
from ..tokens.keys import Algorithm, family, read_private, read_secret


class MintToken(Action):
    """Sign a token (JWT). `iat` and `exp` are set by it; whatever else it says stands in `claims`."""

    key: Text = Field(
        description="`${secret:NAME}`: a private key in PEM or, for HS*, a shared secret at least as long as the hash."
    )
    algorithm: Algorithm = Field("ES256", description="What it is signed with.")
    claims: dict[str, Any] = Field(
        default_factory=dict, description="What it says: signed, and readable by everyone who has it."
    )
    expires_in: Duration = Field(description="How long it holds, such as `15m`.")
    typ: Text = Field("JWT", min_length=1, description="The type that its header names.")
    kid: Text | None = Field(None, min_length=1, description="The name of the key in the set that verifies it.")
    into: Text = Field(description="The variable that gets the token, a text that is never logged.")

    def compile(self, env: StepEnvironment) -> Run:
        for name in self.claims:
            if name in minting.OWN:
                env.problem("bad-setting", f"the claim {name} is set by the proxy", "claims", name, key=True)
        if self.expires_in < 1:
            env.problem("bad-setting", "a token holds for at least a second", "expires_in")
        parse = read_secret if family(self.algorithm) == "secret" else read_private
        named = named_key(env, env.secret(self.key, "key"), parse, (self.algorithm,), "key")
        claims = env.value(self.claims, "claims").read
        typ = env.text(self.typ, "typ", place="text").read
        kid = env.text(self.kid, "kid", place="text").read if self.kid is not None else None
        env.declare(self.into, STRING, "into")
        algorithm, expires_in, into = self.algorithm, self.expires_in, self.into

        def sign(x: Exchange) -> None:
            x.variables[into] = minting.mint(
                named.key(x),
                algorithm,
                claims(x),
                now=x.now,
                expires_in=expires_in,
                typ=typ(x),
                kid=kid(x) if kid is not None else None,
            )
            mark_secret(x, (into,), (into,))

        return sign
