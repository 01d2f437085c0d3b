"""The metrics of a run in the format of Prometheus: the sums of all workers, also of those that have died."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .. import __version__
from ..observe.board import Board, RunState, WorkerState
from ..observe.health import ready_workers, reasons_against
from ..observe.metrics import BOUNDS, COUNTERS, HISTOGRAMS

PREFIX = "vestibule_"
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
    "loop_stall_seconds": ("Longest stall of an event loop since its worker began.", False),
}


# Workers tell of themselves no more often.
_KEPT = 0.25
# With very many series a page takes a while to write: the rest of the time is for probes.
_REST = 3


def expose(board: Board, now: float, *, reached: bool, needed: bool) -> bytes:
    """Write all metrics; `now` is of the monotonic clock, `needed` says whether requests need an upstream in reach."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Run(board, now, reached, needed))
    return generate_latest(registry)


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
        yield from _counters(workers)
        yield from _histograms(workers)
        alive = ready_workers(run, workers)
        for name, (text, adds) in _GAUGES.items():
            values = [state.gauges.get(name, 0.0) for state in alive]
            yield GaugeMetricFamily(PREFIX + name, text, value=sum(values) if adds else max(values, default=0.0))
        ready = not reasons_against(run, workers, self._now, reached=self._reached or not self._needed)
        yield GaugeMetricFamily(PREFIX + "ready", "Whether requests should come here.", ready)
        yield GaugeMetricFamily(PREFIX + "upstream_up", "Whether the upstream can be reached.", self._reached)
        yield from _processes(run, workers)
        yield from _rules(run, alive)
        yield from _services(alive)


def _counters(workers: Iterable[WorkerState]) -> Iterator[Metric]:
    for name, (text, labels) in COUNTERS.items():
        added: dict[tuple[str, ...], float] = {}
        for state in workers:
            for key, value in state.series.counters.get(name, {}).items():
                added[key] = added.get(key, 0.0) + value
        family = CounterMetricFamily(PREFIX + name, text, labels=labels)
        for key, value in added.items() if labels else [((), added.get((), 0.0))]:
            family.add_metric(key, value)
        yield family


def _histograms(workers: Iterable[WorkerState]) -> Iterator[Metric]:
    for name, (text, labels) in HISTOGRAMS.items():
        added: dict[tuple[str, ...], list[float]] = {}
        for state in workers:
            for key, values in state.series.histograms.get(name, {}).items():
                known = added.get(key)
                added[key] = values if known is None else [a + b for a, b in zip(known, values, strict=True)]
        family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
        for key, values in added.items():
            count = 0.0
            buckets = []
            for bound, value in zip((*map(str, BOUNDS), "+Inf"), values[:-1], strict=True):
                count += value
                buckets.append((bound, count))
            family.add_metric(key, buckets, values[-1])
        yield family


def _processes(run: RunState, workers: list[WorkerState]) -> Iterator[Metric]:
    yield GaugeMetricFamily(PREFIX + "start_time_seconds", "When the run began.", run.started)
    family = GaugeMetricFamily(PREFIX + "workers", "Workers by state.", labels=("state",))
    family.add_metric(("configured",), len(run.slots))
    family.add_metric(("ready",), len(ready_workers(run, workers)))
    yield family
    deaths = sum(slot.deaths for slot in run.slots)
    yield CounterMetricFamily(PREFIX + "worker_deaths", "Workers that died and were replaced.", deaths)
    lost = sum(state.gauges.get("log_lines_dropped", 0.0) for state in workers)
    yield CounterMetricFamily(PREFIX + "log_lines_dropped", "Lines of the log that were dropped.", lost)
    info = GaugeMetricFamily(PREFIX + "build_info", "What runs.", labels=("version",))
    info.add_metric((__version__,), 1)
    yield info


def _rules(run: RunState, alive: list[WorkerState]) -> Iterator[Metric]:
    family = CounterMetricFamily(PREFIX + "reloads", "Reloads of the rules by result.", labels=("result",))
    family.add_metric(("taken",), run.reloads)
    family.add_metric(("refused",), run.failed_reloads)
    yield family
    yield GaugeMetricFamily(PREFIX + "rules_reload_ok", "Whether the last reload was taken.", run.holds)
    yield GaugeMetricFamily(PREFIX + "rules", "Rules that are served.", max((one.rules for one in alive), default=0))
    served = GaugeMetricFamily(PREFIX + "rules_version", "Workers by the version of their rules.", labels=("revision",))
    for revision in sorted({state.revision for state in alive}):
        served.add_metric((revision,), sum(state.revision == revision for state in alive))
    yield served


def _services(alive: list[WorkerState]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        PREFIX + "service_up", "Whether the last call to a service worked, on every worker.", labels=("service",)
    )
    for name in sorted({name for state in alive for name in state.services}):
        family.add_metric((name,), all(state.services.get(name, True) for state in alive))
    yield family
