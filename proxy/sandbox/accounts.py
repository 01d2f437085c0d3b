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
from typing import Any

LOCK_AFTER = 5
CODE_SECONDS = 180
CODE_TRIES = 3

_TABLES = """
CREATE TABLE IF NOT EXISTS accounts (
    id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL, salt BLOB NOT NULL, password BLOB NOT NULL,
    user_id TEXT UNIQUE NOT NULL, factor INTEGER NOT NULL, locked INTEGER NOT NULL, failures INTEGER NOT NULL,
    data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refreshes (token TEXT PRIMARY KEY, user_id TEXT NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS codes (user_id TEXT PRIMARY KEY, code TEXT NOT NULL, expires REAL NOT NULL, tries INTEGER NOT NULL);
"""

_VIP: dict[str, Any] = {
    "segments": [
        {"id": 7, "code": "VIP", "name": "Very important", "description": "Ships free"},
        {"id": 9, "code": "EARLY", "name": "Early access", "description": "Sees sales a day before"},
    ],
    "notes": [{"id": 1, "content": "Calls often. Prefers the blue box."}, {"id": 2, "content": "Owed an apology."}],
    "contacts": [
        {
            "id": 31,
            "email": "vip@example.com",
            "firstName": "Vivian",
            "lastNameOrSurname": "Pryce",
            "address": {
                "address1": "1 Example Street",
                "cityOrTown": "Springfield",
                "countryCode": "US",
                "postalOrZipCode": "00000",
                "isValidated": True,
            },
            "phoneNumbers": {"home": "555-0100", "mobile": "555-0101"},
            "types": [{"name": "Billing", "isPrimary": True}],
        }
    ],
}

# (e-mail, password, second factor, locked, first name, last name, more)
_SEED: list[tuple[str, str, bool, bool, str, str, dict[str, Any]]] = [
    ("jane@example.com", "correct-horse-1", False, False, "Jane", "Doe", {"notes": [{"id": 3, "content": "Met at the fair."}]}),
    ("maria@example.com", "correct-horse-2", True, False, "Maria", "Rossi", {}),
    ("locked@example.com", "correct-horse-3", False, True, "Lou", "Key", {}),
    ("vip@example.com", "correct-horse-4", False, False, "Vivian", "Pryce", _VIP),
]


@dataclass(frozen=True, slots=True)
class Account:
    """A customer; `data` are the members of `customerAccount` that differ from the default."""

    id: int
    email: str
    user_id: str
    factor: bool
    locked: bool
    failures: int
    data: dict[str, Any]


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << 10, r=8, p=1, dklen=32)


class Accounts:
    """All customers."""

    def __init__(self, path: str | None) -> None:
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._db.executescript(_TABLES)
        self._db.execute("UPDATE accounts SET failures = 0, locked = (email = 'locked@example.com')")
        for number, (email, password, factor, locked, first, last, more) in enumerate(_SEED, start=1001):
            salt = secrets.token_bytes(16)
            data = {"firstName": first, "lastName": last, **more}
            self._db.execute(
                "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
                (number, email, salt, _digest(password, salt), f"user{number:028x}", factor, locked, json.dumps(data)),
            )

    def close(self) -> None:
        self._db.close()

    def _one(self, where: str, value: str) -> tuple[Account, bytes, bytes] | None:
        row = self._db.execute(
            f"SELECT id, email, user_id, factor, locked, failures, data, salt, password FROM accounts WHERE {where} = ?",  # noqa: S608
            (value,),
        ).fetchone()
        if row is None:
            return None
        account = Account(row[0], row[1], row[2], bool(row[3]), bool(row[4]), row[5], json.loads(row[6]))
        return account, row[7], row[8]

    def by_email(self, email: str) -> Account | None:
        found = self._one("email", email.strip().lower())
        return found[0] if found else None

    def by_user(self, user_id: str) -> Account | None:
        found = self._one("user_id", user_id)
        return found[0] if found else None

    def log_in(self, email: str, password: str) -> Account | None:
        """Return the account when the password is right; count and lock when it is not."""
        found = self._one("email", email.strip().lower())
        if found is None:
            return None
        account, salt, digest = found
        if secrets.compare_digest(_digest(password, salt), digest):
            if not account.locked:
                self._db.execute("UPDATE accounts SET failures = 0 WHERE id = ?", (account.id,))
            return account
        failures = account.failures + 1
        locked = account.locked or failures >= LOCK_AFTER
        self._db.execute("UPDATE accounts SET failures = ?, locked = ? WHERE id = ?", (failures, locked, account.id))
        return None

    def issue_refresh(self, user_id: str, seconds: float) -> str:
        token = secrets.token_hex(24)
        self._db.execute("INSERT INTO refreshes VALUES (?, ?, ?)", (token, user_id, time.time() + seconds))
        return token

    def take_refresh(self, token: str) -> str | None:
        """Return whose refresh token it is; it cannot be used again."""
        row = self._db.execute("DELETE FROM refreshes WHERE token = ? RETURNING user_id, expires", (token,)).fetchone()
        return row[0] if row is not None and row[1] > time.time() else None

    def issue_code(self, user_id: str) -> str:
        code = f"{secrets.randbelow(1_000_000):06d}"
        self._db.execute("INSERT OR REPLACE INTO codes VALUES (?, ?, ?, 0)", (user_id, code, time.time() + CODE_SECONDS))
        return code

    def codes(self) -> dict[str, str]:
        """Return the codes that still hold, by e-mail."""
        rows = self._db.execute(
            "SELECT email, code FROM codes JOIN accounts USING (user_id) WHERE expires > ? AND tries < ?",
            (time.time(), CODE_TRIES),
        )
        return dict(rows.fetchall())

    def take_code(self, user_id: str, code: str) -> bool:
        """Say whether a code is right; a right one is used up, the third wrong one burns it."""
        row = self._db.execute("SELECT code, expires, tries FROM codes WHERE user_id = ?", (user_id,)).fetchone()
        if row is None or row[1] <= time.time() or row[2] >= CODE_TRIES:
            return False
        if secrets.compare_digest(row[0].encode(), code.encode()):
            self._db.execute("DELETE FROM codes WHERE user_id = ?", (user_id,))
            return True
        self._db.execute("UPDATE codes SET tries = tries + 1 WHERE user_id = ?", (user_id,))
        return False
