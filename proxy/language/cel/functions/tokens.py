"""Digests, random identifiers, and a look into tokens that proves nothing about them."""

from __future__ import annotations

from typing import Any

from ....engine.errors import EvaluationError
from ...tokens import jws
from ..environment import Function
from ..types import BOOL, BYTES, DYN, STRING, map_of
from .cost import of_texts


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def sha256(value: str | bytes) -> str:
    import hashlib

    return hashlib.sha256(_bytes(value)).hexdigest()


def hmac_sha256(key: str | bytes, message: str | bytes) -> str:
    import hmac

    return hmac.digest(_bytes(key), _bytes(message), "sha256").hex()


def constant_time_equal(one: str | bytes, other: str | bytes) -> bool:
    """Compare without a hint, by the time it takes, of where two texts differ."""
    import hmac

    return hmac.compare_digest(_bytes(one), _bytes(other))


def uuid(x: Any) -> str:
    """Make a random UUID (RFC 9562 version 4) of the exchange's entropy."""
    digits = bytearray(x.entropy(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def jwt(token: str) -> dict[str, Any]:
    """Decode a token's header and claims without any proof that they are true."""
    try:
        found = jws.take_apart(token)
        return {"header": found.header, "claims": found.claims()}
    except jws.BadToken as error:
        raise EvaluationError(f"jwt(): {error.cause}") from None


_PAIRS = tuple((one, other) for one in (STRING, BYTES) for other in (STRING, BYTES))

FUNCTIONS = (
    Function(name="sha256", overloads=(((STRING,), STRING), ((BYTES,), STRING)), call=sha256, cost=of_texts),
    Function(name="hmac", overloads=tuple((pair, STRING) for pair in _PAIRS), call=hmac_sha256, cost=of_texts),
    Function(
        name="constantTimeEqual",
        overloads=(((STRING, STRING), BOOL), ((BYTES, BYTES), BOOL)),
        call=constant_time_equal,
        cost=of_texts,
    ),
    Function(name="uuid", overloads=(((), STRING),), call=uuid, exchange=True, pure=False),
    Function(name="jwt", overloads=(((STRING,), map_of(STRING, map_of(STRING, DYN))),), call=jwt, cost=of_texts),
)
