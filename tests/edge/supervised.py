"""A supervisor over processes that do as they are told, for test_workers.py: each writes what it is on a line.

Arguments: what a worker does (`serve` until stopped, or `crash` at once), and what the check of a reload does (`hold`,
`refuse`, `crash` or `hang`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from proxy.edge import workers
from proxy.edge.workers import Role, Supervisor, hear
from proxy.observe.board import Board
from proxy.observe.health import reasons_against


def say(event: str, **fields: Any) -> None:
    os.write(1, json.dumps({"event": event, "pid": os.getpid(), **fields}).encode() + b"\n")


async def serve(name: str, alive: int) -> None:
    stop = asyncio.Event()
    hear(asyncio.get_running_loop(), alive, stop.set, lambda: say("reloaded"))
    say(name)
    await stop.wait()
    say("stopped")


def work(board: Board, _: int, alive: int) -> None:
    if sys.argv[1] == "crash":
        say("crashing")
        os.kill(os.getpid(), signal.SIGSEGV)
    asyncio.run(serve("serving", alive))


def check() -> int:
    how = sys.argv[2]
    say("checking")
    if how == "hang":
        signal.pause()
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return 0 if how == "hold" else 1


async def look(board: Board, alive: int) -> None:
    """Say whenever the reasons against sending requests change; a stand-in for the admin port."""
    stop = asyncio.Event()
    hear(asyncio.get_running_loop(), alive, stop.set, lambda: None)
    before: list[str] = []
    while not stop.is_set():
        found = reasons_against(board.run(), board.workers(), time.monotonic())
        if found != before:
            say("reasons", reasons=found)
            before = found
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.01)


def main() -> None:
    workers.CHECK_SECONDS = 0.2
    board = Board(1)
    Supervisor(
        [
            Role("worker", lambda slot, alive: work(board, slot, alive), serves=True),
            Role("looker", lambda _, alive: asyncio.run(look(board, alive)), last=True),
        ],
        board=board,
        check=check,
        sockets=[],
        grace=5.0,
        hang=0.0,
        tell=lambda level, event, **fields: say(event, level=level, **fields),
    ).run()


if __name__ == "__main__":
    main()
