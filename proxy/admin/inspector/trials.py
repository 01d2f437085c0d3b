"""Who asks for trials: one process of its own does them, one after the other, and is killed when one takes too long.

The process is begun when it is first needed and ended when nobody needs it for a while. It is given no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from .trial import Job, Result

# Of the clock, for who comes on a machine that is busy; what a job may compute is bounded by its process.
SECONDS = 30.0
# How long who comes while another trial runs waits for it, and how many may.
_PATIENCE = 4.0
_WAITING = 4
_IDLE = 60.0
_LONGEST = 32 << 20
_NEEDED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_PACKAGE = Path(__file__).resolve().parents[2]


class BusyError(Exception):
    """Too many ask at once."""


class Trials:
    """Does jobs. `algorithm` gives the algorithm of the operator's key pair by its name, None for what is none."""

    def __init__(self, algorithm: Callable[[str], str | None], *, seconds: float = SECONDS) -> None:
        self._algorithm = algorithm
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def run(self, job: Job) -> Result:
        """Do a job; raise BusyError."""
        if self._waiting >= _WAITING:
            raise BusyError
        self._waiting += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._turn.acquire()
        except TimeoutError:
            raise BusyError from None
        finally:
            self._waiting -= 1
        try:
            result = await self._run(job)
            keys = {name: found for name in result.asked if (found := self._algorithm(name)) is not None}
            if keys != job.rules.keys:
                # What the rules ask for is known only when they were built once.
                job.rules.keys = keys
                result = await self._run(job)
            return result
        finally:
            self._turn.release()

    async def _run(self, job: Job) -> Result:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._ask(job)
        except TimeoutError:
            await self.close()
            return Result(refused=f"it took more than {self._seconds:g} seconds")
        except asyncio.CancelledError:
            # Its answer would be taken for that to the next one.
            await self.close()
            raise
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, msgspec.DecodeError, ValueError):
            await self.close()
            return Result(refused="it took too much, and its process was ended")

    async def _ask(self, job: Job) -> Result:
        process = await self._begin()
        if process.stdin is None or process.stdout is None:
            raise OSError("a process without pipes")
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        await process.stdin.drain()
        result = msgspec.json.decode(await process.stdout.readuntil(b"\n"), type=Result)
        self._idle = asyncio.get_running_loop().call_later(_IDLE, self._end)
        return result

    async def _begin(self) -> asyncio.subprocess.Process:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._process is None or self._process.returncode is not None:
            # Of the environment only what a program needs to start; its package is this one, wherever it is begun.
            kept = {name: os.environ[name] for name in _NEEDED if name in os.environ}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "proxy.admin.inspector.trial",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={**kept, "PYTHONPATH": str(_PACKAGE.parent), "PYDANTIC_DISABLE_PLUGINS": "1"},
                limit=_LONGEST,
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
