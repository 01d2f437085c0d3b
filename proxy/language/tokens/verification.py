"""Whether a signed token holds: its algorithm, key and signature, its times, and what a rule expects of its claims.

A token that does not hold is a BadToken, in every case; whoever asked decides what the client hears of it, which must
be the same for every word. The clock is the caller's.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import jws
from .jws import BadToken, Compact
from .keys import Key, fingerprint, read_jwk

WORDS: Mapping[str, str] = {
    "missing": "there is no token",
    "malformed": "it is no signed token in its one spelling",
    "header": "its header has a wrong type, or needs what is not supported",
    "algorithm": "its algorithm is none of those that it may be signed with",
    "key": "no key fits it",
    "signature": "the signature is wrong",
    "claims": "a claim is missing or of a wrong type",
    "expired": "its time is over",
    "early": "its time has not come",
    "issuer": "another one issued it",
    "audience": "it is for someone else",
    "type": "it is of another type",
}

# Without a `kid` every key that fits is tried, so their number is bounded; so is the length of a name to look for.
_MOST_KEYS = 8
_LONGEST_KID = 256
# The last second that a calendar has: what lies beyond is no time.
_LAST = 253_402_300_799
_MOST_KEPT = 1024
_LONGEST_KEPT = 4096
_TIMES = ("exp", "nbf", "iat")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a rule expects beyond the signature. Of `issuers` and `audiences` one must be the token's."""

    issuers: Sequence[str] = ()
    audiences: Sequence[str] = ()
    typ: str | None = None
    leeway: float = 0.0
    require: Sequence[str] = ("exp",)


def open_token(text: str, algorithms: Sequence[str]) -> Compact:
    """Take a token apart and read its header; the algorithm must be one of the rule's."""
    if not text:
        raise BadToken("missing", WORDS["missing"])
    token = jws.take_apart(text)
    header = token.header
    if any(not isinstance(header[name], str) for name in ("alg", "typ", "cty", "kid") if name in header):
        raise BadToken("header", "a part of its header is of a wrong type")
    # RFC 7515 section 4.1.11: what must be understood and is not refuses the token; RFC 7797 is not supported either.
    if "crit" in header or "b64" in header:
        raise BadToken("header", "its header needs what is not supported")
    if header.get("alg") not in algorithms:
        raise BadToken("algorithm", WORDS["algorithm"])
    if len(header.get("kid", "")) > _LONGEST_KID:
        raise BadToken("key", "the name of its key is too long")
    return token


def fitting(token: Compact, jwks: Iterable[Any], known: Keyring) -> list[Key]:
    """Choose the keys of a key set that may have signed a token; none is a BadToken."""
    algorithm, kid = token.header["alg"], token.header.get("kid")
    found: list[Key] = []
    for jwk in jwks:
        if not isinstance(jwk, dict) or jwk.get("alg", algorithm) != algorithm:
            continue
        if kid is not None and jwk.get("kid") != kid:
            continue
        key = known.read(jwk)
        if key is not None and key.misfit(algorithm) is None:
            found.append(key)
            if len(found) == _MOST_KEYS:
                break
    if not found:
        raise BadToken("key", WORDS["key"])
    return found


class Keyring:
    """Keys of sets, each read once; the oldest are forgotten."""

    __slots__ = ("_read",)

    def __init__(self) -> None:
        self._read: OrderedDict[bytes, Key | None] = OrderedDict()

    def read(self, jwk: dict[str, Any]) -> Key | None:
        mark = fingerprint(jwk)
        if mark not in self._read:
            self._read[mark] = read_jwk(jwk)
            if len(self._read) > _MOST_KEPT:
                self._read.popitem(last=False)
        return self._read[mark]


class Verifier:
    """Verifies signatures, and keeps what held.

    What is kept is found by a digest of the token in its one spelling and by the key that verified it, so neither
    another spelling nor another key ever finds it. Times are not kept: `check` looks at them at every use.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[bytes, bytes], tuple[float, dict[str, Any]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def verify(self, token: Compact, keys: Iterable[Key], now: float) -> dict[str, Any]:
        """Give the claims of a token that one of the keys signed; else it is a BadToken."""
        digest = hashlib.sha256(token.text.encode()).digest()
        for key in keys:
            kept = self._held.get((digest, key.fingerprint))
            if kept is not None:
                if kept[0] > now:
                    self._held.move_to_end((digest, key.fingerprint))
                    return kept[1]
                del self._held[digest, key.fingerprint]
            if key.verify(token.header["alg"], token.signing_input, token.signature):
                claims = token.claims()
                _check_types(claims)
                self._keep(token, digest, key, claims, now)
                return claims
        raise BadToken("signature", WORDS["signature"])

    def _keep(self, token: Compact, digest: bytes, key: Key, claims: dict[str, Any], now: float) -> None:
        until = claims.get("exp", math.inf)
        if until <= now or len(token.text) > _LONGEST_KEPT:
            return
        self._held[digest, key.fingerprint] = until, claims
        if len(self._held) > _MOST_KEPT:
            self._held.popitem(last=False)


def check(token: Compact, claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    """Check times, issuer, audience and type of a token whose signature holds; what is not as expected is a BadToken.

    A token that names an audience is for nobody else (RFC 7519 section 4.1.3): without `audiences` it does not hold.
    """
    for name in expected.require:
        if name not in claims:
            raise BadToken("claims", "a claim that the rule requires is missing")
    check_times(claims, expected.leeway, now)
    if expected.issuers and claims.get("iss") not in expected.issuers:
        raise BadToken("issuer", WORDS["issuer"])
    if expected.audiences or "aud" in claims:
        named = claims.get("aud", [])
        named = [named] if isinstance(named, str) else named
        if not any(one in expected.audiences for one in named):
            raise BadToken("audience", WORDS["audience"])
    if expected.typ is not None and _type(token.header.get("typ")) != _type(expected.typ):
        raise BadToken("type", WORDS["type"])


def check_times(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    # Asked so that a clock which gives no number lets nobody in.
    if "exp" in claims and not now < claims["exp"] + leeway:
        raise BadToken("expired", WORDS["expired"])
    if not all(now >= claims[name] - leeway for name in ("nbf", "iat") if name in claims):
        raise BadToken("early", WORDS["early"])


def misused_claims(claims: Mapping[str, Any]) -> Iterator[str]:
    """Give the names of registered claims (RFC 7519 section 4.1) whose values are of a wrong type."""
    for name in _TIMES:
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST:
            yield name
    for name in ("iss", "sub", "jti"):
        if not isinstance(claims.get(name, ""), str):
            yield name
    audience = claims.get("aud", "")
    each = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(one, str) for one in each):
        yield "aud"


def _check_types(claims: Mapping[str, Any]) -> None:
    for name in misused_claims(claims):
        raise BadToken("claims", f"its {name} is of a wrong type")


def _type(typ: str | None) -> str | None:
    """Give a type as it is compared: in lower case, the prefix `application/` left out (RFC 7515 section 4.1.9)."""
    return typ.lower().removeprefix("application/") if typ is not None else None
