"""The action `mint_token`: sign a token of one's own."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ...engine.errors import EvaluationError
from ...engine.exchange import Exchange
from ...engine.ruleset import Run
from .. import jws
from ..action import Action, StepEnvironment
from ..cel import STRING
from ..fields import Duration, Text
from ..key_settings import named_key
from ..keys import Algorithm, family, read_private, read_secret
from ..secrecy import mark_secret
from ..verification import misused_claims

# What the token says for itself.
_OWN = ("iat", "exp")


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
            if name in _OWN:
                env.problem("bad-setting", f"the claim {name} is set by the proxy", "claims", name, key=True)
        if self.expires_in < 1:
            env.problem("bad-setting", "a token holds for at least a second", "expires_in")
        parse = read_secret if family(self.algorithm) == "secret" else read_private
        named = named_key(env, env.secret(self.key, "key"), parse, (self.algorithm,), "key")
        claims = env.value(self.claims, "claims").read
        typ = env.text(self.typ, "typ", place="text").read
        kid = env.text(self.kid, "kid", place="text").read if self.kid is not None else None
        env.declare(self.into, STRING, "into")
        algorithm, expires_in, into = self.algorithm, int(self.expires_in), self.into

        def mint(x: Exchange) -> None:
            now = int(x.now)
            said = {**claims(x), "iat": now, "exp": now + expires_in}
            for name in misused_claims(said):
                raise EvaluationError(f"the claim {name} of a token is of a wrong type")
            header = {"alg": algorithm, "typ": typ(x)}
            if kid is not None:
                header["kid"] = kid(x)
            key = named.key(x)
            token = jws.put_together(header, said, lambda message: key.sign(algorithm, message))
            if len(token) > jws.LONGEST:
                raise EvaluationError(f"the token would be longer than {jws.LONGEST} characters")
            x.variables[into] = token
            mark_secret(x, (into,), (into,))

        return mint
