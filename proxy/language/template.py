"""Strings that hold `${…}`: finding the expressions, and writing their values where they land.

An expression ends at the first `}` outside CEL strings and brackets; `$${` is a literal `${`. `${secret:NAME}` is a
form of its own and stands alone in its string. What is compiled, and against which names, is environment.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ..engine.errors import EvaluationError
from .cel import to_text

_SECRET = re.compile(r"\$\{secret:([^{}]*)\}")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_CLOSERS = {"(": ")", "[": "]", "{": "}"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Bytes with blanks for controls: a tenth of what the expression takes on a long token.
_NO_CONTROL = bytes(32 if byte < 32 or byte == 127 else byte for byte in range(256))
_NOT_COOKIE = re.compile(r'[\x00-\x20\x7f;,"]')
_NOT_SEGMENT = re.compile(r"[\x00-\x1f\x7f/\\?#;%]")


@dataclass(frozen=True, slots=True)
class Expression:
    """A `${…}` of a template; `offset` is where its source begins in the string."""

    source: str
    offset: int


@dataclass(frozen=True, slots=True)
class Secret:
    """A string that is exactly `${secret:NAME}`."""

    name: str
    offset: int


class TemplateError(Exception):
    """A template that cannot be read; `offset` and `length` say where."""

    def __init__(self, text: str, offset: int, length: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.offset = offset
        self.length = length


def parse(text: str) -> list[str | Expression] | Secret:
    """Split a string into literal text and expressions; raise TemplateError."""
    if (whole := _SECRET.fullmatch(text)) is not None:
        if not _SECRET_NAME.fullmatch(whole[1]):
            raise TemplateError("a secret's name is letters, digits, `_`, `.` and `-`", 9, max(len(whole[1]), 1))
        return Secret(whole[1], 9)
    parts: list[str | Expression] = []
    literal = ""
    at = 0
    while True:
        found = text.find("$", at)
        if found < 0:
            literal += text[at:]
            break
        literal += text[at:found]
        if text.startswith("$${", found):
            literal += "${"
            at = found + 3
        elif text.startswith("${secret:", found):
            raise TemplateError(
                "`${secret:NAME}` stands alone in its string; inside an expression write secret('NAME')", found, 9
            )
        elif text.startswith("${", found):
            end = _end(text, found + 2)
            source = text[found + 2 : end]
            if not source.strip():
                raise TemplateError("an empty `${}`; write an expression, or `$${` for a literal", found, 3)
            if literal:
                parts.append(literal)
            parts.append(Expression(source, found + 2))
            literal = ""
            at = end + 1
        else:
            literal += "$"
            at = found + 1
    if literal or not parts:
        parts.append(literal)
    return parts


def _end(text: str, start: int) -> int:
    """Find the `}` that closes an expression."""
    open_brackets: list[str] = []
    at = start
    while at < len(text):
        char = text[at]
        if char in "'\"":
            at = _string_end(text, at)
            continue
        if char in _CLOSERS:
            open_brackets.append(_CLOSERS[char])
        elif char == "}" and not open_brackets:
            return at
        elif open_brackets and char == open_brackets[-1]:
            open_brackets.pop()
        at += 1
    raise TemplateError("this `${` has no closing `}`", start - 2, 2)


def _string_end(text: str, at: int) -> int:
    """Return the position after a CEL string that begins at `at`."""
    raw = (at > 0 and text[at - 1] in "rR") or (at > 1 and text[at - 2 : at].lower() in ("br", "rb"))
    fence = text[at] * 3 if text.startswith(text[at] * 3, at) else text[at]
    start, at = at, at + len(fence)
    while at < len(text):
        if text[at] == "\\" and not raw:
            at += 2
        elif text.startswith(fence, at):
            return at + len(fence)
        else:
            at += 1
    raise TemplateError("this string has no end", start, 1)


def plain_text(value: Any) -> str:
    """Write a value as text: strings, numbers, booleans, timestamps; anything else is an EvaluationError."""
    if type(value) is str:
        return value
    if value is None or isinstance(value, list | dict | bytes):
        raise EvaluationError(f"a {_kind(value)} where text is wanted")
    return to_text(value)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "list" if isinstance(value, list) else "map" if isinstance(value, dict) else "bytes"


def header_text(value: Any) -> str:
    text = plain_text(value)
    raw = text.encode()
    # What may also stand in a text that is not ASCII takes no part in this: its bytes are all above 127.
    if raw.translate(_NO_CONTROL) != raw:
        raise EvaluationError("a header value holds a control character")
    return text


def cookie_text(value: Any) -> str:
    text = plain_text(value)
    if _NOT_COOKIE.search(text):
        raise EvaluationError("a cookie value holds a space, a quote, `;`, `,` or a control character")
    return text


def segment_text(value: Any) -> str:
    """Write a value as one percent-encoded path segment."""
    text = plain_text(value)
    if _NOT_SEGMENT.search(text):
        raise EvaluationError("a path segment holds one of / \\ ? # ; % or a control character")
    return quote(text, safe="-._~!$&'()*+,=:@")


def whole_segment_text(value: Any) -> str:
    """Write a value as a path segment of its own: one that is empty or dots would name another path."""
    text = segment_text(value)
    if text in ("", ".", ".."):
        raise EvaluationError("a path segment is empty, `.` or `..`")
    return text


WRITERS: dict[str, Callable[[Any], str]] = {
    "header": header_text,
    "cookie": cookie_text,
    "segment": segment_text,
    "query": plain_text,
    "form": plain_text,
    "address": plain_text,
    "text": plain_text,
}


def check_literal(text: str, place: str) -> str | None:
    """Say what is wrong with the literal part of a template in its place, or None."""
    if place == "header" and _CONTROL.search(text):
        return "a header value must not hold a control character"
    if place == "cookie" and _NOT_COOKIE.search(text):
        return "a cookie value must not hold a space, a quote, `;`, `,` or a control character"
    return None
