"""The keys and algorithms of signed tokens (RFC 7518): which key fits which algorithm, signing and verifying.

An algorithm is always named by whoever signs or verifies, never by a key or a token; `none` does not exist here. The
mathematics is cryptography's, reached through PyJWT, which takes its time to load and is imported at the first key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

import msgspec

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
_FAMILIES = {"HS": "secret", "RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_TOLD = {"secret": "a secret", "RSA": "an RSA key", "EC": "a key on a curve", "OKP": "an Edwards key"}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA_BITS = range(2048, 16_385)


class BadKey(ValueError):
    """A key that cannot be read or used; its text names nothing of the key."""


def family(algorithm: str) -> str:
    """Give the kind of key that an algorithm takes; of one family are those of one kind."""
    return _FAMILIES[algorithm[:2]]


def one_family(algorithms: tuple[str, ...] | list[str]) -> bool:
    return len({family(algorithm) for algorithm in algorithms}) == 1


@lru_cache(1)
def _known() -> Mapping[str, Any]:
    from jwt.algorithms import get_default_algorithms

    found = get_default_algorithms()
    return {name: found[name] for name in ALGORITHMS}


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was read. `fingerprint` differs for any two keys; like the material it is never shown."""

    kind: str
    material: Any = field(repr=False)
    fingerprint: bytes = field(repr=False)

    def misfit(self, algorithm: str) -> str | None:
        """Say why the key is not one for an algorithm, or None when it is."""
        wanted = family(algorithm)
        if self.kind != wanted:
            return f"{algorithm} takes {_TOLD[wanted]}, and this is {_TOLD[self.kind]}"
        if wanted == "secret" and len(self.material) < int(algorithm[2:]) // 8:
            return f"the secret is shorter than the {int(algorithm[2:]) // 8} bytes that {algorithm} takes"
        if wanted == "RSA" and self.material.key_size not in _RSA_BITS:
            return f"an RSA key has at least {_RSA_BITS[0]} bits"
        if wanted == "EC" and self.material.curve.name != _CURVES[algorithm]:
            return f"{algorithm} takes a key on the curve {_CURVES[algorithm]}"
        return None

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Say whether a signature is this key's over a message; a key that does not fit verifies nothing."""
        return self.misfit(algorithm) is None and bool(_known()[algorithm].verify(message, self.material, signature))

    def sign(self, algorithm: str, message: bytes) -> bytes:
        wrong = self.misfit(algorithm)
        if wrong is not None:
            raise BadKey(wrong)
        signature: bytes = _known()[algorithm].sign(message, self.material)
        return signature


def read_secret(data: bytes) -> Key:
    """Read a shared secret; what looks like a key of another kind is no secret (RFC 8725 section 2.1)."""
    from jwt.exceptions import InvalidKeyError

    try:
        # A key of another kind that is cut short is none either.
        if b"-----BEGIN" in data:
            raise InvalidKeyError
        material = _known()["HS256"].prepare_key(data)
    except InvalidKeyError:
        raise BadKey("this is empty, or a key of another kind, and no shared secret") from None
    return Key("secret", material, hashlib.sha256(data).digest())


def read_public(data: bytes) -> Key:
    """Read a public key in PEM."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY-----" in data:
        raise BadKey("this is a private key: whoever verifies needs the public one only")
    if b"BEGIN CERTIFICATE-----" in data:
        raise BadKey("this is a certificate: take the public key out of it")
    try:
        material = load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKey("this is no public key in PEM") from None
    return _key(material, hashlib.sha256(data).digest())


def read_private(data: bytes) -> Key:
    """Read a private key in PEM, without a password."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        material = load_pem_private_key(data, password=None)
    except TypeError:
        raise BadKey("this private key is encrypted, and there is no password to give") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("this is no private key in PEM") from None
    return _key(material, hashlib.sha256(data).digest())


def _key(material: Any, mark: bytes) -> Key:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    kinds: dict[str, tuple[type, ...]] = {
        "RSA": (rsa.RSAPublicKey, rsa.RSAPrivateKey),
        "EC": (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey),
        "OKP": (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey, ed448.Ed448PublicKey, ed448.Ed448PrivateKey),
    }
    for kind, types in kinds.items():
        if isinstance(material, types):
            return Key(kind, material, mark)
    raise BadKey("this kind of key signs no tokens")


def fingerprint(jwk: Mapping[str, Any]) -> bytes:
    """Give what tells two keys of sets apart, however they are written."""
    return hashlib.sha256(msgspec.json.encode(jwk, order="sorted")).digest()


def read_jwk(jwk: Mapping[str, Any]) -> Key | None:
    """Read one public key of a key set (RFC 7517), or give None when it is not one that verifies signatures."""
    if jwk.get("use", "sig") != "sig" or "d" in jwk:
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    reader = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}.get(str(jwk.get("kty")))
    if reader is None:
        return None
    try:
        return _key(_known()[reader].from_jwk(jwk), fingerprint(jwk))
    except Exception:
        # A set may hold keys of any future kind, and whatever its publisher got wrong: such a key is passed over.
        return None
