"""What a service manager hears of a run (sd_notify): that it serves, reloads, stops, and that its supervisor is alive.

A manager that cannot be reached changes nothing: it may be restarted itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

from ..observe.board import Board
from ..observe.health import ready_workers

# How often it is looked whether everything serves, while the manager waits to hear that.
_LOOK = 0.05
# How long workers may take to build rules that were checked, before a reload counts as over.
_BUILT = 60.0
_NEVER = float("inf")


class ServiceManager:
    """Tells a service manager how the run is; `pings` is how often, in seconds, it wants to hear of it at all."""

    def __init__(self, address: str, pings: float | None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._pings = pings
        self._ping_at = 0.0 if pings is not None else _NEVER
        # Whether it waits to hear that the run is ready: with rules and credentials of these generations at least, or
        # after that time.
        self._waits = True
        self._rules = self._credentials = 0
        self._until = _NEVER

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> ServiceManager | None:
        """Take what names the manager out of the environment; None when there is none."""
        address, wanted, pid = (environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        if not address.startswith(("/", "@")):
            return None
        pings = int(wanted) / 2_000_000 if wanted.isdigit() and pid in ("", str(os.getpid())) else None
        return cls(address, pings)

    def due(self) -> float:
        """Give when there may be something to tell, of the monotonic clock."""
        return min(time.monotonic() + _LOOK if self._waits else _NEVER, self._ping_at)

    def look(self, board: Board) -> None:
        """Tell what is to be told now."""
        now = time.monotonic()
        if now >= self._ping_at and self._pings is not None:
            self._send("WATCHDOG=1")
            self._ping_at = now + self._pings
        if not self._waits:
            return
        run = board.run()
        states = ready_workers(run, board.workers())
        serves = 0 < len(states) == len(run.slots) and all(
            state.generation >= self._rules and state.credentials >= self._credentials for state in states
        )
        if serves or now >= self._until:
            told = "no worker is ready"
            if states:
                count = states[0].rules
                told = f"{count} {'rule' if count == 1 else 'rules'}, revision {states[0].revision}"
            if not run.holds:
                told = f"a change of the rules has mistakes, and is not served; {told}"
            if not run.credentials_hold:
                told = f"a certificate, key or token cannot be used, and the one before is kept; {told}"
            self._waits = not self._send(f"READY=1\nSTATUS={told}")

    def reloading(self) -> None:
        """Tell that a reload begins."""
        self._waits = False
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def checked(self, rules: int, credentials: int) -> None:
        """Let the reload be over when all workers have these generations, 0 where they are to keep theirs."""
        self._rules, self._credentials = rules, credentials
        self._waits, self._until = True, time.monotonic() + _BUILT

    def stopping(self) -> None:
        """Tell that the run stops; that it is ready is told no more."""
        self._waits = False
        self._send("STOPPING=1")

    def _send(self, text: str) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), self._address)
            return True
        return False
