"""What the OAuth sandbox remembers: customers, refresh tokens and their families, and what is good for once only."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from ..accounts import Accounts

T = TypeVar("T")

_TABLE = """
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS oauth_refreshes (
    token TEXT PRIMARY KEY, family TEXT NOT NULL, subject TEXT NOT NULL, granted TEXT NOT NULL,
    expires REAL NOT NULL, used INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Granted:
    """What a client was granted: on whose behalf, and how far it reaches."""

    client: str
    subject: str
    scope: str
    audience: str | None = None
    # Whether the client has a secret to show when it refreshes.
    public: bool = False


class Once(Generic[T]):
    """Codes and tickets by name: short-lived, and taken only once."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, T]] = {}

    def issue(self, value: T, seconds: float) -> str:
        now = time.time()
        self._held = {name: held for name, held in self._held.items() if held[0] > now}
        name = secrets.token_urlsafe(32)
        self._held[name] = (now + seconds, value)
        return name

    def look(self, name: str) -> T | None:
        """Return what a name stands for, and leave it."""
        found = self._held.get(name)
        return found[1] if found is not None and found[0] > time.time() else None

    def take(self, name: str) -> T | None:
        found = self.look(name)
        self._held.pop(name, None)
        return found

    def values(self) -> dict[str, T]:
        now = time.time()
        return {name: value for name, (expires, value) in self._held.items() if expires > now}


class Refreshes:
    """Refresh tokens: each works once, and one that is used again ends all that came of the same login."""

    def __init__(self, path: str | None) -> None:
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._db.executescript(_TABLE)
        self._db.execute("DELETE FROM oauth_refreshes WHERE expires < ?", (time.time(),))

    def close(self) -> None:
        self._db.close()

    def issue(self, granted: Granted, seconds: float, family: str | None = None) -> str:
        token = secrets.token_urlsafe(32)
        row = (token, family or secrets.token_hex(8), granted.subject, json.dumps(asdict(granted)))
        self._db.execute("INSERT INTO oauth_refreshes VALUES (?, ?, ?, ?, ?, 0)", (*row, time.time() + seconds))
        return token

    def look(self, token: str) -> tuple[Granted, float] | None:
        """Return what a token that still works was granted, and when it ends."""
        row = self._db.execute(
            "SELECT granted, expires FROM oauth_refreshes WHERE token = ? AND expires > ? AND used = 0",
            (token, time.time()),
        ).fetchone()
        return (Granted(**json.loads(row[0])), row[1]) if row is not None else None

    def take(self, token: str, client: str) -> tuple[Granted, str] | None:
        """Use a client's token; returns its grant and family."""
        row = self._db.execute(
            "SELECT granted, family, expires, used FROM oauth_refreshes WHERE token = ?", (token,)
        ).fetchone()
        if row is None:
            return None
        granted, family, expires, used = Granted(**json.loads(row[0])), row[1], row[2], row[3]
        if used:
            self._db.execute("DELETE FROM oauth_refreshes WHERE family = ?", (family,))
        if used or granted.client != client or expires <= time.time():
            return None
        self._db.execute("UPDATE oauth_refreshes SET used = 1 WHERE token = ?", (token,))
        return granted, family

    def revoke(self, token: str) -> None:
        """End a token and all of its family."""
        self._db.execute(
            "DELETE FROM oauth_refreshes WHERE family = (SELECT family FROM oauth_refreshes WHERE token = ?)", (token,)
        )

    def revoke_all(self, subject: str) -> None:
        self._db.execute("DELETE FROM oauth_refreshes WHERE subject = ?", (subject,))


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code: what it grants, and what the client must show to redeem it."""

    granted: Granted
    redirect_uri: str
    challenge: str | None
    nonce: str | None


class State:
    """All that one sandbox remembers."""

    def __init__(self, path: str | None) -> None:
        self.accounts = Accounts(path)
        self.refreshes = Refreshes(path)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.codes: Once[Code] = Once()
        self.factors: Once[Granted] = Once()
        # oob_code -> mfa_token
        self.sent: Once[str] = Once()
        # The customer's id, before and after the link of the e-mail was followed.
        self.tickets: Once[str] = Once()
        self.resets: Once[str] = Once()
        # jti -> when the access token ends by itself
        self.revoked: dict[str, float] = {}

    def close(self) -> None:
        self.accounts.close()
        self.refreshes.close()


STATE = web.AppKey("state", State)
