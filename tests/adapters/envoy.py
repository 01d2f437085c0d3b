"""A real Envoy between a client and an upstream of the test, which asks an adapter that the test serves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.wire import LOOPBACK, PATIENCE, Wire

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / ".venv-envoy" / "bin" / "envoy"


@dataclass(frozen=True)
class Envoy:
    """An Envoy that listens on ports of this machine, by the names of its listeners."""

    ports: dict[str, int]
    admin: int
    log: Path

    async def until_healthy(self, address: str, cluster: str, *, healthy: bool = True) -> None:
        """Wait until it holds an address of a cluster for one that can be asked, or for one that cannot."""
        async with asyncio.timeout(PATIENCE):
            while (f"{cluster}::{address}::health_flags::healthy\n" in await self._clusters()) is not healthy:
                await asyncio.sleep(0.05)

    async def _clusters(self) -> str:
        return (await _get(self.admin, "/clusters")).decode()


@contextlib.asynccontextmanager
async def running(configuration: dict[str, Any], folder: Path) -> AsyncIterator[Envoy]:
    """Start an Envoy with a configuration whose listener and admin port are of its own choice."""
    configuration = {**configuration, "admin": {"address": {"socket_address": {"address": LOOPBACK, "port_value": 0}}}}
    conf, where, log = folder / "envoy.json", folder / "admin", folder / "envoy.log"
    conf.write_text(json.dumps(configuration), "utf-8")
    words = [str(BINARY), "-c", str(conf), "--concurrency", "1", "-l", "warning", "--use-dynamic-base-id",
             "--admin-address-path", str(where), "--drain-time-s", "0"]  # fmt: skip
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(*words, stdout=sink, stderr=sink)
        try:
            async with asyncio.timeout(PATIENCE):
                admin = int((await _once_there(process, where, log)).rpartition(":")[2])
                while not (ports := await _ports(admin)):
                    await asyncio.sleep(0.01)
            yield Envoy(ports, admin, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _once_there(process: asyncio.subprocess.Process, file: Path, log: Path) -> str:
    while not file.is_file() or not file.read_text("utf-8"):
        assert process.returncode is None, log.read_text("utf-8")
        await asyncio.sleep(0.01)
    return file.read_text("utf-8")


async def _ports(admin: int) -> dict[str, int]:
    if await _get(admin, "/ready") != b"LIVE\n":
        return {}
    found = json.loads(await _get(admin, "/listeners?format=json"))
    return {
        one["name"]: one["local_address"]["socket_address"]["port_value"]
        for one in found["listener_statuses"]
        if "socket_address" in one["local_address"]
    }


async def _get(port: int, target: str) -> bytes:
    wire = await Wire.open(port)
    try:
        await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return (await wire.message()).body
    finally:
        wire.writer.close()
