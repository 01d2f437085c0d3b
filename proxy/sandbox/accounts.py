"""The customers of the sandbox, in SQLite: accounts, failed logins, refresh tokens, codes.

Made to try rules against: passwords are hashed, but cheaply, and everything is forgotten with the process unless a
file is given.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from dataclasses import dataclass
from typing import Any, Literal

from .customer import CUSTOMERS

LOCK_AFTER = 5
CODE_SECONDS = 180
CODE_TRIES = 3

# What a code is for: the second half of a login, or a login of its own.
Kind = Literal["2fa", "otp"]

_TABLES = """
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS accounts (
    id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL, salt BLOB NOT NULL, password BLOB NOT NULL,
    user_id TEXT UNIQUE NOT NULL, factor INTEGER NOT NULL, locked INTEGER NOT NULL, failures INTEGER NOT NULL,
    members TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refreshes (token TEXT PRIMARY KEY, user_id TEXT NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS codes (
    user_id TEXT, kind TEXT, code TEXT NOT NULL, expires REAL NOT NULL, tries INTEGER NOT NULL,
    PRIMARY KEY (user_id, kind));
"""
_ACCOUNT = "SELECT id, email, user_id, factor, locked, members, failures, salt, password FROM accounts WHERE "


@dataclass(frozen=True, slots=True)
class Account:
    """A customer; `members` are those of `customerAccount` that differ from the default."""

    id: int
    email: str
    user_id: str
    factor: bool
    locked: bool
    members: dict[str, Any]


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << 8, r=8, p=1, dklen=32)


def _account(row: tuple[Any, ...]) -> Account:
    return Account(row[0], row[1], row[2], bool(row[3]), bool(row[4]), json.loads(row[5]))


class Accounts:
    """All customers."""

    def __init__(self, path: str | None) -> None:
        """Open the file, or memory; whoever got locked by wrong passwords is unlocked by the restart."""
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._db.executescript(_TABLES)
        self._db.execute("DELETE FROM refreshes WHERE expires < ?", (time.time(),))
        self._db.execute("UPDATE accounts SET failures = 0")
        for number, (email, password, factor, locked, members) in enumerate(CUSTOMERS, start=1001):
            salt = secrets.token_bytes(16)
            self._db.execute(
                "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?) ON CONFLICT DO UPDATE SET locked = ?",
                (
                    number, email, salt, _digest(password, salt), f"user{number:028x}", factor, locked,
                    json.dumps(members), locked,
                ),
            )  # fmt: skip

    def close(self) -> None:
        self._db.close()

    def by_email(self, email: str) -> Account | None:
        row = self._db.execute(f"{_ACCOUNT} email = ?", (email.strip().lower(),)).fetchone()
        return _account(row) if row else None

    def by_user(self, user_id: str) -> Account | None:
        row = self._db.execute(f"{_ACCOUNT} user_id = ?", (user_id,)).fetchone()
        return _account(row) if row else None

    def by_id(self, id: int) -> Account | None:
        row = self._db.execute(f"{_ACCOUNT} id = ?", (id,)).fetchone()
        return _account(row) if row else None

    def failures(self, id: int) -> int:
        """Return how many wrong passwords an account was tried with since the last right one."""
        row = self._db.execute("SELECT failures FROM accounts WHERE id = ?", (id,)).fetchone()
        return int(row[0]) if row else 0

    def log_in(self, email: str, password: str) -> Account | None:
        """Return the account, locked or not, when the password is right; count and lock when it is not."""
        row = self._db.execute(f"{_ACCOUNT} email = ?", (email.strip().lower(),)).fetchone()
        if row is None:
            return None
        account, failures, salt, digest = _account(row), row[6], row[7], row[8]
        if secrets.compare_digest(_digest(password, salt), digest):
            if not account.locked:
                self._db.execute("UPDATE accounts SET failures = 0 WHERE id = ?", (account.id,))
            return account
        locked = account.locked or failures + 1 >= LOCK_AFTER
        self._db.execute(
            "UPDATE accounts SET failures = ?, locked = ? WHERE id = ?", (failures + 1, locked, account.id)
        )
        return None

    def set_password(self, user_id: str, password: str) -> None:
        """Change the password; the wrong ones that were tried before do not count any more."""
        salt = secrets.token_bytes(16)
        self._db.execute(
            "UPDATE accounts SET salt = ?, password = ?, failures = 0 WHERE user_id = ?",
            (salt, _digest(password, salt), user_id),
        )

    def issue_refresh(self, user_id: str, seconds: float) -> str:
        token = secrets.token_hex(24)
        self._db.execute("INSERT INTO refreshes VALUES (?, ?, ?)", (token, user_id, time.time() + seconds))
        return token

    def take_refresh(self, token: str) -> str | None:
        """Return whose refresh token it is; it cannot be used again."""
        row = self._db.execute("DELETE FROM refreshes WHERE token = ? RETURNING user_id, expires", (token,)).fetchone()
        return row[0] if row is not None and row[1] > time.time() else None

    def issue_code(self, user_id: str, kind: Kind) -> str:
        """Make a code; one of the same kind that was issued before does not hold any more."""
        code = f"{secrets.randbelow(1_000_000):06d}"
        self._db.execute(
            "INSERT OR REPLACE INTO codes VALUES (?, ?, ?, ?, 0)", (user_id, kind, code, time.time() + CODE_SECONDS)
        )
        return code

    def waiting(self) -> list[str]:
        """Return who gave the right password and still owes the second factor."""
        rows = self._db.execute("SELECT user_id FROM codes WHERE kind = '2fa' AND expires > ?", (time.time(),))
        return [user_id for (user_id,) in rows]

    def codes(self) -> dict[str, str]:
        """Return the codes that still hold, by e-mail."""
        rows = self._db.execute(
            "SELECT email, code FROM codes JOIN accounts USING (user_id) "
            "WHERE expires > ? AND tries < ? ORDER BY expires",
            (time.time(), CODE_TRIES),
        )
        return dict(rows.fetchall())

    def take_code(self, user_id: str, kind: Kind, code: str) -> bool:
        """Say whether a code is right; a right one is used up, the third wrong one burns it."""
        row = self._db.execute(
            "SELECT code, expires, tries FROM codes WHERE user_id = ? AND kind = ?", (user_id, kind)
        ).fetchone()
        if row is None or row[1] <= time.time() or row[2] >= CODE_TRIES:
            return False
        if secrets.compare_digest(row[0].encode(), code.encode()):
            self._db.execute("DELETE FROM codes WHERE user_id = ? AND kind = ?", (user_id, kind))
            return True
        self._db.execute("UPDATE codes SET tries = tries + 1 WHERE user_id = ? AND kind = ?", (user_id, kind))
        return False
