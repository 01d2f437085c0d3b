"""What the pages ask: exchanges, rules, health, trials. All of it needs the token, where there is one.

What changes nothing is a GET; what takes a body takes JSON alone, from a page of this address alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from ...edge.reach import Reach
from ...observe.board import Board, RuleTexts, Text
from ...observe.record import decode
from ..visits import Visit
from .feed import Feed
from .health import health
from .ring import Ring
from .rulebook import Rulebook, algorithm_of
from .trial import Job, Result, RuleInputs
from .trials import BusyError, Trials

_Body = TypeVar("_Body", bound=msgspec.Struct)

PREFIX = "/inspect/api/"
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Inspecting:
    """What the inspector of a run is given.

    `most` is how many exchanges it keeps; `start` are the rules of the start; `secret` gives an operator's secret, of
    which only the kind of key is looked at; `store` is how the store is told to the operator;
    `folder` is where a test file of the rules stands, `rules_at` what they are called there.
    """

    most: int
    start: RuleTexts
    secret: Callable[[str], str | None] = field(repr=False)
    public_origin: str | None = None
    allow_redirects: tuple[str, ...] = ()
    limits: tuple[int, int, int] | None = None
    folder: str = "."
    rules_at: tuple[str, ...] = ()
    store: str = ""
    upstream: str = ""


class TryBody(msgspec.Struct):
    """What is tried: a request, and the answers of others, as a case of a test file has them; and edited rule files."""

    request: dict[str, Any]
    upstream: dict[str, Any] | None = None
    lookups: list[dict[str, Any]] = []
    sources: dict[str, str] = {}


class Inspector:
    """The inspector of a run, in the process of its admin port."""

    def __init__(self, given: Inspecting, board: Board, reach: Reach) -> None:
        self.given = given
        self.board = board
        self.reach = reach
        self.ring = Ring(given.most)
        self.feed = Feed(self.ring)
        self.rulebook = Rulebook(board, given.start)
        self.trials = Trials(lambda name: algorithm_of(given.secret(name)))

    def add_to(self, app: web.Application) -> None:
        """Serve what the pages ask."""
        add = app.router.add_get
        add(PREFIX + "stream", self._stream)
        add(PREFIX + "exchanges", self._exchanges)
        add(PREFIX + "exchanges/{n:[0-9]{1,12}}", self._exchange)
        add(PREFIX + "exchanges/{n:[0-9]{1,12}}/trace", self._trace)
        add(PREFIX + "exchanges/{n:[0-9]{1,12}}/case", self._case)
        add(PREFIX + "rules", self._rules)
        add(PREFIX + "health", self._health)
        app.router.add_post(PREFIX + "try", self._try)
        app.on_shutdown.append(self.feed.close)
        app.on_cleanup.append(self._close)

    async def _close(self, _: web.Application) -> None:
        await self.trials.close()

    # Exchanges

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.feed.full:
            raise web.HTTPServiceUnavailable(text="too many pages listen\n")
        return await self.feed.serve(request, _number(request, "after"))

    async def _exchanges(self, request: web.Request) -> web.Response:
        most = _number(request, "most") or self.given.most
        rows = b",".join(self.ring.rows(_number(request, "after"), most))
        body = b'{"first":%d,"last":%d,"most":%d,"rows":[%b]}' % (
            self.ring.first,
            self.ring.last,
            self.given.most,
            rows,
        )
        return web.Response(body=body, content_type=_JSON)

    def _line(self, request: web.Request) -> bytes:
        line = self.ring.line(int(request.match_info["n"]))
        if line is None:
            raise web.HTTPNotFound(text="this exchange is not kept any more\n")
        return line

    async def _exchange(self, request: web.Request) -> web.Response:
        return web.Response(body=self._line(request), content_type=_JSON)

    async def _trace(self, request: web.Request) -> web.Response:
        job = Job("explain", self._inputs(), record=decode(self._line(request)))
        return _told(await self._run(request, job))

    async def _case(self, request: web.Request) -> web.Response:
        job = Job("save", self._inputs(), record=decode(self._line(request)), rules_at=list(self.given.rules_at))
        result = await self._run(request, job)
        if result.yaml is None:
            raise web.HTTPUnprocessableEntity(text=f"{result.refused}\n")
        name = f'attachment; filename="exchange-{request.match_info["n"]}.test.yaml"'
        return web.Response(
            body=result.yaml.encode(),
            headers={"Content-Type": "application/yaml; charset=utf-8", "Content-Disposition": name},
        )

    # Rules

    async def _rules(self, _: web.Request) -> web.Response:
        texts = self.rulebook.texts()
        rules = await asyncio.to_thread(self.rulebook.rules, self.ring)
        sources = [{"name": source.name, "text": source.text} for source in texts.sources]
        return _told(
            {
                "revision": texts.revision,
                "now": time.time(),
                "rules": rules,
                "sources": sources,
                "folder": self.given.folder,
            }
        )

    async def _try(self, request: web.Request) -> web.Response:
        body = await _read(request, TryBody)
        inputs = self._inputs()
        known = {source.name for source in inputs.texts.sources}
        if unknown := body.sources.keys() - known:
            raise web.HTTPUnprocessableEntity(text=f"there is no rule file {min(unknown)}\n")
        inputs.texts.sources = [
            Text(source.name, body.sources.get(source.name, source.text)) for source in inputs.texts.sources
        ]
        case: dict[str, Any] = {"request": body.request, "lookups": body.lookups}
        if body.upstream is not None:
            case["upstream"] = body.upstream
        return _told(await self._run(request, Job("explain", inputs, case=case)))

    def _inputs(self) -> RuleInputs:
        texts = self.rulebook.texts()
        copied = RuleTexts(texts.generation, texts.revision, list(texts.sources), texts.packs)
        given = self.given
        return RuleInputs(copied, given.public_origin, list(given.allow_redirects), given.limits)

    async def _run(self, request: web.Request, job: Job) -> Result:
        if isinstance(request.protocol, Visit):
            # Trials end by themselves, and few wait for one.
            request.protocol.stay()
        try:
            return await self.trials.run(job)
        except BusyError:
            raise web.HTTPServiceUnavailable(text="others try something; ask again\n") from None

    # Health

    async def _health(self, _: web.Request) -> web.Response:
        told = health(self.board, reached=self.reach.holds, ring=self.ring)
        return _told({**told, "store": self.given.store, "upstream": self.given.upstream})


def _told(data: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), content_type=_JSON)


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise web.HTTPBadRequest(text=f"`{name}` is a number\n")
    return int(text)


async def _read(request: web.Request, kind: type[_Body]) -> _Body:
    """Read a body of JSON that a page of this address sent: another origin cannot send this type unasked."""
    if request.content_type != _JSON:
        raise web.HTTPUnsupportedMediaType(text="the body is JSON\n")
    if request.headers.get("Origin") is None:
        # That it is the right one the guard has seen.
        raise web.HTTPForbidden(text="say where you come from: Origin\n")
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        words = str(error) if isinstance(error, msgspec.ValidationError) else "this is no JSON"
        raise web.HTTPUnprocessableEntity(text=f"{words}\n") from None
