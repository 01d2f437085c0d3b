"""The tries of one key under a limit, as one small value: without I/O, so that the stores that keep it agree."""

from __future__ import annotations

import msgspec

# What a try waits for whose limit is filled by others that have not ended yet.
BUSY = 1.0


class Window(msgspec.Struct, array_like=True):
    """Counted tries and open reservations by ticket, and a block.

    Each time is when it is over, in seconds of the store's clock.
    """

    blocked: float = 0.0
    counted: dict[str, float] = msgspec.field(default_factory=dict)
    open: dict[str, float] = msgspec.field(default_factory=dict)

    def reserve(
        self, now: float, ticket: str, *, most: int, per: float, block: float | None, lease: float | None
    ) -> float:
        """Take a place for `ticket`; return 0, or for how long it is refused."""
        self._forget(now)
        if self.blocked > now:
            return self.blocked - now
        if lease is not None:
            if len(self.counted) + len(self.open) >= most:
                return BUSY
            self.open[ticket] = now + lease
            return 0.0
        if len(self.counted) < most:
            self.counted[ticket] = now + per
            return 0.0
        if block is None:
            return sorted(self.counted.values())[-most] - now
        self._block(now + block)
        return block

    def settle(self, now: float, ticket: str, *, failed: bool, most: int, per: float, block: float | None) -> None:
        """End a reservation; a failure counts from now, and the last one that is allowed blocks."""
        self._forget(now)
        self.open.pop(ticket, None)
        if failed:
            self.counted[ticket] = now + per
            if len(self.counted) >= most:
                self._block(now + (per if block is None else block))

    def end(self) -> float:
        """Give when nothing of it is left."""
        return max(self.blocked, *self.counted.values(), *self.open.values(), 0.0)

    def _block(self, until: float) -> None:
        self.blocked = until
        self.counted.clear()

    def _forget(self, now: float) -> None:
        self.counted = {ticket: end for ticket, end in self.counted.items() if end > now}
        self.open = {ticket: end for ticket, end in self.open.items() if end > now}
