"""The processes of a run: what each of them is given, and what it does until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..adapters.serving import start_all
from ..edge.cgroup import memory_limit, share_memory
from ..edge.entropy import Entropy
from ..edge.gateway import Gateway, Perform, Record, Tell
from ..edge.handover import Handover, Predecessor, name_admin
from ..edge.listener import share_descriptors
from ..edge.notify import ServiceManager
from ..edge.options import Bounds, Deadlines, Trust, Upstream
from ..edge.pulse import Pulse
from ..edge.reach import Reach
from ..edge.reload import Reloader, Rules, check
from ..edge.renewal import Renewal
from ..edge.server import Server, settle
from ..edge.workers import CREDENTIALS_REFUSED, RULES_REFUSED, Role, Supervisor, hear
from ..engine.message import Limits
from ..engine.ruleset import Ruleset
from ..language.compile import Options
from ..language.document import Source
from ..observe.board import Board, Credentials
from ..observe.health import ready_workers
from ..observe.log import Log, open_sink
from ..observe.metrics import Metrics
from ..observe.record_pipe import RecordPipe, RecordReader
from ..observe.trace import Traces
from ..services.pem import PemFiles
from ..services.secrets import Secrets
from ..settings import LEAST_MEMORY, Settings, is_loopback
from .credentials import ADMIN_TOKEN, TRACING_TOKEN, CredentialSource, store_contents, warn_of_ends
from .renewing import uses_of_admin, uses_of_worker
from .services import ChosenStore, count_effects, open_services

if TYPE_CHECKING:
    from ..admin.inspector.api import Inspector
    from ..engine.exchange import Exchange
    from ..observe.facts import Facts
    from ..observe.recorder import Recorder
    from ..observe.spans import Spans
    from .inspecting import Inspection
    from .recording import Recording

_new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
with contextlib.suppress(ImportError):
    import uvloop

    _new_loop = uvloop.new_event_loop
# How long workers may take to end after the time that a stop has.
_SLACK = 5.0
# How long the first look at the upstream may hold up the admin port of a run that replaces another.
_TRIED = 1.0


def make_rules(settings: Settings, secrets: Secrets) -> Rules:
    """Give what the rules of these settings are built with."""
    limits = settings.limits

    def options(packs: Callable[[str], Source | None]) -> Options:
        return Options(
            secrets=secrets.get,
            packs=packs,
            public_origin=settings.public_origin,
            allow_redirects=tuple(settings.allow_redirects),
            limits=Limits(limits.body_bytes, limits.decoded_bytes, limits.json_depth),
            need_secrets=True,
            targets=tuple(settings.served),
            upstream=settings.upstream.url is not None,
        )

    return Rules(tuple(settings.rules), options)


@dataclass(frozen=True, slots=True)
class Serving:
    """What the processes of a run have in common. `ruleset`, `credentials` and `tls` are those of the start."""

    settings: Settings
    rules: Rules
    ruleset: Ruleset
    url: str
    upstream: Upstream
    store: ChosenStore
    sockets: list[socket.socket]
    source: CredentialSource
    credentials: Credentials
    tls: ssl.SSLContext | None
    admin: socket.socket | None
    predecessor: Predecessor | None
    recording: Recording | None = None
    inspection: Inspection | None = None
    served: Mapping[str, str] = field(default_factory=dict)

    def run(self, *, watch: bool) -> None:
        """Serve until told to stop, and until everything has ended."""
        settings = self.settings
        board = Board(settings.workers)
        roles = [Role("worker", lambda slot, alive: self._work(board, slot, alive), settings.workers, serves=True)]
        if watch and (settings.rules or self.source.files or settings.secrets is not None):
            roles.append(Role("watcher", self._watch))
        if settings.handover is not None:
            roles.append(Role("handover", lambda _, alive: self._hand_over(board, alive)))
        if self.admin is not None:
            roles.append(Role("admin", lambda _, alive: self._administer(board, alive), last=True))
        warn_of_ends(self.credentials.contents, self._tell)
        settle()
        Supervisor(
            roles,
            board=board,
            check=lambda: self._check(board),
            sockets=self.sockets,
            grace=settings.drain_delay + settings.drain + _SLACK,
            hang=settings.hang,
            tell=self._tell,
            manager=ServiceManager.of(os.environ),
        ).run()

    def _open_log(self) -> Log:
        return Log(open_sink(self.settings.log.to), self.settings.log.level)

    def _tell(self, level: str, event: str, **fields: Any) -> None:
        """Write a line for the supervisor, which keeps no thread: it forks."""
        log = self._open_log()
        log.event(level, event, **fields)
        log.close()

    def _check(self, board: Board) -> int:
        self._let_go()
        # Many rules leave little garbage, and this process ends with their check.
        gc.disable()
        log = self._open_log()
        try:
            # A hostile rule file may be the end of this process.
            certified = self.source.check(board, self.credentials, log.event)
            ruled = check(self.rules, board, log.event, self.ruleset.revision)
            return (0 if ruled else RULES_REFUSED) | (0 if certified else CREDENTIALS_REFUSED)
        finally:
            log.close()

    def _let_go(self) -> None:
        """Close what only workers listen on: who holds it without accepting keeps clients waiting for nobody."""
        for sock in self.sockets:
            sock.close()

    def _watch(self, _: int, alive: int) -> None:
        from ..edge.watching import watch

        self._let_go()
        settings, supervisor = self.settings, os.getppid()

        async def run(log: Log) -> None:
            stop = asyncio.Event()
            hear(asyncio.get_running_loop(), alive, stop.set, lambda: None)

            def changed() -> None:
                os.kill(supervisor, signal.SIGHUP)

            def began() -> None:
                log.event("info", "watching")
                if self.rules.revision() != self.ruleset.revision or self.source.differs(self.credentials):
                    # They changed while the run was starting.
                    changed()

            task = asyncio.create_task(
                watch(settings.rules, changed, log.event, began, files=self.source.files, folder=settings.secrets)
            )
            await stop.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._loop(run)

    def _hand_over(self, board: Board, alive: int) -> None:
        supervisor = os.getppid()

        async def run(_: Log) -> None:
            loop, stop = asyncio.get_running_loop(), asyncio.Event()
            hear(loop, alive, stop.set, lambda: None)
            if not await self._until_ready(board, stop):
                return
            sockets = dict(zip(self.settings.listens, self.sockets, strict=True))
            if self.admin is not None:
                sockets[name_admin(str(self.settings.admin.listen))] = self.admin
            Handover(
                str(self.settings.handover),
                sockets,
                loop=loop,
                replaced=lambda: os.kill(supervisor, signal.SIGUSR2),
            )
            if self.predecessor is not None:
                self.predecessor.release()
            await stop.wait()

        self._loop(run)

    async def _until_ready(self, board: Board, stop: asyncio.Event) -> bool:
        """Wait until all workers are ready; False when it is told to stop before."""
        while len(ready_workers(board.run(), board.workers())) < self.settings.workers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.05)
                return False
        return True

    def _administer(self, board: Board, alive: int) -> None:
        from ..admin.app import make_app, serve
        from ..admin.guard import Admission

        self._let_go()
        admin = self.admin
        if admin is None:
            raise RuntimeError("there is no admin port")
        given = self.settings.admin

        async def run(log: Log) -> None:
            reach = Reach(self.upstream if self.url else None, board, log.event)
            admission = Admission(self.credentials.text(ADMIN_TOKEN))
            app = make_app(
                board,
                reach,
                admission,
                needed=given.ready == "upstream" and bool(self.url),
                loopback=is_loopback(str(given.listen)),
                inspector=self._inspect(board, reach),
            )

            renewal = Renewal(board, self.credentials, uses_of_admin(admission, reach), log.event)

            async def begin(stop: asyncio.Event) -> None:
                # Until this run is ready, the one before answers on the same socket, and says that it is.
                if self.predecessor is not None and await self._until_ready(board, stop):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reach.tried.wait(), _TRIED)

            await serve(app, admin, alive, log.event, begin, renewal.take)

        self._loop(run)

    def _inspect(self, board: Board, reach: Reach) -> Inspector | None:
        """Make the inspector, and let records come to it from now on."""
        if self.inspection is None:
            return None
        from ..admin.inspector.api import Inspector

        inspector = Inspector(
            self.inspection.given(self.settings, store=self.store.shown, upstream=self.url), board, reach
        )
        RecordReader(self.inspection.ends[0], asyncio.get_running_loop(), inspector.ring.take)
        return inspector

    def _work(self, board: Board, slot: int, alive: int) -> None:
        if self.admin is not None:
            self.admin.close()
        self._loop(lambda log: self._serve(board, slot, alive, log))

    def _loop(self, main: Callable[[Log], Coroutine[Any, Any, None]]) -> None:
        """Run on uvloop where it is there."""
        log = self._open_log()
        try:
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(main(log))
        finally:
            log.close()

    async def _serve(self, board: Board, slot: int, alive: int, log: Log) -> None:
        settings = self.settings
        ruleset, generation = self._current(board, log)
        metrics = Metrics(board.worker(slot).series)
        limits, upstream = settings.limits, self.upstream
        most, upstreams = share_descriptors(limits.connections, upstream.connections)
        if most < limits.connections or upstreams < upstream.connections:
            log.event("warning", "few-descriptors", connections=most, upstream_connections=upstreams)
            upstream = replace(upstream, connections=upstreams)
        store_files = PemFiles(store_contents(self.credentials))
        services = open_services(self.store, store_files, self.url, upstream, longest=limits.deadlines.total)

        spans = self._spans(log)

        def record(exchange: Exchange | None, facts: Facts) -> None:
            log.exchange(exchange, facts)
            metrics.exchange(exchange, facts)
            if spans is not None:
                spans.exchange(exchange, facts)

        perform = count_effects(services.perform, metrics)
        memory = choose_memory(limits.memory, memory_limit(), settings.workers, log.event)
        recorder = self._open_recorder(log, lambda: renewal.used.tokens)
        gateway = make_gateway(
            settings, ruleset, upstream, record, perform, log.event, memory=memory, recorder=recorder
        )
        beside = await start_all(gateway, self.served, most=most)
        server = Server(
            gateway,
            self.sockets,
            tls=self.tls,
            most=most,
            delay=settings.drain_delay,
            drain=settings.drain,
            tell=log.event,
            beside=beside,
        )
        uses = uses_of_worker(server, gateway, services, store_files, spans)
        renewal = Renewal(board, self.credentials, uses, log.event)
        # One that starts after a reload has what the others have, or does not serve.
        await renewal.take()
        pulse = Pulse(
            gateway,
            metrics,
            board,
            slot,
            totals=lambda: {
                "log_lines_dropped": log.sink.lost,
                **(spans.totals() if spans is not None else {}),
                **({"records_lost": recorder.lost} if recorder is not None else {}),
            },
            gauges=services.gauges,
            generation=generation,
            renewal=renewal,
        )
        reloader = Reloader(gateway, pulse, renewal, board=board, rules=self.rules, tell=log.event)

        def ready() -> None:
            hear(gateway.loop, alive, server.stop, reloader.request)
            pulse.ready = True
            pulse.tell()
            # A reload may have come between the first look at the board and now.
            reloader.request()

        try:
            await server.serve(ready, pulse.tell)
        finally:
            pulse.close()
            await services.close()
            store_files.close()
            if recorder is not None:
                recorder.close()
            if spans is not None:
                spans.close()

    def _spans(self, log: Log) -> Spans | None:
        given = self.settings.tracing
        if given.endpoint is None:
            return None
        from ..observe.spans import Spans

        upstream = (self.upstream.host, self.upstream.port)
        token = self.credentials.text(TRACING_TOKEN)
        return Spans(given.endpoint, service=given.service, upstream=upstream, tell=log.event, token=token)

    def _open_recorder(self, log: Log, tokens: Callable[[], frozenset[str]]) -> Recorder | None:
        if self.recording is None:
            return None
        if self.inspection is None:
            return self.recording.open(log.event, tokens)
        return self.recording.open(log.event, tokens, RecordPipe(self.inspection.ends[1], asyncio.get_running_loop()))

    def _current(self, board: Board, log: Log) -> tuple[Ruleset, int]:
        """Give the rules of the last reload, to a worker that starts after it; without one those of the start."""
        texts = board.rules()
        if not texts.generation:
            return self.ruleset, 0
        built = self.rules.rebuild(texts)
        if built.ruleset is None:
            # The rules of the start may let in whom the last ones keep out.
            log.event("error", "rules-lost", problems=len(built.problems.errors))
            raise RuntimeError("the rules of the last reload cannot be built")
        return built.ruleset, texts.generation


def choose_memory(given: int | None, limit: int | None, workers: int, tell: Tell) -> int:
    """Give the memory of each worker: what is given, else its share of the container's limit, else 0 for no cap."""
    if given is not None or limit is None:
        return given or 0
    share = share_memory(limit, workers)
    if share < LEAST_MEMORY:
        tell("warning", "little-memory", limit=limit, workers=workers, cap=LEAST_MEMORY)
    return max(share, LEAST_MEMORY)


def make_gateway(
    settings: Settings,
    ruleset: Ruleset,
    upstream: Upstream,
    record: Record,
    perform: Perform,
    tell: Tell,
    *,
    memory: int,
    recorder: Recorder | None = None,
) -> Gateway:
    """Turn the settings into the data plane of a worker."""
    limits = settings.limits
    entropy = Entropy()
    return Gateway(
        ruleset,
        upstream,
        loop=asyncio.get_running_loop(),
        clock=time.time,
        entropy=entropy,
        record=record,
        perform=perform,
        limits=Limits(limits.body_bytes, limits.decoded_bytes, limits.json_depth),
        bounds=Bounds(
            head=limits.header_bytes,
            headers=limits.header_count,
            target=limits.target_bytes,
            stream=limits.stream_bytes,
            connections=limits.connections,
            memory=memory,
        ),
        deadlines=Deadlines(
            header=limits.deadlines.header,
            body=limits.deadlines.body,
            idle=limits.deadlines.idle,
            stall=limits.deadlines.stall,
            total=limits.deadlines.total,
        ),
        trust=Trust(
            proxies=tuple(ipaddress.ip_network(text) for text in settings.trusted_proxies),
            hosts=frozenset(settings.hosts),
        ),
        tell=tell,
        recorder=recorder,
        traces=Traces(settings.tracing.ratio, entropy) if settings.tracing.endpoint is not None else None,
    )
