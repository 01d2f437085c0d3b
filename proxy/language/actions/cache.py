"""The actions `cache_get`, `cache_set` and `cache_delete`: values that exchanges share, after Auth0's `api.cache`.

A value over a limit is a result with Auth0's error code, never an error of the rule; a store that is down is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from pydantic import Field

from ...engine.effects import Effect, StoreGet, StoreSet, StoreTake
from ...engine.errors import EffectFailed
from ...engine.exchange import Exchange
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..cel import DYN, STRING, Timestamp, UInt, map_of
from ..fields import Duration, Text
from ..secrecy import mark_secret

_OWN = "cache\0own\0"
# All that Auth0's profile keeps is one stored value, so that its limits on the whole can be held.
_AUTH0 = "cache\0auth0"
# JavaScript's largest safe integer, beyond which Auth0 takes no time.
_SAFE = 2**53 - 1

_Asking = Generator[Effect, Any, None]


class _Record(TypedDict):
    """A value and its end in milliseconds, as it is stored and as rules read it."""

    value: Any
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Limits:
    """Sizes in bytes of UTF-8, the longest life in seconds."""

    key: int
    value: int
    life: float
    total: int = 0
    entries: int = 0


_LIMITS = {
    "own": _Limits(key=1024, value=65_536, life=30 * 86_400.0),
    # What Auth0's runtime holds to; its documents say 8 kB for the whole, and name the 20 and the 24 hours.
    "auth0": _Limits(key=64, value=4096, life=86_400.0, total=16_640, entries=20),
}

_Profile = Annotated[
    Literal["own", "auth0"],
    Field(
        description="`auth0` has a cache of its own with Auth0's limits: keys of 64 bytes, texts of 4096 as values, "
        "20 entries, 16,640 bytes in all, 24 hours. Of two exchanges that write at the same moment one may lose."
    ),
]
_Key = Annotated[Text, Field(description="The key; all rules of a rule set share it.")]


class CacheGet(Action):
    """Read the cache: `into` becomes the record `{value, expires_at}`, its end in milliseconds, or null.

    What was read is masked in logs.
    """

    key: _Key
    into: Text = Field(description="The variable for the record.")
    profile: _Profile = "own"

    def compile(self, env: StepEnvironment) -> Run:
        key = env.text(self.key, "key", place="text").read
        env.declare(self.into, DYN, "into")
        into, auth0 = self.into, self.profile == "auth0"

        def get(x: Exchange) -> _Asking:
            name = key(x)
            stored = yield StoreGet(_AUTH0 if auth0 else _OWN + name)
            record = _records(stored).get(name) if auth0 else _record(stored)
            x.variables[into] = record if record is not None and record["expires_at"] >= _now(x) else None
            mark_secret(x, (into,), (into,))

        return get


class CacheSet(Action):
    """Write the cache. `into` becomes `{type: success, record}`, or `{type: error, code}`: the exchange goes on.

    The codes are Auth0's: CacheKeySizeExceeded (over 1024 bytes), CacheValueSizeExceeded (over 64 KiB),
    CacheSizeExceeded, InvalidExpiry, ItemAlreadyExpired. A record lives for 30 days at most.
    """

    key: _Key
    value: Any = Field(description="The value: data of any kind; with `profile: auth0` a text.")
    ttl: Duration | None = Field(None, description="How long it is kept; 15m when there is no `expires_at` either.")
    expires_at: Any = Field(
        None, description="Until when it is kept: a timestamp, or milliseconds since 1970. The earlier of both holds."
    )
    into: Text | None = Field(None, description="The variable for the result.")
    profile: _Profile = "own"

    def compile(self, env: StepEnvironment) -> Run:
        key = env.text(self.key, "key", place="text").read
        auth0, limits = self.profile == "auth0", _LIMITS[self.profile]
        value = self._value(env, auth0=auth0)
        expiry = self._expiry(env, limits.life)
        into = self.into
        if into is not None:
            env.declare(into, map_of(STRING, DYN), "into")

        def put(x: Exchange) -> _Asking:
            name, data = key(x), value(x)
            end = expiry(x)
            code = _over(limits, name, data)
            if code is None and auth0:
                records = _records((yield StoreGet(_AUTH0)))
                code = _over_all(limits, records, name, data, _now(x))
            if code is None and isinstance(end, str):
                code = end
            result: dict[str, Any] = {"type": "error", "code": code}
            if code is None:
                record: _Record = {"value": data, "expires_at": int(end)}
                if auth0:
                    yield _keep(x, {**records, name: record})
                else:
                    yield StoreSet(_OWN + name, msgspec.json.encode(record), (record["expires_at"] - _now(x)) / 1000)
                result = {"type": "success", "record": record}
            if into is not None:
                x.variables[into] = result
                # The code of what went wrong tells nothing of the value.
                mark_secret(x, (into,), (into,) if code is None else ())

        return put

    def _value(self, env: StepEnvironment, *, auth0: bool) -> Callable[[Exchange], Any]:
        if not auth0:
            return env.value(self.value, "value").read
        if not isinstance(self.value, str):
            env.problem("wrong-type", "with `profile: auth0` a value is text", "value")
            return lambda _: ""
        return env.text(self.value, "value", place="text").read

    def _expiry(self, env: StepEnvironment, longest: float) -> Callable[[Exchange], int | str]:
        """Build what gives the end in milliseconds, or the code of what is wrong with it."""
        given = env.value(self.expires_at, "expires_at", json=False).read if self.expires_at is not None else None
        ttl = self.ttl if self.ttl is not None or given is not None else 900.0

        def end(x: Exchange) -> int | str:
            now = _now(x)
            ends = [now + math.floor(ttl * 1000)] if ttl is not None else []
            if given is not None:
                at = _milliseconds(given(x))
                if at is None:
                    return "InvalidExpiry"
                ends.append(at)
            if min(ends) <= now:
                return "ItemAlreadyExpired"
            if min(ends) > _SAFE:
                return "InvalidExpiry"
            return min(*ends, now + int(longest * 1000))

        return end


class CacheDelete(Action):
    """Delete from the cache. `into` becomes `{type: success}`, or `{type: error, code: CacheKeyDoesNotExist}`."""

    key: _Key
    into: Text | None = Field(None, description="The variable for the result.")
    profile: _Profile = "own"

    def compile(self, env: StepEnvironment) -> Run:
        key = env.text(self.key, "key", place="text").read
        into, auth0 = self.into, self.profile == "auth0"
        if into is not None:
            env.declare(into, map_of(STRING, STRING), "into")

        def delete(x: Exchange) -> _Asking:
            name = key(x)
            if auth0:
                records = _records((yield StoreGet(_AUTH0)))
                found = records.pop(name, None) is not None
                if found:
                    yield _keep(x, records)
            else:
                found = (yield StoreTake(_OWN + name)) is not None
            if into is not None:
                missing = {"type": "error", "code": "CacheKeyDoesNotExist"}
                x.variables[into] = {"type": "success"} if found else missing
                mark_secret(x, (into,), ())

        return delete


def _now(x: Exchange) -> int:
    return math.floor(x.now * 1000)


def _milliseconds(value: Any) -> int | None:
    """Read a time as milliseconds since 1970; None for what is none."""
    if isinstance(value, Timestamp):
        return int(value.nanos) // 1_000_000
    if type(value) in (int, UInt) or (type(value) is float and math.isfinite(value)):
        return int(value // 1)
    return None


def _size(data: Any) -> int:
    return len(data.encode() if isinstance(data, str) else msgspec.json.encode(data))


def _over(limits: _Limits, name: str, data: Any) -> str | None:
    """Say which limit a single entry is over."""
    if _size(name) > limits.key:
        return "CacheKeySizeExceeded"
    return "CacheValueSizeExceeded" if _size(data) > limits.value else None


def _over_all(limits: _Limits, records: dict[str, _Record], name: str, data: Any, now: int) -> str | None:
    """Say whether a further entry is too much for the whole, where the old value of its key counts as Auth0 counts it.

    What has expired is dropped first.
    """
    for one in [one for one, record in records.items() if record["expires_at"] < now]:
        del records[one]
    size = sum(_size(one) + _size(record["value"]) for one, record in records.items())
    if size + _size(name) + _size(data) > limits.total or (name not in records and len(records) >= limits.entries):
        return "CacheSizeExceeded"
    return None


def _keep(x: Exchange, records: dict[str, _Record]) -> Effect:
    """Store all that Auth0's profile keeps, for as long as the last of it lives."""
    left = max((record["expires_at"] - _now(x) for record in records.values()), default=0)
    return StoreSet(_AUTH0, msgspec.json.encode(records), left / 1000) if left > 0 else StoreTake(_AUTH0)


def _records(stored: bytes | None) -> dict[str, _Record]:
    return {} if stored is None else _decode(stored, dict[str, _Record])


def _record(stored: bytes | None) -> _Record | None:
    return None if stored is None else _decode(stored, _Record)


def _decode(stored: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(stored, type=kind)
    except msgspec.DecodeError:
        raise EffectFailed("the cache holds something that is no record") from None
