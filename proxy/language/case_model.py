"""The models of a test file: cases, what is given, what is expected. Shape and types only; cases.py runs them."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .fields import HeaderName, Text, is_token
from .model import Model

# The time in a test that does not name one.
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def listed(value: Any) -> Any:
    """Make a list of what may be written as one."""
    return value if isinstance(value, list) else [value]


def _moment(value: Any) -> Any:
    try:
        moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("not a time; write it as 2026-01-31T12:00:00Z") from None
    # The same everywhere: a time without a zone must not depend on the machine's.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


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


Moment = Annotated[dt.datetime, BeforeValidator(_moment)]
Method = Annotated[Text, AfterValidator(_method)]
Lines = dict[HeaderName, Text | list[Text] | None]


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
    method: Method | None = None
    path: Annotated[Text, AfterValidator(_path)] | None = Field(None, description="The path, with or without a query.")
    query: dict[str, Text | list[Text]] = Field(default_factory=dict, description="Parameters; they are encoded.")
    cookies: dict[str, Text] = Field(default_factory=dict, description="The pairs of the Cookie header.")
    ip: str = Field("192.0.2.1", description="The client's address.")
    scheme: Literal["http", "https"] = "http"


class GivenUpstream(Content):
    """The answer of the auth service in a case."""

    status: Annotated[int, Field(ge=200, le=599)] = 200
    reason: str | None = None


class ExpectedCookie(Model):
    """A cookie that the client is to get; what is not named is not compared."""

    value: Text | None = None
    max_age: int | None = None
    domain: Text | None = None
    path: Text | None = None
    secure: bool | None = None
    http_only: bool | None = None
    same_site: Text | None = None


class Expected(Model):
    """What a message must be; what is not named is not compared."""

    headers: Lines = Field(default_factory=dict, description="Header values by name; null: the header is not there.")
    json_: Any = Field(None, alias="json", description="The body as JSON, compared exactly but for the order of keys.")
    form: dict[str, Text] | None = None
    text: Text | None = Field(None, description="The body as text.")
    raw: Text | None = Field(None, description="The body byte for byte, after undoing its coding.")
    absent: list[Text] = Field(default_factory=list, description="Texts that stand nowhere in the message.")


class ExpectedRequest(Expected):
    """The request as it was forwarded."""

    method: Method | None = None
    path: str | None = None
    query: dict[str, Text | list[Text]] | None = Field(None, description="All parameters, and no other.")
    cookies: dict[str, Text | None] = Field(default_factory=dict, description="Cookies; null: it is not there.")


class ExpectedResponse(Expected):
    """The answer to the client."""

    status: int | None = None
    reason: str | None = None
    cookies: dict[str, Text | ExpectedCookie | None] = Field(
        default_factory=dict, description="Cookies that it sets: the value, or `{value, max_age, path, …}`."
    )


class ExpectedRules(Model):
    """What ran, and who denied."""

    ran: list[str] | None = Field(None, description="The names of the rules that ran, in order.")
    denied_by: str | None = Field(None, description="The rule that denied; null: none did.")


class Expectation(Model):
    """What a case expects."""

    upstream: ExpectedRequest | Literal["not called"] | None = Field(
        None, description="The request as it was forwarded, or `not called`."
    )
    response: ExpectedResponse | None = None
    rules: ExpectedRules | None = None
    log: Annotated[list[str], BeforeValidator(listed)] | None = Field(
        None, description="Texts of which each stands in a line that a rule logged."
    )


class ExpectedProblem(Model):
    """A problem that the rules must have."""

    code: str
    text: str | None = Field(None, description="A part of its words.")
    line: int | None = None


class Case(Model):
    """One case: a request, the auth service's answer, and what comes of it; or the problem that the rules must have."""

    name: Text
    rules: list[str | dict[str, Any]] | None = Field(None, description="Rules of this case alone.")
    packs: list[str] | None = Field(None, description="Packs of this case's rules.")
    request: GivenRequest | None = None
    upstream: GivenUpstream | None = Field(None, description="The auth service's answer; an empty 200 when not given.")
    expect: Expectation | None = None
    error: ExpectedProblem | str | None = Field(None, description="The code of a load error, or `{code, text, line}`.")
    warning: ExpectedProblem | str | None = Field(None, description="The same for a warning.")


class Given(Model):
    """What holds for all cases of a file."""

    now: Moment = NOW
    secrets: dict[str, Text] = Field(default_factory=dict)
    public_origin: str | None = None
    allow_redirects: list[str] = Field(default_factory=list)


class CaseFile(Model):
    """A test file."""

    rules: list[str | dict[str, Any]] = Field(
        default_factory=list, description="Rule files by their place beside it, folders, or rules."
    )
    packs: list[str] = Field(default_factory=list, description="Packs of the rules that stand in the file.")
    configuration: dict[str, Any] = Field(
        default_factory=dict, description="The configuration of the rules that stand in the file."
    )
    given: Given = Field(default_factory=Given)
    cases: Annotated[list[Case], Field(min_length=1)]
