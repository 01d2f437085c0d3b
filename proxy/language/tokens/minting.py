"""Signing a token: what it says for itself beside what its maker says. The clock is the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...engine.errors import EvaluationError
from . import jws
from .keys import Key
from .verification import misused_claims

# What the token says for itself.
OWN = ("iat", "exp")


def mint(
    key: Key,
    algorithm: str,
    claims: Mapping[str, Any],
    *,
    now: float,
    expires_in: float,
    typ: str = "JWT",
    kid: str | None = None,
) -> str:
    """Sign a token; claims that no verifier would take, or too many of them, are an EvaluationError."""
    issued = int(now)
    said = {**claims, "iat": issued, "exp": issued + int(expires_in)}
    for name in misused_claims(said):
        raise EvaluationError(f"the claim {name} of a token is of a wrong type")
    header = {"alg": algorithm, "typ": typ}
    if kid is not None:
        header["kid"] = kid
    token = jws.put_together(header, said, lambda message: key.sign(algorithm, message))
    if len(token) > jws.LONGEST:
        raise EvaluationError(f"the token would be longer than {jws.LONGEST} characters")
    return token
