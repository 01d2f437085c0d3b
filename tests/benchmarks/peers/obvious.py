"""The obvious version of the same jobs in Python, as `aiohttp` suggests it; obvious_server.py is the program."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from .peer import FILES, Peer, Place


def _words(place: Place, *more: str) -> Sequence[str]:
    program = str(FILES / "obvious_server.py")
    return [sys.executable, program, str(place.upstream), str(place.port), str(place.folder / "access.log"), *more]


PEER = Peer(
    name="obvious",
    title="aiohttp, the obvious version",
    install="make .venv/.installed",
    version=lambda: f"aiohttp {version('aiohttp')}",
    command=_words,
)
ON_UVLOOP = Peer(
    name="obvious-uvloop",
    title="the same on uvloop",
    install="make .venv/.installed",
    version=lambda: f"aiohttp {version('aiohttp')}, uvloop {version('uvloop')}",
    command=lambda place: _words(place, "uvloop"),
)
