"""A process that runs out of descriptors or memory: it refuses what it cannot serve, and serves again when it can."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.edge.cgroup import share_memory
from tests.figures import Figures
from tests.running import Proxy, running
from tests.wire import LOOPBACK, PATIENCE, Wire, ok

from .process import Process, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
MB = 1 << 20
CAP = 192 * MB
READS = """
version: 1
rules:
  - name: reads-bodies
    match: {path: /read}
    before:
      - body: {set: {seen: true}}
"""


@asynccontextmanager
async def plain_upstream(go: asyncio.Event | None = None) -> AsyncIterator[int]:
    """Run an upstream that answers requests without a body, once it may `go`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                if go is not None:
                    await go.wait()
                writer.write(ok())
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0, limit=1 << 24)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def body_upstream() -> AsyncIterator[int]:
    """Run an upstream that reads bodies whose length is told, and answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(ok())
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def private(pid: int) -> int:
    """Give the memory in bytes that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def process_of(proxy: Proxy) -> Process:
    """Give the one worker of a run: the process that said that it is ready."""
    ready = next(event for event in map(json.loads, proxy.raw) if event["event"] == "ready")
    return Process(ready["pid"], proxy.port)


async def ask(port: int, path: str) -> str:
    """Ask the admin port; gives the whole answer."""
    wire = await Wire.open(port)
    await wire.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
    answer = await wire.rest()
    await wire.close()
    return answer.decode()


async def test_out_of_descriptors_clients_wait_and_the_admin_port_answers(figures: Figures) -> None:
    few = ("prlimit", "--nofile=256:256")
    held = asyncio.Event()
    words = ("--limits-deadlines-idle", "60s", "--admin", f"{LOOPBACK}:0")
    async with plain_upstream(held) as port:
        with running("--upstream", f"http://{LOOPBACK}:{port}", *words, under=few) as proxy:
            process = process_of(proxy)
            admin = int(proxy.admin.rpartition(":")[2])
            wires = [await Wire.open(proxy.port) for _ in range(400)]
            for wire in wires:
                await wire.send(GET)
            while "vestibule_exchanges 96.0" not in (await ask(admin, "/metrics")).splitlines():
                continue
            # Those that wait cost no processor time, and nobody was turned away.
            busy = process.busy()
            await asyncio.sleep(1.0)
            assert process.busy() - busy < 0.5
            assert process.descriptors() < 256
            # Nor do those keep a probe from its answer who connect to the admin port itself and say nothing.
            silent = [await Wire.open(admin) for _ in range(300)]
            for path in ("/livez", "/readyz", "/metrics"):
                assert (await ask(admin, path)).startswith("HTTP/1.1 200 ")
            held.set()
            # Who was answered and waits makes room for the others.
            assert [(await wire.message()).status for wire in wires] == [200] * 400
            for wire in [*wires, *silent]:
                await wire.close()
            figures.add("faults", cases=len(wires) + len(silent) + 3)
            assert proxy.stop() == 0


async def test_short_of_memory_new_requests_get_a_503_and_all_is_well_afterwards(
    tmp_path: Path, figures: Figures
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(READS)
    words = ("--rules", rules, "--limits-memory", str(CAP), "--limits-deadlines-body", "60s")
    async with plain_upstream() as port:
        with running("--upstream", f"http://{LOOPBACK}:{port}", *words) as proxy:
            process = process_of(proxy)
            kept = await Wire.open(proxy.port)
            await kept.send(GET)
            assert (await kept.message()).status == 200
            body = b'{"a":"' + b"x" * (2 * MB) + b'"'
            head = b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            wires = []
            while True:
                wire = await Wire.open(proxy.port)
                wires.append(wire)
                with contextlib.suppress(OSError):
                    # All but the last byte: what was sent is held.
                    await asyncio.wait_for(wire.send(head % (len(body) + 1), body), PATIENCE)
                last = await Wire.open(proxy.port)
                await last.send(GET)
                answer = await last.message()
                if answer.status == 503:
                    break
                assert (answer.status, len(wires) < 500) == (200, True)
                await last.close()
            gone = await kept.rest()
            for wire in [*wires, last, kept]:
                wire.reset()
                wire.writer.close()
            assert (answer.status, answer.get("retry-after"), answer.get("connection")) == (503, b"1", b"close")
            assert b"memory" not in answer.body
            assert gone == b""
            assert process.most_resident() < CAP
            async with asyncio.timeout(PATIENCE):
                while True:
                    wire = await Wire.open(proxy.port)
                    await wire.send(GET)
                    status = (await wire.message()).status
                    await wire.close()
                    if status == 200:
                        break
                    await asyncio.sleep(0.1)
            proxy.event("memory-short")
            proxy.event("memory-enough")
            figures.add("faults", cases=len(wires))
            assert proxy.stop() == 0


async def test_a_thousand_bodies_of_a_megabyte_fit_into_a_container_of_256_or_get_a_503(
    tmp_path: Path, figures: Figures
) -> None:
    count, container = 1_000, 256 * MB
    rules = tmp_path / "rules.yaml"
    rules.write_text(READS)
    body = b'{"a":"' + b"x" * (MB - 8) + b'"}'
    request = b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    data = memoryview(request % (len(body), body))
    loop = asyncio.get_running_loop()
    # What the container's limit comes to is tested where it is read.
    cap = share_memory(container, 1)
    words = ("--rules", rules, "--limits-memory", str(cap), "--limits-deadlines-body", "60s")
    sent = asyncio.Event()
    left = count

    async def upload(port: int) -> int:
        """Send all but the last byte, and that when everyone has; gives the status of the answer, 0 for none."""
        nonlocal left
        with socket.socket() as sock, contextlib.suppress(ConnectionError):
            sock.setblocking(False)
            await loop.sock_connect(sock, (LOOPBACK, port))
            try:
                await loop.sock_sendall(sock, data[:-1])
            except ConnectionError:
                # It was refused, and did not heed it for as long as the proxy waits.
                pass
            finally:
                left -= 1
                if not left:
                    sent.set()
            await sent.wait()
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(sock, data[-1:])
            answer = await asyncio.wait_for(loop.sock_recv(sock, 4096), 6 * PATIENCE)
            return int(answer.split(b" ", 2)[1])
        return 0

    async with body_upstream() as port:
        with running("--upstream", f"http://{LOOPBACK}:{port}", *words) as proxy:
            process = process_of(proxy)
            async with asyncio.TaskGroup() as group:
                uploads = [group.create_task(upload(proxy.port)) for _ in range(count)]
            statuses = [upload.result() for upload in uploads]
            assert set(statuses) == {200, 503}
            assert process.most_resident() <= cap
            assert process.most_resident() + private(proxy.process.pid) < container
            figures.add("faults", cases=count)
            assert proxy.stop() == 0
            assert "worker-died" not in proxy.rest()


# What a client sends and does not finish, so that it is held: (case, head, body).
HELD = {
    "a head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 30_000, 0),
    "many header lines": (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"a: " + b"x" * 100 + b"\r\n") * 95, 0),
    "a body for rules": (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n", 399_999),
    "a body in chunks for rules": (
        b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n61a80\r\n", 399_999),
    "a body in small chunks for rules": (
        b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"20\r\n" + b"x" * 32 + b"\r\n") * 3_000, 0),
    "a body that passes through": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n", 60_000),
    "a pipeline": (GET.replace(b"/ ", b"/hold ") + GET * 1_000, 0),
}  # fmt: skip


async def refused(process: Process) -> None:
    """Ask for what is refused at once, and wait for it."""
    wire = await Wire.open(process.port)
    await wire.send(b"no request\r\n\r\n")
    assert b" 400 " in await wire.rest()
    await wire.close()


@pytest.mark.parametrize("what", HELD)
async def test_what_a_client_sends_is_held_in_not_many_times_its_size(what: str, figures: Figures) -> None:
    count = 200
    first, more = HELD[what]
    data = first + b"x" * more

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, LOOPBACK, 0)
    async with serving(server.sockets[0].getsockname()[1], figures, deadlines={"header": 60.0}) as process:
        warm = await Wire.open(process.port)
        await warm.send(data)
        await warm.close()
        before = process.resident()
        wires = [await Wire.open(process.port) for _ in range(count)]
        # What a connection takes by itself is no matter of what is sent.
        idle = process.resident() - before
        for wire in wires:
            await wire.send(data)
            # One after the other: how the loop fares under a flood is not what is measured.
            await refused(process)
        busy = -1.0
        while busy != (busy := process.busy()):
            await asyncio.sleep(0.15)
        held = process.resident() - before - idle
        times = held / (count * len(data))
        for wire in wires:
            await wire.close()
        figures.add("amplification", cases=count, found=round(max(times, 0.0), 2))
        assert times < 10, f"{held >> 10} KiB for {count * len(data) >> 10} KiB"
    server.close()


async def test_a_body_in_thousands_of_tiny_chunks_is_refused_before_it_costs_much(figures: Figures) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000
    async with plain_upstream() as port, serving(port, figures) as process:
        for wire in [await Wire.open(process.port) for _ in range(100)]:
            wire.writer.write(data)
            assert (await wire.message()).status == 400
            await wire.close()
        assert process.busy() < 5.0
    figures.add("faults", cases=100)
