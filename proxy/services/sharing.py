"""One upstream call for many exchanges: who makes it, and what the others get, agreed on through the store.

Under the key stands who leads, then what was published for those who come later. What is only for those who already
waited stands for a moment under the key and the ticket that they waited on, so that who comes later leads anew. A
leader that died is forgotten after its lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass, field

from ..engine.effects import Lead, Publish, Share
from ..engine.errors import EffectFailed
from .store import Store, StoreError

LEASE = 60.0
# What those hear who waited for a call that failed.
CALL_FAILED = "the upstream call that others waited for failed"
# How long those who waited have to fetch what was published for them alone.
_ECHO = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.05
# The first byte of what is stored.
_LED, _DONE, _FAILED = b"\0", b"\1", b"\2"


@dataclass(slots=True)
class _Watch:
    """Those of this process who wait on one ticket: one task looks into the store for all of them."""

    task: asyncio.Task[bytes | StoreError | None]
    published: asyncio.Future[bytes]
    waiting: int = field(default=0)


class Sharing:
    """Performs Share and Publish."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._publishing: set[asyncio.Task[None]] = set()

    async def share(self, effect: Share) -> Lead | bytes:
        """Give the lead, or what the one who led published; one whose call failed is an EffectFailed."""
        key = effect.key
        while True:
            kept = await self._store.get(key)
            if kept is None:
                ticket = secrets.token_hex(8)
                if await self._store.add(key, _LED + ticket.encode(), LEASE):
                    return Lead(ticket)
                continue
            outcome: bytes | None = kept
            if kept[:1] == _LED:
                outcome = await self._wait(key, kept[1:].decode())
            if outcome is not None:
                if outcome[:1] == _FAILED:
                    raise EffectFailed(CALL_FAILED)
                return outcome[1:]

    async def publish(self, effect: Publish) -> None:
        """End a lead. It is done to its end even when who asks for it is cancelled: others wait for it."""
        task = asyncio.create_task(self._publish(effect))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for what is being published; nobody waits for others any more."""
        await asyncio.gather(*self._publishing, return_exceptions=True)
        watches = [watch.task for watch in self._watches.values()]
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    async def _publish(self, effect: Publish) -> None:
        key, ticket = effect.key, effect.ticket
        outcome = _FAILED if effect.value is None else _DONE + effect.value
        watch = self._watches.get((key, ticket))
        if watch is not None and not watch.published.done():
            watch.published.set_result(outcome)
        mine = _LED + ticket.encode()
        kept = await self._store.get(key)
        if effect.value is not None and effect.ttl > 0:
            if kept in (None, mine):
                try:
                    await self._store.set(key, outcome, effect.ttl)
                except StoreError:
                    with contextlib.suppress(StoreError):
                        await self._store.take(key)
                    raise
            return
        # In this order: who finds the key free must find what was left for those who waited.
        await self._store.set(_echo(key, ticket), outcome, _ECHO)
        if kept == mine:
            await self._store.take(key)

    async def _wait(self, key: str, ticket: str) -> bytes | None:
        """Wait until a lead has ended; None says that it came to nothing, and is to be asked for again."""
        watch = self._watches.get((key, ticket))
        if watch is None:
            published: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            watch = _Watch(asyncio.create_task(self._look(key, ticket, published)), published)
            self._watches[key, ticket] = watch
        watch.waiting += 1
        try:
            outcome = await asyncio.shield(watch.task)
        except asyncio.CancelledError:
            if watch.task.cancelled():
                raise EffectFailed("the proxy is ending, and waits for no one any more") from None
            raise
        finally:
            watch.waiting -= 1
            if not watch.waiting:
                watch.task.cancel()
                if self._watches.get((key, ticket)) is watch:
                    del self._watches[key, ticket]
        if isinstance(outcome, StoreError):
            # Each raises its own: an exception that is raised twice grows.
            raise StoreError(str(outcome))
        return outcome

    async def _look(self, key: str, ticket: str, published: asyncio.Future[bytes]) -> bytes | StoreError | None:
        pause = _FIRST_PAUSE
        try:
            while True:
                await asyncio.wait([published], timeout=pause)
                if published.done():
                    return published.result()
                kept = await self._store.get(key)
                if kept is not None and kept[:1] == _DONE:
                    return kept
                echo = await self._store.get(_echo(key, ticket))
                if echo is not None or kept != _LED + ticket.encode():
                    return echo
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        except StoreError as error:
            return error


def _echo(key: str, ticket: str) -> str:
    return f"{key}\0{ticket}"
