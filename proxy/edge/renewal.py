"""The certificates, keys and tokens that a process uses, exchanged for those that the last reload found to hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ..observe.board import Board, Credentials
from .tls import certificate_ends, tell_time

Use = Callable[[Credentials], Awaitable[None]]


class Renewal:
    """What one process uses; `uses` says for each part how it is taken into use, `ends` when our certificates end."""

    def __init__(self, board: Board, start: Credentials, uses: Mapping[str, Use], tell: Callable[..., None]) -> None:
        self.used = start
        self.ends = certificate_ends(start.contents)
        self._board = board
        self._uses = uses
        self._tell = tell
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        """Take what has changed into use."""
        async with self._turn:
            found = self._board.credentials()
            if found.generation == self.used.generation:
                return
            ends = certificate_ends(found.contents)
            for part, use in self._uses.items():
                if found.part(part) != self.used.part(part):
                    await use(found)
                    told = {"expires": tell_time(ends[part])} if part in ends else {}
                    self._tell("info", "reloaded", setting=part, **told)
            self.used, self.ends = found, ends
