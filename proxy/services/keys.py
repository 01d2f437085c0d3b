"""The performer of FetchKeys: key sets (RFC 7517) that are fetched seldom, and kept while their service is down.

Which key verifies a token, and with which algorithm, is the verifier's business; what can never verify one, or leaves
open which one it is, is dropped here.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engine.effects import Answer, FetchKeys
from ..engine.errors import EffectFailed, EvaluationError, Unreadable
from ..engine.json_body import JsonBody
from .outbound import Outbound, Own, finish, share

LARGEST = 256 << 10
# Shorter than the rule's own time by default, so that old keys can still be used when the service hangs.
WITHIN = 3.0
SHORTEST, LONGEST = 300.0, 86_400.0
# How long keys that could not be fetched again are used, from when they should have been.
STALE = 86_400.0
# From when on a set is fetched again in the background, as a share of its time.
_AHEAD = 0.8
# Between two fetches of one set: with keys at hand, and without any.
_PAUSE, _PAUSE_WITHOUT = 30.0, 5.0
_SETS = 256
_DEPTH = 16

_TYPES = frozenset({"RSA", "EC", "OKP"})
_PRIVATE = frozenset({"d", "dp", "dq", "k", "oth", "p", "q", "qi"})
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,9})\"?\s*(?=,|$)", re.IGNORECASE)

Keys = tuple[dict[str, Any], ...]


class KeySets:
    """Gives the keys of key sets. `clock` gives seconds that never go back.

    A set is kept as long as its Cache-Control says, 5 minutes at least and 24 hours at most, and fetched again in the
    background before that; while its service fails, its last keys are used for another 24 hours. `own` is the upstream
    itself, for addresses that begin with `/`.
    """

    def __init__(
        self, *, clock: Callable[[], float], own: Own | None = None, trusts: ssl.SSLContext | None = None
    ) -> None:
        self._clock = clock
        self._outbound = Outbound(own, trusts)
        self._sets: OrderedDict[str, _Set] = OrderedDict()
        self._tasks: set[asyncio.Task[Keys | EffectFailed]] = set()

    async def fetch(self, effect: FetchKeys) -> Keys:
        """Perform a FetchKeys; with no keys to give it is EffectFailed."""
        found = self._find(effect.url)
        now = self._clock()
        if now < found.fresh and _holds(found.keys, effect.kid):
            if now >= found.ahead:
                self._start(effect.url, found, now)
            return found.keys
        task = self._start(effect.url, found, now)
        if task is not None:
            try:
                return await share(task)
            except EffectFailed as error:
                if not found.usable(now):
                    raise error from None
        if not found.usable(now):
            raise EffectFailed(found.cause)
        return found.keys

    def renew(self, tls: ssl.SSLContext | None) -> None:
        """Take this for connections to the upstream that are made from now on."""
        self._outbound.renew(tls)

    @property
    def known(self) -> int:
        """Count the key sets that were asked for."""
        return len(self._sets)

    @property
    def failing(self) -> int:
        """Count those whose last fetch failed, also while their last keys are still used."""
        return sum(bool(found.cause) for found in self._sets.values())

    async def close(self) -> None:
        """End all fetches and close all connections."""
        await finish(self._tasks)
        await self._outbound.close()

    def _find(self, url: str) -> _Set:
        found = self._sets.get(url)
        if found is None:
            found = self._sets[url] = _Set()
            if len(self._sets) > _SETS:
                self._sets.popitem(last=False)
        self._sets.move_to_end(url)
        return found

    def _start(self, url: str, found: _Set, now: float) -> asyncio.Task[Keys | EffectFailed] | None:
        """Start the one fetch of a set, or find the one under way; None while it is too early for another."""
        if found.task is not None:
            return found.task
        if now < found.tried + (_PAUSE if found.usable(now) else _PAUSE_WITHOUT):
            return None
        found.tried = now
        task = found.task = asyncio.create_task(self._run(url, found))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, url: str, found: _Set) -> Keys | EffectFailed:
        try:
            answer, name = await self._get(url)
            found.keys = _read(answer, name)
        except EffectFailed as error:
            found.cause = error.cause
            return error
        else:
            found.cause = ""
            lifetime = _lifetime(answer)
            now = self._clock()
            found.ahead, found.fresh = now + lifetime * _AHEAD, now + lifetime
            return found.keys
        finally:
            found.task = None

    async def _get(self, url: str) -> tuple[Answer, str]:
        target = self._outbound.target(url)
        answer = await self._outbound.send(
            "GET", target, headers=(("Accept", "application/jwk-set+json, application/json"),), within=WITHIN,
            limit=LARGEST,
        )  # fmt: skip
        if answer.status != 200:
            raise EffectFailed(f"{target.name} answered {answer.status} instead of its keys")
        return answer, target.name


@dataclass(slots=True, eq=False)
class _Set:
    """What is known of a key set. Times are the clock's; `fresh` is when its time ends."""

    keys: Keys = ()
    ahead: float = float("-inf")
    fresh: float = float("-inf")
    tried: float = float("-inf")
    cause: str = ""
    task: asyncio.Task[Keys | EffectFailed] | None = None

    def usable(self, now: float) -> bool:
        return now < self.fresh + STALE


def _holds(keys: Keys, kid: str | None) -> bool:
    return bool(keys) if kid is None else any(key.get("kid") == kid for key in keys)


def _read(answer: Answer, name: str) -> Keys:
    """Read a key set; what is none is EffectFailed, and a member that cannot verify anything is left out."""
    try:
        data = JsonBody(answer.body, "response", _DEPTH).value()
    except (Unreadable, EvaluationError):
        raise EffectFailed(f"{name} gave no JSON instead of its keys") from None
    members = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise EffectFailed(f"{name} gave no key set (RFC 7517 section 5)")
    able = [member for member in members if _can_verify(member)]
    count = Counter(str(key["kid"]) for key in able if "kid" in key)
    return tuple(key for key in able if "kid" not in key or count[key["kid"]] == 1)


def _can_verify(key: dict[str, Any]) -> bool:
    """Say whether a JWK is a public key for signatures; a private one that was published is nobody's any more."""
    operations = key.get("key_ops")
    return (
        str(key.get("kty")) in _TYPES
        and _PRIVATE.isdisjoint(key)
        and isinstance(key.get("kid", ""), str)
        and key.get("use", "sig") == "sig"
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
    )


def _lifetime(answer: Answer) -> float:
    said = ",".join(value for name, value in answer.headers if name == "cache-control")
    found = _MAX_AGE.search(said)
    return min(max(float(found[1]) if found else 0.0, SHORTEST), LONGEST)
