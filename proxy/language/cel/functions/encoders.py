"""base64 and base64url, between bytes and text."""

from __future__ import annotations

import base64
import binascii

from ....engine.errors import EvaluationError
from ..environment import Function
from ..types import BYTES, STRING
from .cost import of_texts


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes:
    """Decode base64, padded or not; anything else in it is an EvaluationError."""
    try:
        return base64.b64decode(_padded(text), validate=True)
    except (binascii.Error, ValueError):
        raise EvaluationError("base64.decode(): the text is no base64") from None


def encode_url(data: bytes) -> str:
    """Encode as tokens do: the URL alphabet, no padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode_url(text: str) -> bytes:
    """Decode base64url, padded or not; the other alphabet's `+` and `/` are an EvaluationError."""
    if "+" not in text and "/" not in text:
        try:
            return base64.b64decode(_padded(text), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            pass
    raise EvaluationError("base64url.decode(): the text is no base64url")


def _padded(text: str) -> str:
    return text if text.endswith("=") else text + "=" * (-len(text) % 4)


FUNCTIONS = (
    Function(name="base64.encode", overloads=(((BYTES,), STRING),), call=encode, cost=of_texts),
    Function(name="base64.decode", overloads=(((STRING,), BYTES),), call=decode, cost=of_texts),
    Function(name="base64url.encode", overloads=(((BYTES,), STRING),), call=encode_url, cost=of_texts),
    Function(name="base64url.decode", overloads=(((STRING,), BYTES),), call=decode_url, cost=of_texts),
)
