"""A sandbox in a process of its own: `python -m proxy.sandbox NAME [DATA]`.

Its address is the first line on stdout. It ends when its standard input does: when whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys

from . import serve


async def main(name: str, data: str | None) -> None:
    gone = asyncio.Event()
    stdin = sys.stdin.fileno()

    def heard() -> None:
        if not os.read(stdin, 4096):
            asyncio.get_running_loop().remove_reader(stdin)
            gone.set()

    def ready(address: str) -> None:
        print(f"sandbox:{name} has made-up customers. It is not for production.", file=sys.stderr, flush=True)
        print(address, flush=True)

    asyncio.get_running_loop().add_reader(stdin, heard)
    task = asyncio.create_task(serve(name, host="127.0.0.1", port=0, data=data, ready=ready))
    ended = asyncio.create_task(gone.wait())
    await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return
    except sqlite3.Error as error:
        sys.exit(f"sandbox:{name}: {data} cannot be used: {error}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
