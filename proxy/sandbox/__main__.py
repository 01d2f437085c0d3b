"""A sandbox in a process of its own: `python -m proxy.sandbox NAME [DATA]`.

Its address is the first line on stdout. It ends when its standard input does: when whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import sys

from . import serve


async def main(name: str, data: str | None) -> None:
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lambda: sys.stdin.buffer.read1(1) or gone.set())

    def ready(address: str) -> None:
        print(address, flush=True)

    task = asyncio.create_task(serve(name, host="127.0.0.1", port=0, data=data, ready=ready))
    ended = asyncio.create_task(gone.wait())
    await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
