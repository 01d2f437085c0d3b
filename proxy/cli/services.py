"""What a run gives its workers to reach outside with: the store that was chosen, lookups, key sets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.effects import Effect, FetchKeys, Lookup
from ..services.store.address import StoreAddress, parse_store

if TYPE_CHECKING:
    from ..edge.gateway import Perform
    from ..edge.options import Upstream
    from ..engine.exchange import Exchange
    from ..observe.metrics import Metrics
    from ..services.pem import PemFiles
    from ..services.perform import Services
    from ..services.secrets import Secrets

SECRET = "store_key"


@dataclass(frozen=True, slots=True)
class ChosenStore:
    """The store of a run, what its values are sealed with, and how it is told to the operator."""

    address: StoreAddress
    pepper: bytes = field(repr=False)
    shown: str
    note: str | None = None


@contextlib.contextmanager
def choose_store(text: str, secrets: Secrets) -> Iterator[ChosenStore]:
    """Make ready the store that the workers will open, and raise StoreError if they could not.

    An SQLite file of this run is in a folder for this user alone, is sealed with a key that nobody else has, and goes
    with the run.
    """
    from ..services.store import StoreError
    from ..services.store.opening import check_store

    address = parse_store(text)
    with contextlib.ExitStack() as stack:
        if address.kind == "memory":
            chosen = ChosenStore(address, b"", "memory")
        elif address.kind == "sqlite" and address.path is None:
            try:
                folder = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="vestibule-", ignore_cleanup_errors=True)
                )
            except OSError:
                raise StoreError(
                    "the store `sqlite` has no folder to be in: TMPDIR can name one, or --store another store"
                ) from None
            address = replace(address, path=str(Path(folder) / "store.db"))
            chosen = ChosenStore(address, os.urandom(32), "sqlite: a file that the workers share, gone with this run")
        else:
            pepper = (secrets.get(SECRET) or "").encode()
            note = f"there is no secret `{SECRET}`: who can read the store can guess the keys of its limits"
            chosen = ChosenStore(address, pepper, str(address), note if not pepper else None)
        check_store(address)
        yield chosen


def open_services(chosen: ChosenStore, files: PemFiles, url: str, upstream: Upstream, *, longest: float) -> Services:
    """Open everything, in the worker; `files` are for the store's TLS, `longest` is how long an exchange may take."""
    from ..services.keys import KeySets
    from ..services.lookup import Lookups
    from ..services.outbound import Own
    from ..services.perform import Services
    from ..services.store.opening import open_store

    own = Own(url, upstream.authority, upstream.tls, upstream.server_name)
    return Services(
        open_store(chosen.address, chosen.pepper, files),
        Lookups(
            base=url,
            tls=upstream.tls,
            authority=upstream.authority,
            server_name=upstream.server_name,
            clock=time.monotonic,
        ),
        KeySets(clock=time.monotonic, own=own),
        lease=longest + 5.0,
    )


def count_effects(perform: Perform, metrics: Metrics) -> Perform:
    """Count the calls of rules to each service, and how they ended."""

    async def perform_and_count(effect: Effect, exchange: Exchange) -> Any:
        service = "keys" if isinstance(effect, FetchKeys) else "lookup" if isinstance(effect, Lookup) else "store"
        begun, result = time.monotonic(), "failed"
        try:
            value = await perform(effect, exchange)
            result = "ok"
        except asyncio.CancelledError:
            result = "late"
            raise
        finally:
            metrics.effect(service, result, time.monotonic() - begun)
        return value

    return perform_and_count
