"""The models of what an author writes: a rule file, a rule, a match, a pack.

They check shape and types; what needs more than one value (names, expressions, phases) is compile.py's.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .fields import Duration, HeaderName, Text, is_token

RULE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Model(BaseModel):
    """What all parts of a file share: frozen, and no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True, hide_input_in_errors=True)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _method(value: str) -> str:
    if not is_token(value):
        raise ValueError("not an HTTP method")
    return value.upper()


def _cidr(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"not a network in CIDR form: {error}") from None
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"(\*\.)?[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]", value):
        raise ValueError("a host is a name without port, or `*.` and a name")
    return value.lower()


Method = Annotated[str, AfterValidator(_method)]
Cidr = Annotated[str, AfterValidator(_cidr)]
Host = Annotated[str, AfterValidator(_host)]
StatusPattern = Annotated[int | str, Field(description="A status, or a class such as 2xx.")]


class Regex(Model):
    """A regular expression (RE2) that the whole text must match."""

    regex: str = Field(description="The expression, in RE2's syntax; it is matched against the whole text.")


class Present(Model):
    """Whether the value is there at all."""

    present: bool = Field(description="true: the name must be there; false: it must not.")


TextTest = Annotated[
    Text | Annotated[list[Text], Field(min_length=1)] | Regex | Present,
    Field(description="Exactly this text, any of a list, `{regex}` or `{present}`."),
]


class Match(Model):
    """Which exchanges a rule is for; all keys must hold."""

    operation: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)] | None = Field(
        None, description="An operation of a pack, or a list of them."
    )
    method: Annotated[list[Method], BeforeValidator(_listed), Field(min_length=1)] | None = Field(
        None, description="A method, in any case, or a list of them; GET includes HEAD."
    )
    host: Annotated[list[Host], BeforeValidator(_listed), Field(min_length=1)] | None = Field(
        None, description="The host without its port; `*.example.com` for all below it."
    )
    path: Annotated[list[str | Regex], BeforeValidator(_listed), Field(min_length=1)] | None = Field(
        None, description="An exact path, `/prefix/*`, `/a/{id}` or `{regex}`; or a list of them."
    )
    headers: dict[HeaderName, TextTest] = Field(default_factory=dict, description="Tests of header values by name.")
    query: dict[str, TextTest] = Field(default_factory=dict, description="Tests of query parameters by name.")
    cookies: dict[str, TextTest] = Field(default_factory=dict, description="Tests of cookies by name.")
    client: Annotated[list[Cidr], BeforeValidator(_listed), Field(min_length=1)] | None = Field(
        None, description="Networks (CIDR) that the client's address must be in."
    )
    context: dict[str, Any] = Field(
        default_factory=dict, description="Values of the pack's context by name: one or a list."
    )
    status: Annotated[list[StatusPattern], BeforeValidator(_listed), Field(min_length=1)] | None = Field(
        None, description="The answer's status as it arrived: a number, a list, or a class such as 2xx."
    )
    origin: (
        Annotated[list[Literal["upstream", "rule", "proxy"]], BeforeValidator(_listed), Field(min_length=1)] | None
    ) = Field(None, description="Who made the answer; `upstream` when not given.")


class Rule(Model):
    """A rule: which exchanges, and what is done before and after the auth service is called."""

    name: Text = Field(description="Unique; used in logs, metrics and reports.")
    description: Text | None = Field(None, description="Shown in reports.")
    match: Match = Field(default_factory=Match, description="Which exchanges; all when not given.")
    before: list[dict[str, Any]] = Field(default_factory=list, description="Steps on the request.")
    after: list[dict[str, Any]] = Field(default_factory=list, description="Steps on the response.")
    continue_: list[dict[str, Any]] = Field(
        default_factory=list, alias="continue", description="Steps when a suspended exchange comes back."
    )
    mode: Literal["enforce", "shadow", "off"] = Field("enforce", description="`shadow` evaluates and changes nothing.")
    fraction: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="The share of exchanges, 0 to 1.")
    sticky: str | None = Field(
        None, description="An expression; one value of it always falls on the same side of `fraction`."
    )
    on_error: Literal["fault", "continue"] = Field(
        "fault", description="What an error of this rule does to the exchange."
    )
    timeout: Duration = Field(5.0, description="For the rule's own I/O in one phase.")
    configuration: dict[str, Any] = Field(default_factory=dict, description="Laid over the file's.")


class RuleFile(Model):
    """A rule file."""

    version: Literal[1] = Field(description="The version of the rule language.")
    packs: list[str] = Field(
        default_factory=list, description="Packs that name operations, context, dialect and secrets."
    )
    configuration: dict[str, Any] = Field(default_factory=dict, description="Free data, read as `configuration`.")
    factors: dict[str, Any] = Field(
        default_factory=dict, description="Second factors that rules may challenge for, by kind."
    )
    rules: list[dict[str, Any]] = Field(default_factory=list, description="The rules, in the order in which they run.")


Dialect = Literal["problem", "kibo", "ocapi", "oauth"]


class PackOperation(Model):
    """An operation: a method and a path template, and the schemas of its bodies."""

    method: Method
    path: str
    request: str | None = Field(None, description="The schema of the request body, by name.")
    response: str | None = Field(None, description="The schema of the response body, by name.")
    projection: str | None = Field(None, description="The query parameter that limits the fields of the answer.")
    dialect: Dialect | None = Field(None, description="How its errors look, when not as the pack's.")
    description: str | None = None


class PackContext(Model):
    """A context value: where it is read from, and its type. It comes from exactly one of these places."""

    header: HeaderName | None = Field(None, description="A header of the request.")
    claim: str | None = Field(None, description="A claim of the token that a rule verified.")
    configuration: str | None = Field(None, description="What the rule files configure under this name.")
    correlation: Literal[True] | None = Field(None, description="The correlation id of the exchange.")
    type: Literal["string", "int", "bool", "timestamp"] = "string"
    description: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> PackContext:
        places = (self.header, self.claim, self.configuration, self.correlation)
        if sum(place is not None for place in places) != 1:
            raise ValueError("a context value comes from one of `header`, `claim`, `configuration`, `correlation`")
        if self.header is None and self.claim is None and self.type != "string":
            raise ValueError("what is sent as text has a `type`; this has its own")
        return self


class PackSecrets(Model):
    """What is never logged."""

    fields: list[str] = Field(default_factory=list)
    headers: list[HeaderName] = Field(default_factory=list)
    query: list[str] = Field(default_factory=list)


class Pack(Model):
    """A pack: what a vendor calls things."""

    name: str
    version: Literal[1] = 1
    description: str | None = None
    dialect: Dialect = "problem"
    operations: dict[str, PackOperation] = Field(default_factory=dict)
    context: dict[str, PackContext] = Field(default_factory=dict)
    secrets: PackSecrets = Field(default_factory=PackSecrets)
    schemas: dict[str, dict[str, Any]] = Field(default_factory=dict)
    factors: dict[str, Any] = Field(default_factory=dict)
