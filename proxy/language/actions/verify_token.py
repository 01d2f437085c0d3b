"""The action `verify_token`: let only those pass whose signed token holds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ...engine.effects import Effect, FetchKeys
from ...engine.errors import ABSORBED
from ...engine.exchange import Exchange
from ...engine.message import Response
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment, Value
from ..cel import BYTES, DYN, STRING, map_of
from ..fields import Duration, Text
from ..packs import hold_claims
from ..service_addresses import compile_address
from ..slots import constant
from ..tokens.jws import BadToken, Compact
from ..tokens.key_settings import NamedKey, named_key, refuse
from ..tokens.keys import Algorithm, family, one_family, read_public, read_secret
from ..tokens.verification import WORDS, Expected, Keyring, Verifier, check, fitting, open_token

_LONGEST_LEEWAY = 600.0

Texts = Sequence[Callable[[Exchange], str]]


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class Keys(BaseModel):
    """Where the keys come from: exactly one of these."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)

    jwks: Text | None = Field(
        None,
        description="The https address of a JWK Set (RFC 7517), literal or from `configuration`, or a path of the auth "
        "service itself.",
    )
    secret: Text | None = Field(None, description="`${secret:NAME}`: a shared secret, at least as long as the hash.")
    pem: Text | None = Field(None, description="A public key in PEM, as it stands or as `${secret:NAME}`.")


class VerifyToken(Action):
    """Verify a signed token (JWT) and read its claims. One that does not hold is refused with a 401.

    The refusal is the same whatever is wrong with the token; the log has the cause. `exp`, `nbf` and `iat` are checked
    wherever they are. A token has one spelling: padding, white space and a key twice are refused. A token that names
    an `aud` holds only where `audience` names it too. After this step the context values that packs take from claims
    can be read.
    """

    from_: Text = Field(
        "${request.bearer}", alias="from", description="The token; one that is missing or empty does not hold."
    )
    keys: Keys = Field(description="Where the keys come from.")
    algorithms: list[Algorithm] = Field(
        min_length=1, description="What it may be signed with: all HS*, all RS* or PS*, all ES*, or EdDSA."
    )
    issuer: Annotated[list[Text], BeforeValidator(_listed)] | None = Field(
        None, min_length=1, description="What `iss` must be, or a list of which it must be one."
    )
    audience: Annotated[list[Text], BeforeValidator(_listed)] | None = Field(
        None, min_length=1, description="What `aud` must be or contain, or a list of which it must name one."
    )
    typ: Text | None = Field(None, min_length=1, description="The type that its header must name, such as `at+jwt`.")
    leeway: Duration = Field(0.0, description="How far the clocks may differ, 10m at most.")
    require: list[Text] = Field(["exp"], description="Names of claims that must be there.")
    optional: bool = Field(
        False, description="Go on without a token that holds: `into` is then `{ok: false, error: <word>}`."
    )
    into: Text | None = Field(
        None,
        description="The variable that gets `{ok, claims, header}`, or `error` as one of "
        + ", ".join(f"`{word}`" for word in WORDS)
        + ".",
    )

    def compile(self, env: StepEnvironment) -> Run:
        read = env.text(self.from_, "from", place="text").read
        local, jwks = self._keys(env)
        issuers, audiences = self._texts(env, "issuer"), self._texts(env, "audience")
        if self.leeway > _LONGEST_LEEWAY:
            env.problem("bad-setting", "a leeway is 10m at most: clocks do not differ by more", "leeway")
        if self.optional and self.into is None:
            text = "an optional token needs `into`, or nothing would tell whether it held"
            env.problem("bad-setting", text, "optional", key=True)
        if self.into is not None:
            env.declare(self.into, map_of(STRING, DYN), "into")
        env.verifies()
        verifier, known = Verifier(), Keyring()
        algorithms, typ, leeway, require = tuple(self.algorithms), self.typ, self.leeway, tuple(self.require)
        into, optional = self.into, self.optional

        def open_sent(x: Exchange) -> Compact:
            try:
                text = read(x)
            except ABSORBED:
                text = ""
            return open_token(text, algorithms)

        def hold(x: Exchange, token: Compact, claims: dict[str, Any]) -> None:
            expected = Expected([text(x) for text in issuers], [text(x) for text in audiences], typ, leeway, require)
            check(token, claims, expected, x.now)
            hold_claims(x, claims)
            if into is not None:
                x.variables[into] = {"ok": True, "claims": claims, "header": token.header}

        def fail(x: Exchange, error: BadToken) -> Response | None:
            if not optional:
                return refuse(x, error)
            if into is not None:
                x.variables[into] = {"ok": False, "error": error.word}
            return None

        def verify(x: Exchange) -> Response | None:
            try:
                token = open_sent(x)
                hold(x, token, verifier.verify(token, [local.key(x)], x.now))
            except BadToken as error:
                return fail(x, error)
            return None

        def fetch_and_verify(x: Exchange) -> Generator[Effect, Any, Response | None]:
            try:
                token = open_sent(x)
                found = yield FetchKeys(jwks, token.header.get("kid"))
                hold(x, token, verifier.verify(token, fitting(token, found, known), x.now))
            except BadToken as error:
                return fail(x, error)
            return None

        return fetch_and_verify if jwks else verify

    def _texts(self, env: StepEnvironment, name: str) -> Texts:
        texts = getattr(self, name) or ()
        return [env.text(text, name, index, place="text").read for index, text in enumerate(texts)]

    def _keys(self, env: StepEnvironment) -> tuple[NamedKey, str]:
        """Give the key, or the address of the set; the other one is a stand-in."""
        nothing = NamedKey(lambda _: b"", read_secret, ())
        keys, algorithms = self.keys, tuple(self.algorithms)
        given = [name for name in ("jwks", "secret", "pem") if getattr(keys, name) is not None]
        if len(given) != 1:
            env.problem("bad-setting", "give exactly one of `jwks`, `secret` and `pem`", "keys", key=True)
            return nothing, ""
        if not one_family(algorithms):
            text = "algorithms of one step are all HS*, all RS* or PS*, all ES*, or EdDSA: one key is of one kind"
            env.problem("bad-setting", text, "algorithms")
            return nothing, ""
        shared = family(algorithms[0]) == "secret"
        if shared != (given == ["secret"]):
            wanted = "`secret`" if shared else "`jwks` or `pem`"
            text = f"{algorithms[0]} takes {wanted}: a public key is no secret, and a secret no public key"
            env.problem("bad-setting", text, "keys", given[0], key=True)
            return nothing, ""
        if keys.jwks is not None:
            return nothing, key_set(env, keys.jwks, "keys", "jwks")
        if keys.secret is not None:
            value = env.secret(keys.secret, "keys", "secret")
            return named_key(env, value, read_secret, algorithms, "keys", "secret"), ""
        return named_key(env, self._pem(env), read_public, algorithms, "keys", "pem"), ""

    def _pem(self, env: StepEnvironment) -> Value[bytes]:
        text = str(self.keys.pem)
        value = env.text(text, "keys", "pem", place="text", secrets=True)
        if value.programs:
            wrong = "a key is written out, or is `${secret:NAME}`, alone in its string"
            env.problem("bad-setting", wrong, "keys", "pem")
            return Value(lambda _: b"", False, BYTES)
        return Value(lambda x: value.read(x).encode(), value.constant, BYTES, (), value.secrets)


def key_set(env: StepEnvironment, source: str, *loc: str | int) -> str:
    """Give the address of a key set, known at load: a client that chose among sets could drive out those in use."""
    value = compile_address(env, source, *loc)
    if value.secrets or any(program.names - {"configuration"} or program.reads for program in value.programs):
        text = "the address of keys is literal or comes from `configuration`: a client could choose them otherwise"
        env.problem("bad-setting", text, *loc)
        return "/"
    try:
        return constant(value)
    except (*ABSORBED, AttributeError):
        env.problem("bad-setting", "this address has no value at load", *loc)
        return "/"
