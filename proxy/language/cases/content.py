"""The models of what stands in a case: messages that are given, and what is expected of them. Shape and types only."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ..fields import HeaderName, Text, is_token
from ..model import Model


def listed(value: Any) -> Any:
    """Make a list of what may be written as one."""
    return value if isinstance(value, list) else [value]


def _base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    return value


def _method(value: str) -> str:
    if not is_token(value):
        raise ValueError("not an HTTP method")
    return value.upper()


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("a path begins with `/`")
    return value


Method = Annotated[Text, AfterValidator(_method)]
Lines = dict[HeaderName, Text | list[Text] | None]
Failure = Annotated[
    Literal["down", "late"] | None, Field(description="`down`: it cannot be reached; `late`: it does not answer.")
]


class Content(Model):
    """The headers and the body of a message; a body is written in one way."""

    headers: Lines = Field(default_factory=dict, description="Header lines by name; a list is several lines.")
    json_: Any = Field(None, alias="json", description="A JSON body.")
    form: dict[str, Text] | None = Field(None, description="A form body.")
    text: Text | None = Field(None, description="A text/plain body.")
    body: Text | None = Field(None, description="The body as it is, with no type of its own.")
    base64: Annotated[str, AfterValidator(_base64)] | None = Field(None, description="The body's bytes.")

    @model_validator(mode="after")
    def _one_body(self) -> Content:
        given = self.model_fields_set & {"json_", "form", "text", "body", "base64"}
        if len(given) > 1:
            raise ValueError("a body is written in one way: json, form, text, body or base64")
        return self


class GivenRequest(Content):
    """The request of a case."""

    operation: str | None = Field(None, description="An operation of a pack, instead of `method` and `path`.")
    method: Method | None = Field(None, description="The method; GET when not given.")
    path: Annotated[Text, AfterValidator(_path)] | None = Field(None, description="The path, with or without a query.")
    query: dict[str, Text | list[Text]] = Field(default_factory=dict, description="Parameters; they are encoded.")
    cookies: dict[str, Text] = Field(default_factory=dict, description="The pairs of the Cookie header.")
    ip: str = Field("192.0.2.1", description="The client's address.")
    through: list[str] = Field(default_factory=list, description="The trusted proxies that it came through, in order.")
    scheme: Literal["http", "https"] = Field("http", description="How the client came.")


class GivenUpstream(Content):
    """The answer of the auth service in a case."""

    status: Annotated[int, Field(ge=200, le=599, description="The status.")] = 200
    reason: str | None = Field(None, description="The reason phrase.")
    fails: Failure = None


class GivenLookup(Content):
    """The answer of another service in a case: `method`, `url` or `operation` say to which call, the rest is it."""

    method: Method | None = Field(None, description="The method of the call; any when not given.")
    url: Text | None = Field(None, description="The address that is called, whole; a path is one of the upstream.")
    operation: str | None = Field(None, description="The operation of a pack that is called, instead of `url`.")
    status: Annotated[int, Field(ge=200, le=599, description="The status.")] = 200
    fails: Failure = None

    @model_validator(mode="after")
    def _one_call(self) -> GivenLookup:
        if (self.url is None) == (self.operation is None):
            raise ValueError("a lookup has a `url` or an `operation`")
        return self


class ExpectedCookie(Model):
    """A cookie that the client is to get; what is not named is not compared."""

    value: Text | None = Field(None, description="Its value.")
    max_age: int | None = Field(None, description="Max-Age; null: it has none.")
    domain: Text | None = Field(None, description="Domain; null: it has none.")
    path: Text | None = Field(None, description="Path; null: it has none.")
    secure: bool | None = Field(None, description="Whether it is Secure.")
    http_only: bool | None = Field(None, description="Whether it is HttpOnly.")
    same_site: Text | None = Field(None, description="SameSite; null: it has none.")


class Expected(Model):
    """What a message must be; what is not named is not compared."""

    headers: Lines = Field(default_factory=dict, description="Header values by name; null: the header is not there.")
    json_: Any = Field(None, alias="json", description="The body as JSON, compared exactly but for the order of keys.")
    form: dict[str, Text] | None = Field(None, description="The body as a form, all fields.")
    text: Text | None = Field(None, description="The body as text.")
    raw: Text | None = Field(None, description="The body byte for byte, after undoing its coding.")
    absent: list[Text] = Field(default_factory=list, description="Texts that stand nowhere in the message.")


class ExpectedRequest(Expected):
    """The request as it was forwarded."""

    method: Method | None = Field(None, description="The method.")
    path: str | None = Field(None, description="The path, without the query.")
    query: dict[str, Text | list[Text]] | None = Field(None, description="All parameters, and no other.")
    cookies: dict[str, Text | None] = Field(default_factory=dict, description="Cookies; null: it is not there.")


class ExpectedLocation(Model):
    """Where the client is sent; what is not named is not compared."""

    url: Text | None = Field(None, description="The address without its query.")
    query: dict[str, Text | None] = Field(default_factory=dict, description="Parameters; null: it is not there.")


class ExpectedResponse(Expected):
    """The answer to the client."""

    status: int | None = Field(None, description="The status.")
    reason: str | None = Field(None, description="The reason phrase.")
    cookies: dict[str, Text | ExpectedCookie | None] = Field(
        default_factory=dict, description="Cookies that it sets: the value, or `{value, max_age, path, …}`."
    )
    location: ExpectedLocation | None = Field(None, description="The parts of the Location header.")


class ExpectedLookup(Expected):
    """A call of another service, as it was made."""

    method: Method | None = Field(None, description="The method.")
    url: Text | None = Field(None, description="The whole address.")


class ExpectedRules(Model):
    """What ran, and who denied."""

    ran: list[str] | None = Field(None, description="The names of the rules that ran, in order.")
    denied_by: str | None = Field(None, description="The rule that refused, by whichever action; null: none did.")


class Expectation(Model):
    """What a case expects of an exchange."""

    upstream: ExpectedRequest | Literal["not called"] | None = Field(
        None, description="The request as it was forwarded, or `not called`."
    )
    response: ExpectedResponse | None = Field(None, description="The answer to the client.")
    lookups: list[ExpectedLookup] | None = Field(
        None, description="The calls of other services that were made, in order; `[]`: none."
    )
    rules: ExpectedRules | None = Field(None, description="What ran, and who denied.")
    log: Annotated[list[str], BeforeValidator(listed)] | None = Field(
        None, description="Texts of which each stands in a line that a rule logged."
    )
    holds: Annotated[list[Text], BeforeValidator(listed)] | None = Field(
        None, description="Expressions over `response`, `location`, `lookups` and `upstream` that must be true."
    )
