"""Sends recorded requests again, byte for byte where the recording has the bytes, and says what came of each."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from ..engine import codings
from .record import Record

# What is told of the way to us, or written anew.
_LEFT = frozenset(
    {
        "host", "content-length", "transfer-encoding", "connection", "via", "forwarded", "x-forwarded-for",
        "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port",
    }
)  # fmt: skip
_MOST = 64
_OURS = (502, 503, 504)


class Sent(msgspec.Struct, frozen=True):
    """What came of a request: `status` now, or the `error` for which there is none."""

    id: str
    recorded: int | None
    status: int | None
    ms: float
    error: str | None = None
    # The request could not even be made.
    unsent: bool = False

    @property
    def told(self) -> str:
        return str(self.status) if self.status is not None else self.error or "no answer"

    @property
    def differs(self) -> bool:
        return self.status != self.recorded

    @property
    def blames_server(self) -> bool:
        """Say whether there is no answer, or one that says that the server failed where it did not before."""
        if self.unsent:
            return False
        return self.differs and (self.status is None or self.status in _OURS)

    def plain(self) -> Any:
        return msgspec.to_builtins(self)


class Resender:
    """Sends to one address; `headers` and `fills` take the place of what is recorded, by name."""

    def __init__(
        self, against: str, headers: Mapping[str, str], fills: Mapping[str, str], timeout: float, *, insecure: bool
    ) -> None:
        parts = urlsplit(against)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("--against is http://host[:port] or https://host[:port]")
        self._base = against.rstrip("/")
        self._headers = headers
        self._fills = [_Fill(name, value) for name, value in fills.items()]
        self._timeout = timeout
        self._tls: ssl.SSLContext | bool = True
        if insecure:
            self._tls = False

    async def run(
        self,
        records: list[Record],
        *,
        rate: float | None = None,
        speed: float | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> list[Sent]:
        """Send all: one after the other, or at a rate, or at the recorded times."""
        connector = aiohttp.TCPConnector(limit=_MOST, ssl=self._tls)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        async with session:

            async def send(record: Record) -> Sent:
                sent = await self._send(session, record)
                done()
                return sent

            if rate is None and speed is None:
                return [await send(record) for record in records]
            loop = asyncio.get_running_loop()
            begun, first = loop.time(), records[0].time
            tasks = []
            for number, record in enumerate(records):
                due = number / rate if rate is not None else (record.time - first) / (speed or 1)
                await asyncio.sleep(max(begun + due - loop.time(), 0))
                tasks.append(asyncio.create_task(send(record)))
            return list(await asyncio.gather(*tasks))

    async def _send(self, session: aiohttp.ClientSession, record: Record) -> Sent:
        request = record.request
        given = {name.lower() for name in self._headers}
        lines = [
            (name, self._filled(value) if name.lower() == "cookie" else value)
            for name, value in request.headers
            if name.lower() not in _LEFT | given
        ]
        lines += list(self._headers.items())
        content: bytes | None = None
        body = request.body
        if body is not None and body.size:
            if body.text is None:
                why = f"its body is not recorded: {body.why or 'it has no text'}"
                return Sent(record.id, record.status, None, 0.0, why, unsent=True)
            content = self._filled(body.text).encode()
            if body.coding is not None:
                content = codings.encode(content, body.coding)
        path, mark, query = request.target.partition("?")
        url = URL(f"{self._base}{path}{mark}{self._filled(query)}", encoded=True)
        begun = time.perf_counter()
        try:
            async with session.request(
                request.method, url, headers=lines, data=content, allow_redirects=False
            ) as response:
                await response.read()
                status = response.status
        except TimeoutError:
            return Sent(record.id, record.status, None, _since(begun), "no answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return Sent(record.id, record.status, None, _since(begun), f"no answer: {type(error).__name__}")
        except ValueError:
            return Sent(record.id, record.status, None, 0.0, "it cannot be sent as it is recorded", unsent=True)
        return Sent(record.id, record.status, status, _since(begun))

    def _filled(self, text: str) -> str:
        for fill in self._fills:
            text = fill.lay(text)
        return text


class _Fill:
    """Puts a value where a name has one that was replaced: in JSON, in a form or query, in a cookie."""

    def __init__(self, name: str, value: str) -> None:
        told = r"(?:redacted-[0-9a-f]{16}|9\d{14})"
        self._json = re.compile(rf'("{re.escape(name)}"\s*:\s*)("{told}"|{told}\b)')
        self._pair = re.compile(rf"((?:^|[&;]\s*){re.escape(quote(name, safe=''))}=){told}(?=[&;]|$)")
        self._value = value

    def lay(self, text: str) -> str:
        text = self._json.sub(lambda found: found[1] + self._member(found[2]), text)
        return self._pair.sub(lambda found: found[1] + quote(self._value, safe=""), text)

    def _member(self, told: str) -> str:
        """Write the value as what it replaces: a number stays one."""
        if told[0] != '"' and self._value.isdigit():
            return self._value
        return msgspec.json.encode(self._value).decode()


def _since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 3)
