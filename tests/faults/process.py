"""Starts the watched data plane, and reads what it takes of the machine."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.figures import Figures
from tests.running import ROOT

_START = 60.0


class Process:
    """A running data plane and the port it listens on."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def resident(self) -> int:
        """Give the resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096

    def most_resident(self) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def busy(self) -> float:
        """Give the seconds of processor time that it took so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


@asynccontextmanager
async def serving(
    port: int,
    figures: Figures,
    *,
    bounds: dict[str, Any] | None = None,
    deadlines: dict[str, Any] | None = None,
    upstream: dict[str, Any] | None = None,
) -> AsyncIterator[Process]:
    """Start a data plane before an upstream; how long its loop stood still becomes a figure."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.proxy_process", str(port),
        json.dumps(bounds or {}), json.dumps(deadlines or {}), json.dumps(upstream or {}),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Process(process.pid, int(await asyncio.wait_for(process.stdout.readline(), _START)))
    finally:
        process.stdin.close()
        told = json.loads(await asyncio.wait_for(process.stdout.read(), _START))
        assert await asyncio.wait_for(process.wait(), _START) == 0
        figures.add("loop-stall", cases=told["looks"], found=round(told["stall"], 1))
