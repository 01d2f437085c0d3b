"""A wall clock that a test moves under running processes, by libfaketime (the Debian package `faketime`).

The monotonic clocks stay as they are, as they do when an operator or NTP sets the time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


class WallClock:
    """The clock of all processes that are started with `env`: this machine's, and `move` away from it."""

    def __init__(self, folder: Path) -> None:
        found = [path for place in _PLACES for path in Path("/").glob(place.lstrip("/"))]
        if not found:
            pytest.skip("libfaketime is not installed (apt-get install faketime), so no clock can be moved")
        self._library = found[0]
        self._file = folder / "clock"
        self.move(0)

    def move(self, seconds: int) -> None:
        """Set it so far from the machine's own; every process sees it at once."""
        self._set(f"{seconds:+d}")

    def stand_still(self) -> None:
        """Stop it where the machine's own is now."""
        self._set(time.strftime("%Y-%m-%d %H:%M:%S"))

    def _set(self, text: str) -> None:
        aside = self._file.with_suffix(".aside")
        aside.write_text(text)
        aside.rename(self._file)

    @property
    def env(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
