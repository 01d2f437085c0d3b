"""A store in an SQLite file: survives a restart, and is shared by the processes of one machine.

Statements run on the event loop, because one takes less time than handing it to a thread would. They never wait for
another process's lock there: who finds the file busy goes back to the loop and tries again. What takes longer, deleting
what is over and moving the log into the file, happens in a thread.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ...engine.effects import Reserved
from . import StoreError
from .clock import Epoch, go_on, this_start
from .window import Window

T = TypeVar("T")

# "VSTB": a file of another program is not touched.
_APPLICATION = 0x56535442
_VERSION = 1
_PAGE = 4096
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS entries (name BLOB PRIMARY KEY, value, ends REAL NOT NULL)",
    "CREATE INDEX IF NOT EXISTS entries_ends ON entries (ends)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)

_GET = "SELECT value FROM entries WHERE name = ? AND ends > ?"
_SET = (
    "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value, ends = excluded.ends"
)
_ADD = f"{_SET} WHERE entries.ends <= ? RETURNING 1"
_TAKE = "DELETE FROM entries WHERE name = ? RETURNING value, ends"
_COUNT = """
INSERT INTO entries VALUES (:name, 1, :ends) ON CONFLICT (name) DO UPDATE SET
  value = CASE WHEN entries.ends > :now THEN value + 1 ELSE 1 END,
  ends = CASE WHEN entries.ends > :now THEN entries.ends ELSE excluded.ends END
RETURNING value
"""
# The row of the file's own time is never over.
_EPOCH, _NEVER = b"epoch", 1e300
_PURGE = "DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries WHERE ends <= ? LIMIT 500)"

# How long a statement waits for other processes before the store counts as failed; a rule often has less.
_PATIENCE = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.016
# A sweep comes after so many writes or seconds; a log that has grown over this is cut, for which writers wait.
_SWEEP_WRITES, _SWEEP_SECONDS = 1000, 30.0
_LONG_LOG = 16 << 20

_WORDS = {
    sqlite3.SQLITE_FULL: "is full",
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_NOTADB: "is no SQLite file, or damaged",
    sqlite3.SQLITE_READONLY: "cannot be written",
    sqlite3.SQLITE_PERM: "cannot be written",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk failed",
}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Window).decode
_decode_epoch = msgspec.msgpack.Decoder(Epoch).decode


class SqliteStore:
    """A store in the file at `path`, which is made when it is not there. Open one in each process, after the fork."""

    def __init__(self, path: str | Path, *, most_bytes: int = 1 << 30) -> None:
        self._path = Path(path)
        self._most = most_bytes
        self._process = os.getpid()
        self._thread: ThreadPoolExecutor | None = None
        self._sweep: Future[None] | None = None
        self._writes = 0
        self._swept = time.monotonic()
        if sqlite3.sqlite_version_info < (3, 35):
            raise StoreError(f"the store needs SQLite 3.35 or newer; this Python has {sqlite3.sqlite_version}")
        try:
            _make_private(self._path)
        except OSError as error:
            raise StoreError(f"the store {self._path} cannot be used: {error.strerror}") from None
        self._connection = self._within_patience(self._open)
        self._epoch = self._within_patience(lambda: _read_epoch(self._connection))

    def _within_patience(self, work: Callable[[], T]) -> T:
        """Repeat, blocking, what other processes that open the file may be in the way of."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if not _is_busy(error) or time.monotonic() > end:
                    raise self._failure(error) from None
            except msgspec.DecodeError:
                raise StoreError(f"the store {self._path} is damaged") from None
            time.sleep(_LONGEST_PAUSE)

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            # In this order: another process may be making the tables, with the ids, as one.
            empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
            if found != [_APPLICATION, _VERSION] and not (empty and found[0] in (0, _APPLICATION)):
                raise StoreError(f"the store {self._path} is a file of another program or version")
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if empty:
                connection.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA max_page_count = {max(self._most // _PAGE, 16)}")
        return connection

    async def get(self, key: str) -> bytes | None:
        rows = await self._execute(_GET, (_name("v", key), self._epoch.now()))
        return rows[0][0] if rows else None

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        await self._write(_SET, (_name("v", key), value, self._epoch.now() + ttl))

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        now = self._epoch.now()
        return bool(await self._write(_ADD, (_name("v", key), value, now + ttl, now)))

    async def take(self, key: str) -> bytes | None:
        rows = await self._write(_TAKE, (_name("v", key),))
        return rows[0][0] if rows and rows[0][1] > self._epoch.now() else None

    async def increment(self, key: str, ttl: float) -> int:
        now = self._epoch.now()
        rows = await self._write(_COUNT, {"name": _name("c", key), "now": now, "ends": now + ttl})
        return int(rows[0][0])

    async def reserve(self, key: str, *, most: int, per: float, block: float | None, lease: float | None) -> Reserved:
        ticket = secrets.token_hex(8)

        def change(window: Window, now: float) -> Reserved:
            wait = window.reserve(now, ticket, most=most, per=per, block=block, lease=lease)
            return Reserved(ticket) if not wait else Reserved(None, wait)

        return await self._change(key, change)

    async def settle(self, key: str, ticket: str, *, failed: bool, most: int, per: float, block: float | None) -> None:
        def change(window: Window, now: float) -> None:
            window.settle(now, ticket, failed=failed, most=most, per=per, block=block)

        await self._change(key, change)

    async def close(self) -> None:
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
            self._thread = None
        self.release()

    def release(self) -> None:
        """Close the file at once; for one that was opened only to see whether it can be."""
        if os.getpid() == self._process:
            self._connection.close()

    async def _change(self, key: str, change: Callable[[Window, float], T]) -> T:
        """Read a limit, change it and write it back, as one."""
        name = _name("l", key)

        def work(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                now = self._epoch.now()
                rows = connection.execute(_GET, (name, now)).fetchall()
                window = _decode(rows[0][0]) if rows else Window()
                result = change(window, now)
                connection.execute(_SET, (name, _encode(window), window.end()))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

        result = await self._run(work)
        self._count_write()
        return result

    async def _write(self, statement: str, parameters: Any) -> list[Any]:
        rows = await self._execute(statement, parameters)
        self._count_write()
        return rows

    async def _execute(self, statement: str, parameters: Any) -> list[Any]:
        # All rows are fetched: a statement that returns some is not over, nor its lock, before the last one.
        return await self._run(lambda connection: connection.execute(statement, parameters).fetchall())

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if os.getpid() != self._process:
            raise StoreError("the store was opened before the fork of this process")
        pause = _FIRST_PAUSE
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                if not _is_busy(error):
                    raise self._failure(error) from None
            except msgspec.DecodeError:
                raise StoreError(f"the store {self._path} is damaged") from None
            if time.monotonic() > end:
                raise StoreError(f"the store {self._path} is busy")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _count_write(self) -> None:
        self._writes += 1
        if self._writes < _SWEEP_WRITES and time.monotonic() - self._swept < _SWEEP_SECONDS:
            return
        if self._sweep is not None and not self._sweep.done():
            return
        self._writes = 0
        self._swept = time.monotonic()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "vestibule-store")
        self._sweep = self._thread.submit(self._clean)

    def _clean(self) -> None:
        """Delete what is over and move the log into the file; what fails here, the next sweep does."""
        log = self._path.with_name(self._path.name + "-wal")
        try:
            connection = self._connect()
            try:
                connection.execute("PRAGMA busy_timeout = 1000")
                _read_epoch(connection)
                while connection.execute(_PURGE, (self._epoch.now(),)).rowcount:
                    pass
                mode = "TRUNCATE" if log.stat().st_size > _LONG_LOG else "PASSIVE"
                connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            finally:
                connection.close()
        except (sqlite3.Error, OSError):
            return

    def _failure(self, error: sqlite3.Error) -> StoreError:
        words = _WORDS.get(_code(error), "is busy" if _is_busy(error) else f"failed: {type(error).__name__}")
        return StoreError(f"the store {self._path} {words}")


def _read_epoch(connection: sqlite3.Connection) -> Epoch:
    """Give the time of the file, and keep that it was looked at: after a restart it goes on from there."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        rows = connection.execute(_GET, (_EPOCH, 0)).fetchall()
        epoch = go_on(_decode_epoch(rows[0][0]) if rows else None, this_start())
        epoch.seen = epoch.now()
        connection.execute(_SET, (_EPOCH, _encode(epoch), _NEVER))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return epoch


def _name(kind: str, key: str) -> bytes:
    return (kind + key).encode("utf-8", "surrogatepass")


def _code(error: sqlite3.Error) -> int:
    # Errors of Python's own, such as a closed connection, have none.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _make_private(path: Path) -> None:
    """Make the file if it is not there; whoever else may read or write it no longer may."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
