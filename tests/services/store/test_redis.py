"""The store in Redis or Valkey, on real servers: what hangs, dies, is cancelled, or refuses us."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trustme

from proxy.services.pem import PemFiles
from proxy.services.store import StoreError
from proxy.services.store.address import parse_store
from proxy.services.store.redis import RedisStore
from proxy.services.store.sealed import SealedStore
from tests.services.store.stores import Kept
from tests.services.store.valkey import Server, serving


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisStore]:
    server.ask("FLUSHALL")
    store = RedisStore(parse_store(server.url))
    yield store
    await store.close()


@pytest.fixture
async def spread(cluster: list[Server]) -> AsyncIterator[RedisStore]:
    for server in cluster:
        server.ask("FLUSHALL")
    store = RedisStore(parse_store(f"redis+cluster://127.0.0.1:{cluster[1].port}"))
    yield store
    await store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.services.store.redis._PATIENCE", 0.1)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many calls at once take long where others have the processor."""
    monkeypatch.setattr("proxy.services.store.redis._PATIENCE", 20.0)


async def cancel_in_the_middle(store: RedisStore, servers: list[Server]) -> None:
    """Cancel calls that were sent and not answered; whoever comes next must get its own answer."""
    for index in range(30):
        await store.set(f"k{index}", b"%d" % index, 60)
    for server in servers:
        server.pause()
    reads = [asyncio.create_task(store.get(f"k{index}")) for index in range(30)]
    counts = [asyncio.create_task(store.increment("count", 60)) for _ in range(10)]
    _, pending = await asyncio.wait([*reads, *counts], timeout=0.2)
    assert len(pending) == 40
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    assert all(task.cancelled() for task in pending)
    for server in servers:
        server.go_on()
    for index in range(30):
        assert await store.get(f"k{index}") == b"%d" % index
    values = await asyncio.gather(*(store.get(f"k{index % 30}") for index in range(300)))
    assert values == [b"%d" % (index % 30) for index in range(300)]
    # The calls were sent before they were cancelled: had they not been, this test would have proved nothing.
    assert await store.increment("count", 60) > 1


@pytest.mark.usefixtures("patient")
async def test_a_cancelled_call_leaves_no_answer_for_the_next_one(store: RedisStore, server: Server) -> None:
    await asyncio.gather(*(store.increment("warm", 60) for _ in range(40)))
    await cancel_in_the_middle(store, [server])


@pytest.mark.usefixtures("patient")
async def test_nor_does_it_in_a_cluster(spread: RedisStore, cluster: list[Server]) -> None:
    # To each node as many connections as what is cancelled takes: one that is yet to be made would have sent nothing.
    await asyncio.gather(*(spread.increment(f"warm {index}", 60) for index in range(180)))
    await cancel_in_the_middle(spread, cluster)


async def test_calls_cancelled_at_any_moment_leave_none_either(store: RedisStore) -> None:
    for index in range(20):
        await store.set(f"k{index}", b"%d" % index, 60)
    for turn in range(200):
        task = asyncio.create_task(store.get("k0"))
        for _ in range(turn % 20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        key = turn % 19 + 1
        assert await store.get(f"k{key}") == b"%d" % key


@pytest.mark.usefixtures("patient")
async def test_more_calls_at_once_than_connections_all_get_their_answer(store: RedisStore) -> None:
    counts = await asyncio.gather(*(store.increment("k", 60) for _ in range(1000)))
    assert sorted(counts) == list(range(1, 1001))


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_hangs_is_an_error(store: RedisStore, server: Server) -> None:
    await store.set("k", b"v", 60)
    server.pause()
    try:
        with pytest.raises(StoreError, match="did not answer in time"):
            await store.get("k")
        hanging = await asyncio.gather(*(store.get("k") for _ in range(200)), return_exceptions=True)
        assert {type(error) for error in hanging} == {StoreError}
    finally:
        server.go_on()

    await Kept(store).until(lambda: answers(store))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("late", [True, False], ids=["late", "cancelled"])
async def test_a_reservation_that_nobody_heard_of_is_given_back(
    store: RedisStore, server: Server, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    monkeypatch.setattr("proxy.services.store.redis._PATIENCE", 0.1 if late else 20.0)
    monkeypatch.setattr("proxy.services.store.redis._AGAIN", 0.01)

    async def reserve() -> str | None:
        return (await store.reserve("jane", most=1, per=900.0, block=None, lease=900.0)).ticket

    # So that there is a connection, and the server knows the scripts.
    first = await reserve()
    assert first is not None
    await store.settle("jane", first, failed=False, most=1, per=900.0, block=None)
    server.pause()
    try:
        if late:
            with pytest.raises(StoreError):
                await reserve()
        else:
            task = asyncio.create_task(reserve())
            await asyncio.wait([task], timeout=0.1)
            task.cancel()
            await asyncio.wait([task])
    finally:
        server.go_on()
    monkeypatch.setattr("proxy.services.store.redis._PATIENCE", 2.0)
    async with asyncio.timeout(20):
        while await reserve() is None:
            await asyncio.sleep(0)


async def test_a_server_that_accepts_and_says_nothing_is_an_error() -> None:
    accepted: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)

    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    for scheme in ("redis", "redis+cluster"):
        store = RedisStore(parse_store(f"{scheme}://:test-only@127.0.0.1:{port}"))
        with pytest.raises(StoreError, match=r"did not answer in time|cannot be reached") as failed:
            await store.get("k")
        assert "test-only" not in str(failed.value)
        await store.close()
    assert accepted
    for writer in accepted:
        writer.close()
    silent.close()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_server_that_is_down_is_an_error(tmp_path: Path, scheme: str) -> None:
    with serving(tmp_path) as server:
        port = server.port
    store = RedisStore(parse_store(f"{scheme}://user:test-only@127.0.0.1:{port}/"))
    operations: list[Callable[[], object]] = [
        lambda: store.get("k"),
        lambda: store.set("k", b"v", 60),
        lambda: store.increment("k", 60),
        lambda: store.reserve("k", most=1, per=60, block=None, lease=60),
    ]
    for operation in operations:
        with pytest.raises(StoreError, match=f"the store .*127.0.0.1:{port} cannot be reached") as failed:
            await operation()  # type: ignore[misc]
        assert "test-only" not in str(failed.value)
        assert failed.value.__cause__ is None
    await store.close()


async def test_a_server_that_comes_back_is_used_again(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        store = RedisStore(parse_store(server.url))
        await store.set("k", b"v", 60)
        port = server.port
    with pytest.raises(StoreError):
        await store.get("k")
    with serving(tmp_path, "--port", str(port)):
        await Kept(store).until(lambda: answers(store))
        assert await store.increment("k", 60) == 1
    await store.close()


@pytest.mark.usefixtures("patient")
async def test_connections_that_the_server_closed_meanwhile_do_no_harm(
    store: RedisStore, server: Server, spread: RedisStore, cluster: list[Server]
) -> None:
    for one in (store, spread):
        await asyncio.gather(*(one.increment("k", 60) for _ in range(10)))
    for each in (server, *cluster):
        await asyncio.to_thread(each.ask, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
    for one in (store, spread):
        assert await one.increment("k", 60) == 11


async def test_scripts_that_the_server_forgot_are_sent_again(store: RedisStore, server: Server) -> None:
    assert await store.increment("k", 60) == 1
    server.ask("SCRIPT", "FLUSH")
    assert await store.increment("k", 60) == 2


async def test_a_wrong_password_is_an_error_that_does_not_say_it(tmp_path: Path) -> None:
    with serving(tmp_path, "--requirepass", "test-only-right") as server:
        wrong = RedisStore(parse_store(f"redis://:test-only-wrong@127.0.0.1:{server.port}"))
        with pytest.raises(StoreError, match="refused the user or the password") as failed:
            await wrong.get("k")
        assert "test-only" not in str(failed.value)
        assert failed.value.__cause__ is None
        await wrong.close()
        right = RedisStore(parse_store(f"redis://:test-only-right@127.0.0.1:{server.port}"))
        await right.set("k", b"v", 60)
        assert await right.get("k") == b"v"
        await right.close()


async def test_a_server_without_memory_is_full_and_a_replica_no_place_to_write(tmp_path: Path) -> None:
    with serving(tmp_path, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as server:
        store = RedisStore(parse_store(server.url))
        with pytest.raises(StoreError, match="is full"):
            await store.set("k", b"v", 60)
        with pytest.raises(StoreError, match="is full"):
            await store.increment("k", 60)
        server.ask("CONFIG", "SET", "maxmemory", "0")
        server.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreError, match="is a replica"):
            await store.set("k", b"v", 60)
        await store.close()


async def test_databases_are_apart(server: Server) -> None:
    one, two = RedisStore(parse_store(f"{server.url}/1")), RedisStore(parse_store(f"{server.url}/2"))
    await one.set("k", b"v", 60)
    assert await two.get("k") is None
    await one.close()
    await two.close()


@asynccontextmanager
async def encrypted(server: Server, tls: ssl.SSLContext, seen: list[bytes] | None = None) -> AsyncIterator[int]:
    """Listen with TLS in front of a server that was built without it; `seen` is given the certificates of clients."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen is not None:
            seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    listener = await asyncio.start_server(forward, "localhost", 0, ssl=tls, family=socket.AF_INET)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def test_with_tls_the_server_must_prove_its_name(tmp_path: Path, server: Server) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    async with encrypted(server, tls) as port:
        for address, words in (
            (f"rediss://localhost:{port}?ca={tmp_path}/ca.pem", None),
            (f"rediss://127.0.0.1:{port}?ca={tmp_path}/ca.pem", "cannot be reached"),
            (f"rediss://localhost:{port}", "cannot be reached"),
        ):
            store = RedisStore(parse_store(address))
            if words is None:
                assert await store.increment(address, 60) == 1
            else:
                with pytest.raises(StoreError, match=words):
                    await store.increment(address, 60)
            await store.close()


async def test_once_its_files_are_replaced_calls_have_new_connections_with_them(server: Server) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    seen: list[bytes] = []

    def issue() -> tuple[dict[str, bytes], bytes]:
        made = authority.issue_cert("proxy@internal")
        cert = made.cert_chain_pems[0].bytes()
        files = {"ca": authority.cert_pem.bytes(), "cert": cert, "key": made.private_key_pem.bytes()}
        return files, ssl.PEM_cert_to_DER_cert(cert.decode())

    (before, first), (after, second) = issue(), issue()
    async with encrypted(server, tls, seen) as port:
        with closing(PemFiles(before)) as files:
            address = parse_store(f"rediss://localhost:{port}?ca=/gone&cert=/gone&key=/gone")
            store = RedisStore(address, files)
            assert [await store.increment("renewed", 60) for _ in range(2)] == [1, 2]
            assert seen == [first]
            files.write(after)
            assert [await store.increment("renewed", 60) for _ in range(2)] == [3, 4]
            assert seen == [first, second]
            await store.close()


async def test_nothing_readable_is_kept_when_it_is_sealed(store: RedisStore, server: Server) -> None:
    sealed = SealedStore(store, b"test-only-pepper")
    await sealed.set("jane@example.com", b"withheld answer", 60)
    await sealed.increment("jane@example.com", 60)
    await sealed.reserve("jane@example.com", most=1, per=60, block=None, lease=60)
    names = server.ask("KEYS", "*")
    assert len(names) == 3
    assert all(name.startswith("vestibule:") for name in names)
    assert not any("jane" in name for name in names)
    assert sum(server.ask("STRLEN", name) for name in names if name.startswith("vestibule:v:")) > len("withheld answer")


async def test_everything_kept_has_an_end(store: RedisStore, server: Server) -> None:
    await store.set("k", b"v", 60)
    await store.add("other", b"v", 60)
    await store.increment("k", 60)
    for lease, block in ((60.0, None), (None, 30.0)):
        for _ in range(3):
            ticket = (await store.reserve(f"k{lease}", most=2, per=60, block=block, lease=lease)).ticket
            if ticket and lease:
                await store.settle(f"k{lease}", ticket, failed=True, most=2, per=60, block=block)
    left = {name: server.ask("TTL", name) for name in server.ask("KEYS", "*")}
    assert len(left) == 5
    assert all(0 < seconds <= 61 for seconds in left.values())


async def answers(store: RedisStore) -> bool:
    try:
        await store.get("k")
    except StoreError:
        return False
    return True
