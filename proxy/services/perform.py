"""What performs the effects of rules in a worker. Whatever fails is EffectFailed, which the rule hears; lateness is the
edge's to judge.
"""

from __future__ import annotations

import ssl
from typing import Any

from ..engine.effects import Effect, FetchKeys, Lookup, Publish, Share
from ..engine.errors import EffectFailed
from ..engine.exchange import Exchange
from .keys import KeySets
from .lookup import Lookups
from .sharing import Sharing
from .store import Store, StoreError
from .store.effects import StoreEffect
from .store.effects import perform as perform_on


class Services:
    """The services of one worker. `lease` is longer than an exchange can take: its reservations are kept so long."""

    def __init__(self, store: Store, lookups: Lookups, keys: KeySets, *, lease: float) -> None:
        self._store = store
        self._sharing = Sharing(store)
        self._lookups = lookups
        self._keys = keys
        self._lease = lease

    async def perform(self, effect: Effect, _: Exchange) -> Any:
        """Perform an effect, for whichever exchange."""
        try:
            match effect:
                case Lookup():
                    return await self._lookups.call(effect)
                case FetchKeys():
                    return await self._keys.fetch(effect)
                case Share():
                    return await self._sharing.share(effect)
                case Publish():
                    return await self._sharing.publish(effect)
                case _ if isinstance(effect, StoreEffect):
                    return await perform_on(self._store, effect, lease=self._lease)
                case _:
                    raise EffectFailed(f"no service performs {type(effect).__name__}")
        except StoreError as error:
            raise EffectFailed(str(error)) from None

    def renew(self, tls: ssl.SSLContext | None) -> None:
        """Take this for calls of the upstream from now on."""
        self._lookups.renew(tls)
        self._keys.renew(tls)

    def gauges(self) -> dict[str, float]:
        """Give how things are, by the names of metrics."""
        return {"key_sets": self._keys.known, "key_sets_failing": self._keys.failing}

    async def close(self) -> None:
        """Let go of everything; calls under way end."""
        await self._sharing.close()
        await self._lookups.close()
        await self._keys.close()
        await self._store.close()
