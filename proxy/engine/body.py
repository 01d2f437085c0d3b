"""Opening a body: which kind it is, and undoing its coding."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from . import codings
from .errors import EvaluationError, Side, Unreadable
from .form_body import FormBody
from .json_body import JsonBody

if TYPE_CHECKING:
    from .message import Headers, Limits

__all__ = ["FormBody", "JsonBody", "encode_content", "is_json", "media_type", "open_body"]

# What HTTP calls white space around the parts of a field; Python's own strip() takes more.
_WHITE = " \t"
_TOKEN = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_JSON = re.compile(rf"application/json|text/json|{_TOKEN}/{_TOKEN}\+json").fullmatch


class MediaType(NamedTuple):
    """A media type and its charset, in lower case; no type is the empty text."""

    kind: str
    charset: str | None
    is_json: bool


def media_type(headers: Headers, side: Side) -> MediaType:
    """Return the media type of a body. Several are Unreadable."""
    lines = headers.values(b"content-type")
    if len(lines) > 1:
        raise Unreadable(side, "there is more than one Content-Type", 415)
    found = _parse_type(lines[0] if lines else b"")
    if found is None:
        raise Unreadable(side, "there is more than one charset", 415)
    return found


@lru_cache(512)
def _parse_type(value: bytes) -> MediaType | None:
    """Read a Content-Type; None when it has more than one charset. Remembered, as there are few."""
    first, *parameters = value.decode("latin-1").split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    charsets = [text.strip(_WHITE).strip('"').lower() for name, _, text in pairs if _name(name) == "charset"]
    if len(charsets) > 1:
        return None
    kind = _name(first)
    return MediaType(kind, charsets[0] if charsets else None, _JSON(kind) is not None)


def _name(text: str) -> str:
    return text.strip(_WHITE).lower()


def is_json(headers: Headers, side: Side) -> bool:
    """Say whether a message calls its body JSON."""
    return media_type(headers, side).is_json


def _coding(headers: Headers, side: Side) -> str | None:
    lines = headers.values(b"content-encoding")
    if not lines:
        return None
    text = b",".join(lines).decode("latin-1")
    found = [_name(coding) for coding in text.split(",") if coding.strip(_WHITE)]
    if not found or found == ["identity"]:
        return None
    if len(found) > 1 or found[0] not in codings.CODINGS:
        raise Unreadable(side, "the body's content coding is unknown or stacked", 415)
    return found[0]


def open_body(headers: Headers, content: bytes | None, limits: Limits, side: Side) -> JsonBody | FormBody:
    """Open a body for rules; no body is an EvaluationError, one that rules cannot read Unreadable."""
    if not content:
        raise EvaluationError(f"the {side} has no body", side)
    if len(content) > limits.body:
        raise Unreadable(side, f"the body is larger than {limits.body} bytes", 413)
    kind, charset, json = media_type(headers, side)
    if not json and kind != "application/x-www-form-urlencoded":
        raise Unreadable(side, "the body is neither JSON nor a form", 415)
    if charset not in (None, "utf-8", "utf8"):
        raise Unreadable(side, "the body is not in UTF-8 by its type", 415)
    coding = _coding(headers, side)
    if coding is not None:
        content = codings.decode(content, coding, limits.decoded, side)
    elif len(content) > limits.decoded:
        raise Unreadable(side, f"the decoded body is larger than {limits.decoded} bytes", 413)
    if content.startswith(b"\xef\xbb\xbf"):
        raise Unreadable(side, "the body begins with a byte order mark")
    if json and content.isascii():
        return JsonBody(content, side, limits.depth)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable(side, "the body is not UTF-8") from None
    return JsonBody(content, side, limits.depth) if json else FormBody(text, side)


def encode_content(data: bytes, headers: Headers) -> bytes:
    """Encode an edited body as its Content-Encoding says."""
    coding = _coding(headers, headers.side)
    return data if coding is None else codings.encode(data, coding)
