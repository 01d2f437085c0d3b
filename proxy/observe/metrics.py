"""What a worker counts: plain numbers, cheap enough for every exchange, and never a byte of a message.

Labels are names that the operator's files give, statuses, and words of ours. However often rules are renamed, a family
has at most so many series; what is beyond is counted under `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sized
from typing import TYPE_CHECKING

from .board import Series

if TYPE_CHECKING:
    from ..engine.exchange import Exchange
    from .facts import Facts

# family -> (help, labels)
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "requests": ("Exchanges by operation, outcome and status.", ("operation", "outcome", "status")),
    "refused": ("Requests that were none, by the status they got.", ("status",)),
    "hung_up": ("Exchanges whose client left before the end.", ()),
    "received_bytes": ("Bytes of request bodies.", ()),
    "sent_bytes": ("Bytes of response bodies.", ()),
    "rule_runs": ("Exchanges in which a rule ran.", ("rule",)),
    "rule_outcomes": ("Exchanges that a rule denied, answered, suspended, failed or skipped.", ("rule", "outcome")),
    "denials": (
        "Denials by rule, action and code; a code that a rule makes from a message is `other`.",
        ("rule", "action", "code"),
    ),
    "returns": ("Exchanges that came back from a suspension, by outcome.", ("outcome",)),
    "effects": ("Calls that rules made to the store, key sets and services, by result.", ("service", "result")),
    "connections_taken": ("Client connections that were taken.", ()),
    "upstream_connections_made": ("Connections to the upstream that were made.", ()),
    "upstream_connections_failed": ("Connections to the upstream that could not be made.", ()),
    "cpu_seconds": ("CPU time of the workers.", ()),
    "log_lines_dropped": ("Lines of the log that were dropped.", ()),
    "spans_made": ("Spans that were made, where tracing is on.", ()),
    "spans_sent": ("Spans that the collector took.", ()),
    "spans_lost": ("Spans that the collector did not take.", ()),
    "records_lost": ("Exchanges that were to be recorded and are not.", ()),
    "worker_starts": ("Starts of workers.", ()),
}
HISTOGRAMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "own_seconds": ("Time that an exchange took beside that of the upstream.", ("operation",)),
    "upstream_seconds": ("Time until the upstream's answer was complete.", ("operation",)),
    "effect_seconds": ("Time that a rule's call to the store, a key set or a service took.", ("service",)),
}
# In seconds, as all times that Prometheus keeps.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MOST = 1000
OTHER = "other"
_LONGEST = 100


_Counters = dict[tuple[str, ...], float]


class _Kind:
    """Where exchanges are counted that have operation, outcome, status, rules and code in common."""

    __slots__ = ("counters", "own", "upstream")

    def __init__(
        self, counters: list[tuple[_Counters, tuple[str, ...]]], own: list[float], upstream: list[float]
    ) -> None:
        self.counters = counters
        self.own = own
        self.upstream = upstream


class Metrics:
    """The counts of one worker, taken up where one before it left them."""

    def __init__(self, series: Series | None = None) -> None:
        self.series = series or Series()
        # Whether the last call to each service worked.
        self.services: dict[str, bool] = {}
        for name in COUNTERS:
            self.series.counters.setdefault(name, {})
        for name in HISTOGRAMS:
            self.series.histograms.setdefault(name, {})
        counters, histograms = self.series.counters, self.series.histograms
        self._requests, self._refused = counters["requests"], counters["refused"]
        self._runs, self._outcomes = counters["rule_runs"], counters["rule_outcomes"]
        self._denials, self._effects = counters["denials"], counters["effects"]
        self._returns, self._hung_up = counters["returns"], counters["hung_up"]
        self._received, self._sent = counters["received_bytes"], counters["sent_bytes"]
        self._own, self._upstream = histograms["own_seconds"], histograms["upstream_seconds"]
        self._effect_times = histograms["effect_seconds"]
        self._kinds: dict[tuple[str, str, int, tuple[str, ...], str | None, str | None, str | None], _Kind] = {}
        self._totals: dict[str, float] = {}
        _add(counters["worker_starts"], ())

    def exchange(self, exchange: Exchange | None, facts: Facts) -> None:
        """Count an exchange, or with None a request that was none."""
        if exchange is None:
            _add(self._refused, (str(facts.status),))
            return
        verdict = exchange.verdict
        if verdict.by == "upstream":
            outcome = "forwarded" if facts.status else "unanswered"
        elif verdict.by == "proxy":
            outcome = "failed"
        elif verdict.suspends:
            outcome = "suspended"
        else:
            outcome = "denied" if verdict.denies else "answered"
        operation = exchange.operation.name if exchange.operation is not None else ""
        code = OTHER if verdict.varies else verdict.code
        kind = (operation, outcome, facts.status, tuple(exchange.ran), verdict.rule, verdict.action, code)
        counted = self._kinds.get(kind)
        if counted is None:
            counted = self._kind(*kind)
        for series, key in counted.counters:
            series[key] += 1
        if facts.received:
            _add(self._received, (), facts.received)
        if facts.sent:
            _add(self._sent, (), facts.sent)
        if facts.hung_up:
            _add(self._hung_up, ())
        if exchange.continues is not None:
            _add(self._returns, (outcome,))
        for note in exchange.notes:
            if note.kind == "skipped":
                _add(self._outcomes, (note.rule, "skipped"))
        upstream = facts.upstream
        if upstream is None:
            _observe(counted.own, facts.total / 1000)
        else:
            _observe(counted.own, (facts.total - upstream) / 1000)
            _observe(counted.upstream, upstream / 1000)

    def _kind(
        self,
        operation: str,
        outcome: str,
        status: int,
        ran: tuple[str, ...],
        rule: str | None,
        action: str | None,
        code: str | None,
    ) -> _Kind:
        """Find what exchanges of a kind are counted under."""
        wanted: list[tuple[_Counters, tuple[str, ...]]] = [
            (self._requests, (operation, outcome, str(status))),
            *((self._runs, (name,)) for name in ran),
        ]
        if rule is not None:
            wanted.append((self._outcomes, (rule, outcome)))
            if outcome == "denied":
                wanted.append((self._denials, (rule, action or "", code or "")))
        counters = []
        for series, key in wanted:
            found = key if key in series else _bounded(series, key)
            series.setdefault(found, 0)
            counters.append((series, found))
        if len(self._kinds) >= MOST:
            self._kinds.clear()
        made = _Kind(counters, _histogram(self._own, (operation,)), _histogram(self._upstream, (operation,)))
        self._kinds[(operation, outcome, status, ran, rule, action, code)] = made
        return made

    def effect(self, service: str, result: str, seconds: float) -> None:
        """Count a call of a rule to a service: `ok`, `failed` or `late`."""
        self.services[service] = result == "ok"
        _add(self._effects, (service, result))
        _observe(_histogram(self._effect_times, (service,)), seconds)

    def advance(self, name: str, total: float) -> None:
        """Count what this process has counted elsewhere since it began."""
        _add(self.series.counters[name], (), total - self._totals.get(name, 0.0))
        self._totals[name] = total


def _add(series: dict[tuple[str, ...], float], key: tuple[str, ...], amount: float = 1) -> None:
    if key in series:
        series[key] += amount
    else:
        key = _bounded(series, key)
        series[key] = series.get(key, 0) + amount


def _histogram(series: dict[tuple[str, ...], list[float]], key: tuple[str, ...]) -> list[float]:
    """Give the buckets of a key, and their sum behind them."""
    found = series.get(key)
    if found is None:
        found = series.setdefault(_bounded(series, key), [0.0] * (len(BOUNDS) + 2))
    return found


def _observe(buckets: list[float], value: float) -> None:
    buckets[bisect_left(BOUNDS, value)] += 1
    buckets[-1] += value


def _bounded(series: Sized, key: tuple[str, ...]) -> tuple[str, ...]:
    if len(series) >= MOST or any(len(value) > _LONGEST for value in key):
        return (OTHER,) * len(key)
    return key
