"""The models of a test file: cases, their exchanges, what is given. Shape and types only; cases.py runs them."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..fields import Duration, Text
from ..model import Model
from .content import Expectation, GivenLookup, GivenRequest, GivenUpstream

# The time in a test that does not name one.
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _moment(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value
    try:
        moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("not a time; write it as 2026-01-31T12:00:00Z") from None
    # The same everywhere: a time without a zone must not depend on the machine's.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name for `${…}` is letters, digits and `_`, not a digit first")
    return value


Moment = Annotated[dt.datetime, BeforeValidator(_moment)]
Name = Annotated[str, BeforeValidator(_name)]
Algorithm = Literal[
    "none", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"
]


class GeneratedKey(Model):
    """A private key that is made for the run."""

    generate: Literal["ES256", "ES384", "EdDSA", "RS256"] = Field(description="The algorithm that it is for.")


class Token(Model):
    """A signed token that requests of a test can carry, as `${name}`."""

    secret: str | None = Field(None, description="The secret of the file that signs it.")
    algorithm: Algorithm | None = Field(None, description="That of a generated key, else HS256; `none`: not signed.")
    kid: Text | None = Field(None, description="The key's id; the secret's name for a generated key.")
    typ: Text | None = Field("JWT", description="The header's `typ`; null: none.")
    header: dict[str, Any] = Field(default_factory=dict, description="Further members of the header.")
    claims: dict[str, Any] = Field(default_factory=dict, description="Its claims; they go before `iat` and `exp`.")
    issued_at: Moment | None = Field(None, description="`iat`; the test's time when not given, null: none.")
    expires_in: Duration | None = Field(900.0, description="`exp`, counted from `issued_at`; null: none.")

    @model_validator(mode="after")
    def _signed(self) -> Token:
        if (self.secret is None) != (self.algorithm == "none"):
            raise ValueError("a token has a `secret` that signs it, or `algorithm: none`")
        return self


Tokens = Annotated[
    dict[Name, Token], Field(description="Tokens by name; `${name}` in a text of a request stands for one.")
]
Lookups = Annotated[
    list[GivenLookup], Field(description="The answers of other services; the first that fits a call is given.")
]
KeySets = Annotated[
    dict[Text, list[str] | Literal["down", "late"]],
    Field(description="Key sets by address: the secrets whose public keys are in it, or `down` or `late`."),
]


class Play(Model):
    """A request, the auth service's answer, and what is expected; done `repeat` times."""

    request: GivenRequest = Field(description="The request.")
    upstream: GivenUpstream | list[GivenUpstream] | None = Field(
        None, description="The auth service's answer, or a list of one for each call; an empty 200 when not given."
    )
    expect: Expectation | None = Field(None, description="What is expected, each time.")
    lookups: Lookups = Field(default_factory=list)
    tokens: Tokens = Field(default_factory=dict)
    repeat: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="How often it is done.")
    keep: dict[Name, Text] = Field(
        default_factory=dict,
        description="Names for later `${name}`: expressions over `response`, `location`, `lookups` and `upstream`.",
    )


class OneByOne(Play):
    """An exchange of a case; it ends before the next one begins."""

    wait: Duration = Field(0.0, description="How far the clock goes on before it, each time.")


class Together(Model):
    """Exchanges that are under way at the same time."""

    together: Annotated[list[Play], Field(min_length=1)] = Field(
        description="All are brought to the call of the auth service before the first of them is answered."
    )
    wait: Duration = Field(0.0, description="How far the clock goes on before them.")


class ExpectedProblem(Model):
    """A problem that the rules must have."""

    code: str = Field(description="Its code.")
    text: str | None = Field(None, description="A part of its words.")
    line: int | None = Field(None, description="The line where it must be.")


class Case(Model):
    """One case: a request, the auth service's answer, and what comes of it; or the problem that the rules must have."""

    name: Text = Field(description="What is shown, one sentence.")
    rules: list[str | dict[str, Any]] | None = Field(None, description="Rules of this case alone.")
    packs: list[str] | None = Field(None, description="Packs of this case's rules.")
    request: GivenRequest | None = Field(None, description="The request.")
    upstream: GivenUpstream | None = Field(None, description="The auth service's answer; an empty 200 when not given.")
    expect: Expectation | None = Field(None, description="What is expected.")
    exchanges: Annotated[list[OneByOne | Together], Field(min_length=1)] | None = Field(
        None, description="Several exchanges on one store, instead of `request`, `upstream` and `expect`."
    )
    lookups: Lookups = Field(default_factory=list)
    key_sets: KeySets = Field(default_factory=dict)
    tokens: Tokens = Field(default_factory=dict)
    error: ExpectedProblem | str | None = Field(None, description="The code of a load error, or `{code, text, line}`.")
    warning: ExpectedProblem | str | None = Field(None, description="The same for a warning.")

    @model_validator(mode="after")
    def _one_kind(self) -> Case:
        if self.exchanges is not None and self.model_fields_set & {"request", "upstream", "expect"}:
            raise ValueError("with `exchanges`, the `request`, `upstream` and `expect` stand in each of them")
        return self


class Given(Model):
    """What holds for all cases of a file."""

    now: Moment = Field(NOW, description="The time at which each case begins.")
    secrets: dict[str, Text | GeneratedKey] = Field(
        default_factory=dict, description="Secrets by name: a text, or `{generate: ES256}` for a key pair."
    )
    key_sets: KeySets = Field(default_factory=dict)
    lookups: Lookups = Field(default_factory=list)
    tokens: Tokens = Field(default_factory=dict)
    public_origin: str | None = Field(None, description="The setting `public_origin`.")
    allow_redirects: list[str] = Field(default_factory=list, description="The setting `allow_redirects`.")


class CaseFile(Model):
    """A test file."""

    rules: list[str | dict[str, Any]] = Field(
        default_factory=list, description="Rule files by their place beside it, folders, or rules."
    )
    packs: list[str] = Field(default_factory=list, description="Packs of the rules that stand in the file.")
    configuration: dict[str, Any] = Field(
        default_factory=dict, description="The configuration of the rules that stand in the file."
    )
    factors: dict[str, Any] = Field(
        default_factory=dict, description="Second factors of the rules that stand in the file."
    )
    given: Given = Field(default_factory=Given, description="What holds for all its cases.")
    cases: Annotated[list[Case], Field(min_length=1, description="The cases.")]
