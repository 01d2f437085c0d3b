"""Signed tokens in the compact form of RFC 7515: taken apart and put together.

One token has one spelling here: what a lenient decoder would read the same way (padding, `+` and `/`, loose last bits,
white space, a key twice) is no token. Nothing in this module says that a token is true; that is verification.py's.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ...engine.errors import EvaluationError, Unreadable
from ...engine.json_body import JsonBody
from ...engine.json_nodes import encode

LONGEST = 16_384
_DEEPEST = 32

_form = re.compile(r"([\w-]*)\.([\w-]*)\.([\w-]*)", re.ASCII).fullmatch
# base64url without padding: what its last character may be, by the length of the last group, without loose bits.
_LAST = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}


class BadToken(Exception):
    """A token that does not hold; `word` is one of verification.WORDS, `cause` names no part of the token."""

    def __init__(self, word: str, cause: str) -> None:
        super().__init__(word)
        self.word = word
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Compact:
    """A token taken apart. The header was read, the claims are when they are asked for."""

    text: str = field(repr=False)
    header: dict[str, Any] = field(repr=False)
    payload: str = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def signing_input(self) -> bytes:
        return self.text.rpartition(".")[0].encode()

    def claims(self) -> dict[str, Any]:
        """Read the claims; a payload that is no JSON object is a BadToken."""
        return _object(self.payload, "claims")


def take_apart(text: str) -> Compact:
    """Take a token apart; what is not exactly one, in its one spelling, is a BadToken."""
    found = _form(text) if len(text) <= LONGEST else None
    if found is None or not all(map(_is_canonical, found.groups())):
        raise BadToken("malformed", "it is no signed token in compact form")
    header, payload, signature = found.groups()
    return Compact(text, _header(header), payload, _decode(signature))


def put_together(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """Write a token; claims that JSON cannot hold are an EvaluationError."""
    start = b".".join(urlsafe_b64encode(bytes(encode(part))).rstrip(b"=") for part in (header, claims))
    return (start + b"." + urlsafe_b64encode(sign(start)).rstrip(b"=")).decode("ascii")


def _is_canonical(part: str) -> bool:
    rest = len(part) % 4
    return rest == 0 or (rest != 1 and part[-1] in _LAST[rest])


@lru_cache(256)
def _header(part: str) -> dict[str, Any]:
    """Read a header; kept, as an issuer's tokens have one and the same, and not to be changed."""
    return _object(part, "header")


def _decode(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        value = JsonBody(_decode(part), "request", _DEEPEST).value()
    except (Unreadable, EvaluationError):
        value = None
    if not isinstance(value, dict):
        raise BadToken("malformed", f"its {what} cannot be read")
    return value
