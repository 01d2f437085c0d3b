"""A recording in a file: one record a line, for its owner alone, of a bounded size.

Workers write to one file, each in whole lines. A file that is full is renamed to `NAME.1`, in the place of the one
before it, by whichever worker comes first. Writing is a thread's: a disk that is slow or full loses records, and holds
up no request.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What may wait to be written, in bytes; more is dropped.
WAITING = 8 << 20
_BATCH = 256 << 10
_INTERVAL = 0.05
# Dropped records are told of at most so often, in seconds.
_TOLD = 10.0


def open_recording(path: str) -> int:
    """Open a recording to append to, for its owner alone; raise OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "a recording is a plain file", path)
        os.fchmod(descriptor, 0o600)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class RecordFile:
    """Writes records to a file from a thread of its own. `tell` is how the operator hears of what is lost."""

    def __init__(self, path: str, size: int, *, tell: Callable[..., Any], waiting: int = WAITING) -> None:
        self._path = path
        self._size = size
        self._tell = tell
        self._most = waiting
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._taken = 0
        self._descriptor: int | None = open_recording(path)
        self._wake = threading.Event()
        self._closing = False
        self.lost = 0
        self._told = 0
        self._next = 0.0
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a record; dropped when too much waits."""
        if self._waiting - self._taken + len(line) > self._most:
            self.lost += 1
            self._wake.set()
            return
        self._waiting += len(line)
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, for at most `timeout` seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._lines:
                self._write_batch()
            self._report()
            if self._closing and not self._lines:
                return
            time.sleep(_INTERVAL)

    def _write_batch(self) -> None:
        batch: list[bytes] = []
        size = 0
        while self._lines and size < _BATCH:
            line = self._lines.popleft()
            size += len(line)
            batch.append(line)
        # Counted up by this thread alone, as `_waiting` is by the other: what waits is their difference.
        self._taken += size
        try:
            self._append(b"".join([line + b"\n" for line in batch]))
        except OSError as error:
            self.lost += len(batch)
            self._report(error.strerror)

    def _append(self, data: bytes) -> None:
        descriptor = self._lock(len(data))
        try:
            start = os.fstat(descriptor).st_size
            written = os.write(descriptor, data)
            if written < len(data):
                # A disk that filled up within a line: no half of a record is left.
                os.ftruncate(descriptor, start)
                raise OSError(0, "the disk is full")
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _lock(self, more: int) -> int:
        """Give the file to write to once it has room, kept from the other workers: each would find room for its own."""
        while True:
            descriptor = self._descriptor
            if descriptor is None:
                descriptor = self._descriptor = open_recording(self._path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            state = os.fstat(descriptor)
            here = _is_at(state, self._path)
            if here and (not state.st_size or state.st_size + more <= self._size):
                return descriptor
            self._descriptor = None
            try:
                # Another worker may have come first, while this one waited.
                if here:
                    Path(self._path).replace(f"{self._path}.1")
            finally:
                os.close(descriptor)

    def _report(self, cause: str | None = None) -> None:
        now = time.monotonic()
        if self.lost > self._told and (now >= self._next or self._closing):
            self._tell("error", "records-dropped", count=self.lost - self._told, cause=cause or "too many at once")
            self._told, self._next = self.lost, now + _TOLD


def _is_at(state: os.stat_result, path: str) -> bool:
    try:
        found = Path(path).lstat()
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (state.st_dev, state.st_ino)
