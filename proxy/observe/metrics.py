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
    "bytes_received": ("Bytes of request bodies.", ()),
    "bytes_sent": ("Bytes of response bodies.", ()),
    "rule_runs": ("Exchanges in which a rule ran.", ("rule",)),
    "rule_outcomes": ("Exchanges that a rule denied, answered, failed or skipped.", ("rule", "outcome")),
    "denials": ("Denials by rule and code.", ("rule", "code")),
    "effects": ("Calls that rules made to the store, key sets and services, by result.", ("service", "result")),
    "worker_starts": ("Starts of workers.", ()),
}
HISTOGRAMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "own_seconds": ("Time that an exchange took beside that of the upstream.", ("operation",)),
    "upstream_seconds": ("Time until the upstream's answer was complete.", ("operation",)),
}
# In seconds, as all times that Prometheus keeps.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MOST = 1000
OTHER = "other"
_LONGEST = 100


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
        self._hung_up = counters["hung_up"]
        self._received, self._sent = counters["bytes_received"], counters["bytes_sent"]
        self._own, self._upstream = histograms["own_seconds"], histograms["upstream_seconds"]
        _add(counters["worker_starts"], ())

    def exchange(self, exchange: Exchange | None, facts: Facts) -> None:
        """Count an exchange, or with None a request that was none."""
        if exchange is None:
            _add(self._refused, (str(facts.status),))
            return
        verdict, rule = exchange.verdict, exchange.verdict.rule
        if verdict.by == "upstream":
            outcome = "forwarded" if facts.status else "unanswered"
        elif verdict.by == "proxy":
            outcome = "failed"
        else:
            outcome = "denied" if verdict.denies else "answered"
        operation = exchange.operation.name if exchange.operation is not None else ""
        _add(self._requests, (operation, outcome, str(facts.status)))
        if facts.received:
            _add(self._received, (), facts.received)
        if facts.sent:
            _add(self._sent, (), facts.sent)
        if facts.hung_up:
            _add(self._hung_up, ())
        for name in exchange.ran:
            _add(self._runs, (name,))
        if rule is not None:
            _add(self._outcomes, (rule, outcome))
            if outcome == "denied":
                _add(self._denials, (rule, verdict.code or ""))
        for note in exchange.notes:
            if note.kind == "skipped":
                _add(self._outcomes, (note.rule, "skipped"))
        upstream = facts.upstream
        if upstream is None:
            _observe(self._own, (operation,), facts.total / 1000)
        else:
            _observe(self._own, (operation,), (facts.total - upstream) / 1000)
            _observe(self._upstream, (operation,), upstream / 1000)

    def effect(self, service: str, result: str) -> None:
        """Count a call of a rule to a service: `ok`, `failed` or `late`."""
        self.services[service] = result == "ok"
        _add(self._effects, (service, result))


def _add(series: dict[tuple[str, ...], float], key: tuple[str, ...], amount: float = 1) -> None:
    if key in series:
        series[key] += amount
    else:
        key = _bounded(series, key)
        series[key] = series.get(key, 0) + amount


def _observe(series: dict[tuple[str, ...], list[float]], key: tuple[str, ...], value: float) -> None:
    found = series.get(key)
    if found is None:
        found = series.setdefault(_bounded(series, key), [0.0] * (len(BOUNDS) + 2))
    found[bisect_left(BOUNDS, value)] += 1
    found[-1] += value


def _bounded(series: Sized, key: tuple[str, ...]) -> tuple[str, ...]:
    if len(series) >= MOST or any(len(value) > _LONGEST for value in key):
        return (OTHER,) * len(key)
    return key
