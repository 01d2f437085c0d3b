"""The store in an SQLite file: shared, durable, private, and clear about files that it cannot use."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.services.store import StoreError
from proxy.services.store.sealed import SealedStore
from proxy.services.store.sqlite import SqliteStore
from tests.running import ROOT
from tests.services.store.stores import Kept

# What the other process does: as many of each as there are tries, all against this one's.
OTHER = """
import asyncio, sys
from proxy.services.store.sqlite import SqliteStore

async def main(path):
    store = SqliteStore(path)
    print("open", flush=True)
    sys.stdin.readline()
    taken = granted = 0
    for index in range(200):
        taken += await store.take(f"take {index}") is not None
        granted += (await store.reserve("limit", most=100, per=60, block=None, lease=60)).ticket is not None
        await store.increment("count", 60)
    print(taken, granted, flush=True)
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.db")
    yield store
    await store.close()


async def test_two_processes_share_every_take_count_and_limit(store: SqliteStore, tmp_path: Path) -> None:
    for index in range(200):
        await store.set(f"take {index}", b"v", 60)
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER, tmp_path / "store.db"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert await other.stdout.readline() == b"open\n"
    other.stdin.write(b"go\n")
    taken = granted = 0
    for index in range(200):
        taken += await store.take(f"take {index}") is not None
        granted += (await store.reserve("limit", most=100, per=60, block=None, lease=60)).ticket is not None
        await store.increment("count", 60)
    theirs = (await other.stdout.readline()).split()
    assert await other.wait() == 0
    other.stdin.close()
    assert taken + int(theirs[0]) == 200
    assert granted + int(theirs[1]) == 100
    assert await store.increment("count", 60) == 401


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    await store.set("k", b"v", 60)
    await store.increment("k", 60)
    ticket = (await store.reserve("k", most=1, per=60, block=None, lease=60)).ticket or ""
    await store.settle("k", ticket, failed=True, most=1, per=60, block=None)
    await store.close()
    store = SqliteStore(path)
    assert await store.get("k") == b"v"
    assert await store.increment("k", 60) == 2
    assert (await store.reserve("k", most=1, per=60, block=None, lease=60)).retry_after > 1
    await store.close()


async def test_what_was_written_survives_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    code = """
import asyncio, os, signal, sys
from proxy.services.store.sqlite import SqliteStore
async def main():
    await SqliteStore(sys.argv[1]).set("k", b"v", 60)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -9
    store = SqliteStore(path)
    assert await store.get("k") == b"v"
    await store.close()


async def test_its_files_are_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch(0o644)
    path.chmod(0o644)
    store = SqliteStore(path)
    await store.set("k", b"v", 60)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
    await store.close()


async def test_nothing_readable_is_at_rest_when_it_is_sealed(tmp_path: Path) -> None:
    sealed = SealedStore(SqliteStore(tmp_path / "store.db"), b"test-only-pepper")
    await sealed.set("jane@example.com", b"withheld answer", 60)
    await sealed.increment("jane@example.com", 60)
    await sealed.reserve("jane@example.com", most=1, per=60, block=None, lease=60)
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    await sealed.close()
    kept += (tmp_path / "store.db").read_bytes()
    assert b"VSTB" in kept
    assert b"jane" not in kept
    assert b"withheld" not in kept


async def test_a_locked_file_is_waited_for(store: SqliteStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(store.increment("k", 60))
    await asyncio.sleep(0)
    assert not task.done()
    other.execute("COMMIT")
    assert await task == 1
    other.close()


async def test_a_file_that_stays_locked_is_an_error(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.services.store.sqlite._PATIENCE", 0.01)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="busy"):
        await store.set("k", b"v", 60)
    with pytest.raises(StoreError, match="busy"):
        await store.reserve("k", most=1, per=60, block=None, lease=60)
    other.close()
    await store.set("k", b"v", 60)


async def test_a_call_that_was_cancelled_does_nothing_later(store: SqliteStore, tmp_path: Path) -> None:
    await store.set("k", b"v", 60)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.take("k")
    other.close()
    assert await store.take("k") == b"v"


async def test_what_is_over_is_deleted_in_a_thread(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.services.store.sqlite._SWEEP_WRITES", 1)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    for index in range(20):
        await store.set(f"k{index}", b"v", 0.001)
    await store.set("kept", b"v", 60)

    async def is_clean() -> bool:
        await store.set("mark", b"", 60)
        # The third is the time of the file.
        return bool(other.execute("SELECT count(*) = 3 FROM entries").fetchone()[0])

    await Kept(store).until(is_clean)
    other.close()
    assert await store.get("kept") == b"v"


async def test_the_log_moves_into_the_file_while_it_runs(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.services.store.sqlite._SWEEP_WRITES", 1)
    monkeypatch.setattr("proxy.services.store.sqlite._LONG_LOG", 0)

    async def is_short() -> bool:
        await store.set("k", b"v" * 50_000, 60)
        return (tmp_path / "store.db").stat().st_size > 50_000

    await Kept(store).until(is_short)


async def test_a_full_store_is_an_error_and_goes_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", most_bytes=100_000)
    await store.set("k", b"v", 60)
    with pytest.raises(StoreError, match="is full"):
        await store.set("large", b"v" * 200_000, 60)
    assert await store.get("k") == b"v"
    await store.set("k", b"w", 60)
    await store.close()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no database at all, but long enough to be looked at as one " * 10)
    with pytest.raises(StoreError, match="no SQLite file"):
        SqliteStore(text)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE accounts (name)")
    other.close()
    with pytest.raises(StoreError, match="another program"):
        SqliteStore(tmp_path / "other.db")


@pytest.mark.parametrize("place", ["none/store.db", "folder"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="cannot be used"):
        SqliteStore(tmp_path / place)


async def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    for index in range(200):
        await store.set(f"k{index}", b"v" * 200, 60)
    await store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore(path)


def test_a_store_does_not_cross_a_fork(tmp_path: Path) -> None:
    code = """
import os, sys
from proxy.services.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
if os.fork() == 0:
    store.get("k").send(None)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    path = tmp_path / "store.db"
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.stdout == b"1\n"
    assert b"StoreError: the store was opened before the fork" in done.stderr


async def test_workers_that_open_the_same_new_file_at_once_all_can(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.db" for index in range(20)]
    for path in paths:
        stores = await asyncio.gather(*(asyncio.to_thread(SqliteStore, path) for _ in range(4)))
        counts = [await store.increment("k", 60) for store in stores]
        assert counts == [1, 2, 3, 4]
        for store in stores:
            await store.close()
