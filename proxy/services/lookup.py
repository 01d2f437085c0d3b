"""The performer of Lookup: calls that share answers, remember them, and stop while a service is failing.

What a call may be, and what its answer means, is the action's business; how it is made is outbound.py's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable

from ..engine.effects import Answer, Breaker, Lookup
from ..engine.errors import EffectFailed
from .answers import Answers, key_of
from .breaker import Circuit, has_failed
from .outbound import Outbound, Own, Target, finish, share

LARGEST = 1 << 20
# For a call that was given no time of its own; the rule's time ends its waiting earlier.
LONGEST = 30.0
# Calls under way at once, those included that nobody waits for any more.
_PENDING = 1024
_CIRCUITS = 1024


class Lookups:
    """Makes the calls of `lookup`. `base` is the upstream's own URL, `clock` gives seconds that never go back.

    A URL that begins with `/` is a path of the upstream, called with its TLS settings and the Host `authority`.
    """

    def __init__(
        self,
        *,
        base: str,
        tls: ssl.SSLContext | None,
        authority: str,
        clock: Callable[[], float],
        server_name: str | None = None,
        trusts: ssl.SSLContext | None = None,
        entries: int = 1024,
        size: int = 16 << 20,
    ) -> None:
        self._clock = clock
        self._outbound = Outbound(Own(base, authority, tls, server_name), trusts)
        self._answers = Answers(entries, size)
        self._flights: dict[bytes, asyncio.Task[Answer | EffectFailed]] = {}
        self._tasks: set[asyncio.Task[Answer | EffectFailed]] = set()
        self._circuits: OrderedDict[tuple[str, str, Breaker], Circuit] = OrderedDict()

    async def call(self, effect: Lookup) -> Answer:
        """Perform a Lookup; every failure is EffectFailed.

        One that is cancelled leaves its call to come to its end: the request is on its way, others may wait for the
        answer, and the breaker learns from it.
        """
        key = None
        task: asyncio.Task[Answer | EffectFailed] | None = None
        if effect.cache > 0:
            key = key_of(effect)
            known = self._answers.get(key, self._clock())
            if known is not None:
                return known
            task = self._flights.get(key)
        if task is None:
            task = self._start(effect, key)
        return await share(task)

    def renew(self, tls: ssl.SSLContext | None) -> None:
        """Take this for connections to the upstream that are made from now on."""
        self._outbound.renew(tls)

    async def close(self) -> None:
        """End all calls and close all connections."""
        await finish(self._tasks)
        await self._outbound.close()

    def _start(self, effect: Lookup, key: bytes | None) -> asyncio.Task[Answer | EffectFailed]:
        target = self._outbound.target(effect.url)
        if len(self._tasks) >= _PENDING:
            raise EffectFailed(f"{target.name} is not called: {_PENDING} calls are under way")
        circuit = self._circuit(effect, target)
        token = circuit.begin(self._clock()) if circuit is not None else 0
        if token is None:
            raise EffectFailed(f"{target.name} is not called for a while: too many of the last calls failed")
        task = asyncio.create_task(self._run(effect, target, key, circuit, token))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if key is not None:
            self._flights[key] = task
        return task

    async def _run(
        self, effect: Lookup, target: Target, key: bytes | None, circuit: Circuit | None, token: int
    ) -> Answer | EffectFailed:
        outcome: Answer | EffectFailed | None = None
        try:
            outcome = await self._outbound.send(
                effect.method,
                target,
                headers=effect.headers,
                body=effect.body,
                within=effect.timeout or LONGEST,
                limit=LARGEST,
            )
        except EffectFailed as error:
            outcome = error
        finally:
            if key is not None:
                del self._flights[key]
            if circuit is not None:
                if outcome is None:
                    circuit.forget(token)
                else:
                    circuit.end(token, self._clock(), failed=has_failed(outcome))
        if key is not None and isinstance(outcome, Answer):
            self._answers.put(key, outcome, self._clock(), effect.cache)
        return outcome

    def _circuit(self, effect: Lookup, target: Target) -> Circuit | None:
        if effect.breaker is None:
            return None
        key = (effect.method, f"{target.scheme}://{target.name}", effect.breaker)
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = Circuit(effect.breaker)
            if len(self._circuits) > _CIRCUITS:
                self._circuits.popitem(last=False)
        self._circuits.move_to_end(key)
        return circuit
