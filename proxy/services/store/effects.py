"""Which operation of a store each effect is."""

from __future__ import annotations

from typing import Any

from ...engine.effects import (
    Reserve,
    Settle,
    StoreAdd,
    StoreGet,
    StoreIncrement,
    StoreSet,
    StoreTake,
)
from . import Store

StoreEffect = StoreGet | StoreSet | StoreAdd | StoreTake | StoreIncrement | Reserve | Settle


async def perform(store: Store, effect: StoreEffect, *, lease: float) -> Any:
    """Perform an effect on a store; `lease` is for how long a reservation may stay unsettled."""
    match effect:
        case StoreGet(key):
            return await store.get(key)
        case StoreSet(key, value, ttl):
            return await store.set(key, value, ttl)
        case StoreAdd(key, value, ttl):
            return await store.add(key, value, ttl)
        case StoreTake(key):
            return await store.take(key)
        case StoreIncrement(key, ttl):
            return await store.increment(key, ttl)
        case Reserve(key, most, per, block, settles):
            return await store.reserve(key, most=most, per=per, block=block, lease=lease if settles else None)
        case Settle(key, ticket, failed, most, per, block):
            return await store.settle(key, ticket, failed=failed, most=most, per=per, block=block)
