"""The spans of exchanges, for OpenTelemetry: one as a server, and one as a client where the upstream was asked.

Imported only where tracing is on. A span is made when its exchange is over, from what the log knows of it; a thread of
the SDK sends them in batches, and what it cannot send in time is dropped. No header, body or query is in a span.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from .. import __version__
from ..engine.exchange import Exchange
from . import redact
from .facts import Facts
from .trace import Trace

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_QUEUE, _BATCH, _INTERVAL_MS = 4096, 512, 1000
# A stop does not wait longer for a collector.
_LAST = 2.0
_TIMEOUT = 5.0


class _Exporter(SpanExporter):
    """Sends spans and counts them; the operator hears when that begins to fail, and when it works again."""

    def __init__(self, inner: SpanExporter, tell: Callable[..., None]) -> None:
        self._inner = inner
        self._tell = tell
        self._works = True
        self.sent = self.lost = 0

    def renew(self, inner: SpanExporter) -> None:
        """Send by another exporter from now on."""
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        works = result is SpanExportResult.SUCCESS
        if works:
            self.sent += len(spans)
        else:
            self.lost += len(spans)
        if works is not self._works:
            self._works = works
            self._tell("info" if works else "error", "tracing-works" if works else "tracing-failed")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class Spans:
    """Makes the spans of one worker and sends them to `endpoint`, the address of an OTLP/HTTP receiver for traces."""

    def __init__(
        self,
        endpoint: str,
        *,
        service: str,
        upstream: tuple[str, int],
        tell: Callable[..., None],
        token: str | None = None,
    ) -> None:
        # What the library says may hold anything that a collector answered; what matters is told through `tell`.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._endpoint = endpoint
        self._exporter = _Exporter(self._sender(token), tell)
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=_QUEUE,
            max_export_batch_size=_BATCH,
            schedule_delay_millis=_INTERVAL_MS,
        )
        self._resource = Resource.create({"service.name": service, "service.version": __version__})
        self._scope = InstrumentationScope("vestibule", __version__)
        self._upstream = upstream
        self._made = 0

    def _sender(self, token: str | None) -> SpanExporter:
        headers = {"Authorization": f"Bearer {token}"} if token else None
        return OTLPSpanExporter(endpoint=self._endpoint, headers=headers, timeout=_TIMEOUT)

    def renew(self, token: str | None) -> None:
        """Give the collector this token from now on."""
        self._exporter.renew(self._sender(token))

    def totals(self) -> dict[str, float]:
        """Give what was counted, by the names of metrics."""
        return {"spans_made": self._made, "spans_sent": self._exporter.sent, "spans_lost": self._exporter.lost}

    def exchange(self, exchange: Exchange | None, facts: Facts) -> None:
        """Make the spans of an exchange that is over, if its trace is sampled."""
        trace = facts.trace
        if exchange is None or trace is None or not trace.sampled:
            return
        end = time.time_ns()
        start = end - _nanoseconds(facts.total)
        self._send(self._server(exchange, facts, trace, start, end))
        if facts.asked is not None:
            self._send(self._client(exchange, facts, trace, start, end))

    def close(self) -> None:
        """Send what is waiting, for a moment."""
        last = threading.Thread(target=self._processor.shutdown, daemon=True)
        last.start()
        last.join(_LAST)

    def _send(self, span: ReadableSpan) -> None:
        self._made += 1
        self._processor.on_end(span)

    def _server(self, exchange: Exchange, facts: Facts, trace: Trace, start: int, end: int) -> ReadableSpan:
        verdict, method = exchange.verdict, _method(facts.method)
        route = exchange.operation.name if exchange.operation is not None else next(iter(exchange.ran), None)
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "url.scheme": exchange.request.scheme,
            "url.path": redact.text((facts.target or "").partition("?")[0]),
            "client.address": exchange.request.ip or facts.client,
            "vestibule.rules": tuple(exchange.ran),
            "vestibule.correlation_id": redact.text(exchange.correlation),
        }
        if route is not None:
            attributes["http.route"] = route
        error = _error(facts, 500)
        cause = verdict.cause or facts.error
        told: dict[str, Any] = {"vestibule.by": verdict.by}
        for name, value in (
            ("rule", verdict.rule),
            ("step", verdict.step),
            ("action", verdict.action),
            ("code", None if verdict.varies else verdict.code),
            ("cause", cause),
        ):
            if value is not None:
                told[f"vestibule.{name}"] = redact.text(value)
        return self._span(
            method if route is None else f"{method} {route}",
            trace,
            (trace.server, trace.parent),
            SpanKind.SERVER,
            {**attributes, **_outcome(facts.status, error)},
            error,
            (start, end),
            (Event("vestibule.verdict", told, end),),
        )

    def _client(self, exchange: Exchange, facts: Facts, trace: Trace, start: int, end: int) -> ReadableSpan:
        host, port = self._upstream
        method = _method(exchange.request.method)
        begun = start + _nanoseconds(facts.asked or 0.0)
        over = begun + _nanoseconds(facts.upstream) if facts.upstream is not None else end
        status = facts.heard
        error = str(status) if status >= 400 else None if status else _error(facts, 500) or "no_answer"
        attributes = {"http.request.method": method, "server.address": host, "server.port": port}
        return self._span(
            method,
            trace,
            (trace.client, trace.server),
            SpanKind.CLIENT,
            {**attributes, **_outcome(status, error)},
            error,
            (begun, min(over, end)),
        )

    def _span(
        self,
        name: str,
        trace: Trace,
        ids: tuple[str, str],
        kind: SpanKind,
        attributes: dict[str, Any],
        error: str | None,
        times: tuple[int, int],
        events: Sequence[Event] = (),
    ) -> ReadableSpan:
        own, parent = ids
        return ReadableSpan(
            name,
            _context(trace, own, remote=False),
            _context(trace, parent, remote=kind is SpanKind.SERVER) if parent else None,
            self._resource,
            attributes,
            events,
            kind=kind,
            status=Status(StatusCode.ERROR if error is not None else StatusCode.UNSET),
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )


def _context(trace: Trace, span: str, *, remote: bool) -> SpanContext:
    return SpanContext(int(trace.id, 16), int(span, 16), remote, TraceFlags(trace.flags))


def _nanoseconds(milliseconds: float) -> int:
    return int(milliseconds * 1_000_000)


def _method(method: str | None) -> str:
    return method if method in _METHODS else "_OTHER"


def _error(facts: Facts, least: int) -> str | None:
    """Say what kind of error it was: a status, or that there was no answer at all."""
    if facts.status >= least:
        return str(facts.status)
    if facts.status:
        return None
    return "client_left" if facts.hung_up else "cut_off"


def _outcome(status: int, error: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"http.response.status_code": status} if status else {}
    return found if error is None else {**found, "error.type": error}
