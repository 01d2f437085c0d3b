"""A store in Redis or Valkey, one server or a cluster: shared by all machines, with the server's time as the clock.

Each operation is one atomic round trip on one key. A call that is cancelled closes its connection, so that no later one
can read its answer. Nothing that the client library says is repeated: it may hold what was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import deque
from dataclasses import replace
from typing import Any

from redis import exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from ...engine.effects import Reserved
from ..pem import PemFiles
from . import StoreError
from .address import StoreAddress
from .window import BUSY

# How long one operation may take, waiting for a connection included; a rule often has less.
_PATIENCE = 2.0
# Operations of one worker at a time; more wait for their turn.
_CONNECTIONS = 64
# Reservations to give back that are remembered while the server does not answer, and how often that is tried.
_ABANDONED = 10_000
_AGAIN = 1.0


class _Script:
    """A Lua script and the digest by which a server that has seen it knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_COUNT = _Script("""
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count
""")

# A limit is a sorted set. Its scores are when things are over, in microseconds: those of counted tries ("f" and the
# ticket) and of a block ("b") above zero, those of open reservations ("r" and the ticket) below.
_LIMIT = """
local key = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ticket, most, per, block = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', key, -now, now)
local function keep(score, member)
  redis.call('ZADD', key, score, member)
  local left = math.ceil((math.abs(score) - now) / 1000)
  if redis.call('PTTL', key) < left then redis.call('PEXPIRE', key, left) end
end
local function refuse(length)
  redis.call('ZREMRANGEBYSCORE', key, 0, '+inf')
  keep(now + length, 'b')
end
"""

# Returns 0, or for how long it is refused, in microseconds.
_RESERVE = _Script(f"""{_LIMIT}
local lease = tonumber(ARGV[5])
local blocked = redis.call('ZSCORE', key, 'b')
if blocked then return blocked - now end
if lease >= 0 then
  if redis.call('ZCARD', key) >= most then return {int(BUSY * 1e6)} end
  keep(-(now + lease), 'r' .. ticket)
  return 0
end
local counted = redis.call('ZCOUNT', key, 0, '+inf')
if counted < most then
  keep(now + per, 'f' .. ticket)
  return 0
end
if block < 0 then
  local oldest = redis.call('ZRANGEBYSCORE', key, 0, '+inf', 'WITHSCORES', 'LIMIT', counted - most, 1)
  return oldest[2] - now
end
refuse(block)
return block
""")

_SETTLE = _Script(f"""{_LIMIT}
redis.call('ZREM', key, 'r' .. ticket)
if ARGV[5] == '1' then
  keep(now + per, 'f' .. ticket)
  local counted = redis.call('ZCOUNT', key, 0, '+inf')
  if redis.call('ZSCORE', key, 'b') then counted = counted - 1 end
  if counted >= most then refuse(block < 0 and per or block) end
end
return 0
""")


class RedisStore:
    """A store at an address; connections are made when they are first needed.

    `files` are read in the place of its files of TLS, by their names in the address; once they are replaced, no
    connection from before is used for a new call.
    """

    def __init__(self, address: StoreAddress, files: PemFiles | None = None) -> None:
        self._shown = str(address)
        self._files = files if files is not None else PemFiles({})
        self._turn = self._files.turn
        self._address = address
        if files is not None:
            at = files.paths.get
            self._address = replace(address, ca=at("ca"), cert=at("cert"), key=at("key"))
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        self._client = _connect(self._address)
        self._retiring: set[asyncio.Task[None]] = set()
        self._abandoned: deque[tuple[str, str]] = deque(maxlen=_ABANDONED)
        self._giving_back: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self, key: str) -> bytes | None:
        return _optional(await self._call("GET", _name("v", key)))

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        await self._call("SET", _name("v", key), value, "PX", _milliseconds(ttl))

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        return bool(await self._call("SET", _name("v", key), value, "NX", "PX", _milliseconds(ttl)))

    async def take(self, key: str) -> bytes | None:
        return _optional(await self._call("GETDEL", _name("v", key)))

    async def increment(self, key: str, ttl: float) -> int:
        return int(await self._script(_COUNT, _name("c", key), _milliseconds(ttl)))

    async def reserve(self, key: str, *, most: int, per: float, block: float | None, lease: float | None) -> Reserved:
        ticket = secrets.token_hex(8)
        times = [-1 if time is None else _microseconds(time) for time in (per, block, lease)]
        try:
            wait = await self._script(_RESERVE, _name("l", key), ticket, most, *times)
        except (StoreError, asyncio.CancelledError):
            # It may be done all the same, and nobody would ever end it.
            if lease is not None:
                self._abandon(key, ticket)
            raise
        return Reserved(ticket) if not wait else Reserved(None, wait / 1e6)

    async def settle(self, key: str, ticket: str, *, failed: bool, most: int, per: float, block: float | None) -> None:
        times = [-1 if time is None else _microseconds(time) for time in (per, block)]
        await self._script(_SETTLE, _name("l", key), ticket, most, *times, int(failed))

    async def close(self) -> None:
        self._closed = True
        for retiring in self._retiring:
            retiring.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        if self._giving_back is not None:
            self._giving_back.cancel()
            await asyncio.gather(self._giving_back, return_exceptions=True)
        await _close(self._client)

    def _renew(self) -> None:
        """Connect anew from now on; calls under way end where they are."""
        self._turn = self._files.turn
        retiring = asyncio.create_task(_retire(self._client))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        self._client = _connect(self._address)

    def _abandon(self, key: str, ticket: str) -> None:
        self._abandoned.append((key, ticket))
        if not self._closed and (self._giving_back is None or self._giving_back.done()):
            self._giving_back = asyncio.create_task(self._give_back())

    async def _give_back(self) -> None:
        """End the reservations that nobody knows of, once the server answers."""
        while self._abandoned:
            key, ticket = self._abandoned.popleft()
            try:
                # Twice: what was sent before the first is done by the time of its answer.
                for _ in range(2):
                    await self.settle(key, ticket, failed=False, most=1, per=1.0, block=None)
            except StoreError:
                self._abandoned.append((key, ticket))
                await asyncio.sleep(_AGAIN)

    async def _script(self, script: _Script, name: bytes, *arguments: Any) -> Any:
        # Without a server's list of scripts to keep up with, a cluster's new node is no special case.
        try:
            return await self._call("EVALSHA", script.digest, 1, name, *arguments)
        except exceptions.NoScriptError:
            return await self._call("EVAL", script.text, 1, name, *arguments)

    async def _call(self, *words: Any) -> Any:
        try:
            async with asyncio.timeout(_PATIENCE), self._turns:
                if self._turn != self._files.turn:
                    self._renew()
                client = self._client
                # Before it knows its nodes, a cluster's client sends anything anywhere.
                await client.initialize()
                return await client.execute_command(*words)
        except exceptions.NoScriptError:
            raise
        except Exception as error:
            raise StoreError(f"the store {self._shown} {_words(error)}") from None


def _connect(address: StoreAddress) -> Any:
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "protocol": 2,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "socket_keepalive": True,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if address.tls:
        options |= {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": address.ca,
            "ssl_certfile": address.cert,
            "ssl_keyfile": address.key,
        }
    if address.cluster:
        # That a connection was closed is only found out by using it, so a second try is needed. What moved is followed
        # without `reinitialize_steps`, which close the connections of calls under way.
        nodes = [ClusterNode(host, port) for host, port in address.nodes]
        options |= {"startup_nodes": nodes, "retry": Retry(NoBackoff(), 1), "reinitialize_steps": 0}
        return RedisCluster(max_connections=2 * _CONNECTIONS, ssl=address.tls, **options)
    (host, port), *_ = address.nodes
    options |= {"host": host, "port": port, "db": address.database, "retry": Retry(NoBackoff(), 0)}
    return Redis(max_connections=2 * _CONNECTIONS, ssl=address.tls, **options)


async def _retire(client: Any) -> None:
    """Close a client when the last of its calls has ended."""
    try:
        await asyncio.sleep(_PATIENCE)
    finally:
        await _close(client)


async def _close(client: Any) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            await client.aclose()
    except (TimeoutError, OSError, exceptions.RedisError):
        return


def _words(error: Exception) -> str:
    match error:
        case TimeoutError() | exceptions.TimeoutError():
            return "did not answer in time"
        case exceptions.AuthenticationError() | exceptions.NoPermissionError():
            return "refused the user or the password"
        case exceptions.OutOfMemoryError():
            return "is full"
        case exceptions.ReadOnlyError():
            return "is a replica, which cannot be written"
        case exceptions.BusyLoadingError() | exceptions.ClusterDownError() | exceptions.MasterDownError():
            return "is not ready"
        case exceptions.ConnectionError() | OSError() | exceptions.RedisClusterException():
            return "cannot be reached"
        case _:
            return f"failed: {type(error).__name__}"


def _optional(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def _name(kind: str, key: str) -> bytes:
    return f"vestibule:{kind}:{key}".encode("utf-8", "surrogatepass")


def _milliseconds(time: float) -> int:
    return max(round(time * 1e3), 1)


def _microseconds(time: float) -> int:
    return round(time * 1e6)
