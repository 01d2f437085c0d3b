"""Keys and tokens of test files: made for the run, the same in each where the algorithm allows it.

Tokens are put together here and not by a library's `encode`, because tests need those that no library would sign.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from .model import GeneratedKey, Given, Token

# `use` and the rest of a public JWK come from the key; RFC 7518 section 3.1 names the algorithm of each.
_HMAC = ("HS256", "HS384", "HS512")


class UnsignableError(Exception):
    """A token that its secret cannot sign, in words for who wrote it."""


def secrets_of(given: Given) -> dict[str, str]:
    """Give the secrets of a file by name, a generated key as the PEM text of its private key."""
    return {
        name: secret if isinstance(secret, str) else _private_key(name, secret.generate)
        for name, secret in given.secrets.items()
    }


@lru_cache(maxsize=256)
def _private_key(name: str, algorithm: str) -> str:
    # Its cryptography takes its time to load, and few tests need it.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    seed = hashlib.sha384(f"{algorithm}\0{name}".encode()).digest()
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if algorithm == "EdDSA":
        key = ed25519.Ed25519PrivateKey.from_private_bytes(seed[:32])
    elif algorithm == "RS256":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        curve, size = (ec.SECP256R1(), 32) if algorithm == "ES256" else (ec.SECP384R1(), 48)
        # One bit less than the order of the curve has, so that it is below it.
        key = ec.derive_private_key((int.from_bytes(seed[:size], "big") >> 1) + 1, curve)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_jwk(name: str, secret: GeneratedKey) -> dict[str, Any]:
    """Give the public key of a generated key as a JWK (RFC 7517), its `kid` the secret's name."""
    algorithm = _algorithm(secret.generate)
    members: dict[str, Any] = algorithm.to_jwk(_loaded(algorithm, name, secret).public_key(), as_dict=True)
    members.pop("key_ops", None)
    return {**members, "kid": name, "use": "sig", "alg": secret.generate}


def public_half(name: str, algorithm: str) -> str:
    """Give the public key of a generated key in PEM form."""
    return _public_pem(name, GeneratedKey.model_validate({"generate": algorithm})).decode()


def sign(token: Token, secrets: Mapping[str, str | GeneratedKey], claims: Mapping[str, Any], now: float) -> str:
    """Sign a token whose `claims` are filled in; raise UnsignableError."""
    secret = secrets[token.secret] if token.secret is not None else None
    name = token.algorithm or (secret.generate if isinstance(secret, GeneratedKey) else "HS256")
    issued = int(token.issued_at.timestamp()) if token.issued_at is not None else int(now)
    times: dict[str, Any] = {}
    if token.issued_at is not None or "issued_at" not in token.model_fields_set:
        times["iat"] = issued
    if token.expires_in is not None:
        times["exp"] = issued + int(token.expires_in)
    header: dict[str, Any] = {"alg": name}
    if token.typ is not None:
        header["typ"] = token.typ
    kid = token.secret if isinstance(secret, GeneratedKey) and "kid" not in token.model_fields_set else token.kid
    if kid is not None:
        header["kid"] = kid
    text = f"{_part({**header, **token.header})}.{_part({**times, **claims})}"
    return f"{text}.{_encoded(_signature(name, token.secret, secret, text.encode()))}"


def _signature(algorithm: str, name: str | None, secret: str | GeneratedKey | None, text: bytes) -> bytes:
    if name is None or secret is None:
        return b""
    signer = _algorithm(algorithm)
    if algorithm in _HMAC:
        # A public key as the secret of an HMAC is what an attacker tries who knows no other.
        key: Any = secret.encode() if isinstance(secret, str) else _public_pem(name, secret)
    else:
        key = _loaded(signer, name, secret)
    signature: bytes = signer.sign(text, key)
    return signature


def _algorithm(name: str) -> Any:
    import jwt

    return jwt.get_algorithm_by_name(name)


def _loaded(algorithm: Any, name: str, secret: str | GeneratedKey) -> Any:
    from jwt.exceptions import PyJWTError

    pem = secret if isinstance(secret, str) else _private_key(name, secret.generate)
    try:
        return algorithm.prepare_key(pem)
    except (PyJWTError, ValueError, TypeError):
        raise UnsignableError(f"the secret {name!r} is not a private key for this algorithm") from None


def _public_pem(name: str, secret: GeneratedKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    public = _loaded(_algorithm(secret.generate), name, secret).public_key()
    pem: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem


def _part(members: Mapping[str, Any]) -> str:
    return _encoded(msgspec.json.encode(members))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
