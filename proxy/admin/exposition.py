"""The metrics of a run in the formats of Prometheus: the sums of all workers, also of those that have died."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from .. import __version__
from ..observe.board import Board, RunState, WorkerState
from ..observe.health import ready_workers, reasons_against
from ..observe.metrics import BOUNDS, COUNTERS, HISTOGRAMS

if TYPE_CHECKING:
    from typing import TypeAlias

PREFIX = "vestibule_"
_UNITS = ("seconds", "bytes")
_Values: TypeAlias = "Mapping[tuple[str, ...], float]"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric as it is told: its type, what it says, and the names of its labels."""

    kind: str
    text: str
    labels: tuple[str, ...] = ()

    def told(self, name: str) -> str:
        """Give the name that a query has; that of a histogram goes on with `_bucket`, `_count` or `_sum`."""
        return PREFIX + name + {"counter": "_total", "info": "_info"}.get(self.kind, "")


# gauge -> (what it says, whether the workers' values are added up; else the greatest counts)
_GAUGES: dict[str, tuple[str, bool]] = {
    "connections": ("Client connections that are open.", True),
    "connections_most": ("Client connections that may be open.", True),
    "exchanges": ("Exchanges under way.", True),
    "pool_open": ("Connections to the upstream.", True),
    "pool_idle": ("Connections to the upstream that wait for a request.", True),
    "pool_waiting": ("Requests that wait for a connection to the upstream.", True),
    "pool_connections_most": ("Connections to the upstream that may be open.", True),
    "pool_waiting_most": ("Requests that may wait for a connection to the upstream.", True),
    "memory_resident_bytes": ("Resident memory of the workers.", True),
    "memory_most_bytes": ("Resident memory that the workers may have; 0 is no cap.", True),
    "memory_bodies_bytes": ("Bodies that are kept in memory.", True),
    "memory_short": ("Workers that are short of memory: they answer 503.", True),
    "key_sets": ("Key sets that are known to the worker that knows most.", False),
    "key_sets_failing": ("Key sets whose last fetch failed, on the worker with most of them.", False),
    "loop_stall_seconds": ("Longest stall of an event loop since its worker began.", False),
}
# What is told of the run as a whole.
_RUN: dict[str, Family] = {
    "ready": Family("gauge", "Whether requests should come here."),
    "upstream_up": Family("gauge", "Whether the upstream can be reached."),
    "start_time_seconds": Family("gauge", "When the run began."),
    "workers": Family("gauge", "Workers by state: `configured`, `ready`.", ("state",)),
    "worker_deaths": Family("counter", "Workers that died and were replaced."),
    "build": Family("info", "What runs.", ("version",)),
    "reloads": Family("counter", "Reloads by result: `taken`, or `refused` as a whole or in part.", ("result",)),
    "rules_reload_ok": Family("gauge", "Whether the last reload took the rules."),
    "credentials_reload_ok": Family("gauge", "Whether the last reload took certificates, keys and tokens."),
    "certificate_expiry_time_seconds": Family(
        "gauge",
        "When a certificate of ours ends, on the worker where it ends first: `tls` is the one that clients see, "
        "`upstream.tls` the upstream, `store` the store.",
        ("setting",),
    ),
    "rules_taken_time_seconds": Family("gauge", "When the rules that are served were taken."),
    "rules": Family("gauge", "Rules that are served."),
    "rules_version": Family("gauge", "Workers by the version of their rules.", ("revision",)),
    "service_up": Family("gauge", "Whether the last call to a service worked, on every worker.", ("service",)),
}
# Every metric there is, by its name without the prefix.
FAMILIES: dict[str, Family] = {
    **{name: Family("counter", text, labels) for name, (text, labels) in COUNTERS.items()},
    **{name: Family("histogram", text, labels) for name, (text, labels) in HISTOGRAMS.items()},
    **{name: Family("gauge", text) for name, (text, _) in _GAUGES.items()},
    **_RUN,
}
# Workers tell of themselves no more often.
_KEPT = 0.25
# With very many series a page takes a while to write: the rest of the time is for probes.
_REST = 3


@dataclass(frozen=True, slots=True)
class Format:
    """A format of the page, and what writes it."""

    content_type: str
    write: Callable[[CollectorRegistry], bytes]


TEXT = Format("text/plain; version=0.0.4; charset=utf-8", generate_latest)
OPENMETRICS = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", openmetrics.generate_latest)


def negotiate(accept: str) -> Format:
    """Choose the format that an Accept header prefers; OpenMetrics only where it is named."""
    asked, other = 0.0, 0.0
    for part in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = next((_weight(word[2:]) for word in parameters if word.startswith("q=")), 1.0)
        if kind == "application/openmetrics-text":
            asked = max(asked, weight)
        elif kind in ("text/plain", "text/*", "*/*"):
            other = max(other, weight)
    return OPENMETRICS if asked and asked >= other else TEXT


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def expose(board: Board, now: float, *, reached: bool, needed: bool, form: Format = TEXT) -> bytes:
    """Write all metrics; `now` is of the monotonic clock, `needed` says whether requests need an upstream in reach."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Run(board, now, reached, needed))
    return form.write(registry)


class Exposition:
    """Gives what `write` writes of a moment; however many ask at once, for a while they get the same page."""

    def __init__(self, write: Callable[[float], bytes], clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._until = float("-inf")
        self._page = b""

    def page(self) -> bytes:
        begun = self._clock()
        if begun >= self._until:
            self._page = self._write(begun)
            ended = self._clock()
            self._until = ended + max(_KEPT, _REST * (ended - begun))
        return self._page


class _Run(Collector):
    def __init__(self, board: Board, now: float, reached: bool, needed: bool) -> None:
        self._board = board
        self._now = now
        self._reached = reached
        self._needed = needed

    def collect(self) -> Iterator[Metric]:
        run, workers = self._board.run(), self._board.workers()
        alive = ready_workers(run, workers)
        ready = not reasons_against(run, workers, self._now, reached=self._reached or not self._needed)
        values: dict[str, _Values] = {
            **{name: _added(name, workers, bool(labels)) for name, (_, labels) in COUNTERS.items()},
            **{name: {(): _gauge(name, adds, alive)} for name, (_, adds) in _GAUGES.items()},
            "ready": {(): ready},
            "upstream_up": {(): self._reached},
            **_of_processes(run, alive),
            **_of_rules(run, alive),
            "credentials_reload_ok": {(): run.credentials_hold},
            "certificate_expiry_time_seconds": _earliest(alive),
            "service_up": {
                (name,): all(state.services.get(name, True) for state in alive)
                for name in sorted({name for state in alive for name in state.services})
            },
        }
        for name, family in FAMILIES.items():
            yield (
                _histogram(name, family, workers) if family.kind == "histogram" else _plain(name, family, values[name])
            )


def _plain(name: str, family: Family, values: _Values) -> Metric:
    metric: CounterMetricFamily | GaugeMetricFamily
    if family.kind == "info":
        info = InfoMetricFamily(PREFIX + name, family.text)
        for labels in values:
            info.add_metric((), dict(zip(family.labels, labels, strict=True)))
        return info
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(PREFIX + name, family.text, labels=family.labels, unit=_unit(name))
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric


def _unit(name: str) -> str:
    last = name.rpartition("_")[2]
    return last if last in _UNITS else ""


def _added(name: str, workers: list[WorkerState], labelled: bool) -> _Values:
    added: dict[tuple[str, ...], float] = {} if labelled else {(): 0.0}
    for state in workers:
        for key, value in state.series.counters.get(name, {}).items():
            added[key] = added.get(key, 0.0) + value
    return added


def _gauge(name: str, adds: bool, alive: list[WorkerState]) -> float:
    values = [state.gauges.get(name, 0.0) for state in alive]
    return sum(values) if adds else max(values, default=0.0)


def _histogram(name: str, family: Family, workers: list[WorkerState]) -> Metric:
    added: dict[tuple[str, ...], list[float]] = {}
    for state in workers:
        for key, values in state.series.histograms.get(name, {}).items():
            known = added.get(key)
            added[key] = values if known is None else [a + b for a, b in zip(known, values, strict=True)]
    metric = HistogramMetricFamily(PREFIX + name, family.text, labels=family.labels, unit=_unit(name))
    for key, values in added.items():
        count = 0.0
        buckets = []
        for bound, value in zip((*map(str, BOUNDS), "+Inf"), values[:-1], strict=True):
            count += value
            buckets.append((bound, count))
        metric.add_metric(key, buckets, values[-1])
    return metric


def _of_processes(run: RunState, alive: list[WorkerState]) -> dict[str, _Values]:
    return {
        "start_time_seconds": {(): run.started},
        "workers": {("configured",): len(run.slots), ("ready",): len(alive)},
        "worker_deaths": {(): sum(slot.deaths for slot in run.slots)},
        "build": {(__version__,): 1},
    }


def _earliest(alive: list[WorkerState]) -> _Values:
    found: dict[tuple[str, ...], float] = {}
    for state in alive:
        for setting, end in state.certificates.items():
            found[setting,] = min(end, found.get((setting,), end))
    return found


def _of_rules(run: RunState, alive: list[WorkerState]) -> dict[str, _Values]:
    revisions = [state.revision for state in alive]
    return {
        "reloads": {("taken",): run.reloads, ("refused",): run.failed_reloads},
        "rules_reload_ok": {(): run.holds},
        "rules_taken_time_seconds": {(): run.taken},
        "rules": {(): max((state.rules for state in alive), default=0)},
        "rules_version": {(revision,): revisions.count(revision) for revision in sorted(set(revisions))},
    }
