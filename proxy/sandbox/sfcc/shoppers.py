"""The shoppers of the SFCC sandbox: the tokens and the sessions that say who somebody is.

Tokens and sessions end with the process; the accounts behind them are those of every sandbox.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from ..accounts import Account, Accounts

SITE = "RefArch"
KEY_ID = "sandbox-1"
TOKEN_SECONDS = 30 * 60
SESSION_SECONDS = 30 * 60
# As the platform names the cookies of a site.
SITE_HASH = hashlib.sha256(SITE.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Shopper:
    """A customer; without an account a guest."""

    id: str
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says: who, for which client, and when it was made out."""

    shopper: Shopper
    client: str
    id: str


@dataclass(frozen=True, slots=True)
class Session:
    """A session of the storefront: its two cookies, and whose it is."""

    id: str
    secure: str
    shopper: Shopper
    expires: float


class TokenError(Exception):
    """A token does not hold; `expired` says that it once did."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__()
        self.expired = expired


class Shoppers:
    """Everybody who shops, and what they may show for it."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._invalid: set[str] = set()
        self._sessions: dict[str, Session] = {}
        self._visits: dict[str, float] = {}

    def keys(self) -> dict[str, Any]:
        """Return the public keys (JWKS)."""
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**key, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]}

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign the claims of a token that lives as long as all do."""
        now = int(time.time())
        claims = {**claims, "iat": now, "exp": now + TOKEN_SECONDS}
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": KEY_ID})

    def read(self, token: str) -> dict[str, Any]:
        """Return the claims of a token; raise TokenError when it does not hold."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._key.public_key(), algorithms=["RS256"], options={"require": ["exp"], "verify_aud": False}
            )
        except jwt.ExpiredSignatureError:
            raise TokenError(expired=True) from None
        except jwt.InvalidTokenError:
            raise TokenError from None
        return claims

    def guest(self) -> Shopper:
        return Shopper(f"guest{secrets.token_hex(11)}")

    def find(self, customer_id: str) -> Shopper:
        """Return the shopper of an id that a token or a session told."""
        return Shopper(customer_id, self.accounts.by_user(customer_id))

    # Tokens of the Shop API: the issuer is the client, the subject a JSON text

    def issue(self, client: str, shopper: Shopper) -> str:
        info = {"customer_id": shopper.id, "guest": shopper.account is None, "visit_id": uuid.uuid4().hex}
        return self.sign({"_v": "1", "iss": client, "sub": json.dumps({"_v": "1", "customer_info": info})})

    def grant(self, token: str) -> Grant:
        """Return what a token of the Shop API says; raise TokenError when it does not hold."""
        claims = self.read(token)
        if "_v" not in claims:
            raise TokenError
        info = json.loads(claims["sub"])["customer_info"]
        if info["visit_id"] in self._invalid:
            raise TokenError
        return Grant(self.find(info["customer_id"]), claims["iss"], info["visit_id"])

    def invalidate(self, grant: Grant) -> None:
        self._invalid.add(grant.id)

    # Sessions

    def open_session(self, shopper: Shopper) -> Session:
        session = Session(secrets.token_urlsafe(40), secrets.token_urlsafe(24), shopper, time.time() + SESSION_SECONDS)
        self._sessions[session.id] = session
        return session

    def session(self, id: str, secure: str) -> Session | None:
        """Return the session that both cookies name, if it is still open."""
        session = self._sessions.get(id)
        if session is None or session.expires <= time.time():
            self._sessions.pop(id, None)
            return None
        return session if secrets.compare_digest(session.secure.encode(), secure.encode()) else None

    # Visits

    def visit(self, shopper: Shopper) -> None:
        """Note a login, as the profile shows it."""
        self._visits[shopper.id] = time.time()

    def last_visit(self, shopper: Shopper) -> float | None:
        return self._visits.get(shopper.id)
