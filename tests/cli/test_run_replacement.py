"""Runs that are stopped and replaced under load, again and again: no client that honours `Connection: close` loses a
request, also behind a balancer that goes by readiness.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.balancing import Balancer, balancing
from tests.figures import Figures
from tests.running import PATIENCE, Proxy, running
from tests.serving import Load, answering

WORKERS = ("--workers", "2")
# Of runs that were stopped, and of runs that were replaced.
MANY = 100


@pytest.fixture
def upstream() -> Iterator[str]:
    with answering() as address:
        yield address


def stop_under_load(upstream: str) -> tuple[int, int]:
    """Stop a run under load; gives how many requests were answered and how many lost."""
    with (
        running("--upstream", upstream, *WORKERS, "--drain-delay", "200ms") as proxy,
        Load(proxy.port, until_refused=True) as load,
    ):
        load.more(50)
        assert proxy.stop() == 0
        load.join()
        return load.tally.answers, len(load.tally.failures)


@pytest.mark.soak
def test_a_hundred_stops_under_load_lose_no_request(
    upstream: str, figures: Figures, soaking: Callable[[], bool]
) -> None:
    stops = answers = lost = 0
    while stops < MANY or soaking():
        found = stop_under_load(upstream)
        stops, answers, lost = stops + 1, answers + found[0], lost + found[1]
    figures.add("drain", cases=answers, found=lost)
    assert lost == 0


def take_over(upstream: str, folder: Path, figures: Figures, goes_on: Callable[[int], bool]) -> None:
    """Replace a run by one that is handed its sockets, under load, as long as `goes_on` says of the count so far."""
    flags = ("--upstream", upstream, *WORKERS, "--handover", folder / "handover", "--drain-delay", "200ms")
    count = 0
    with contextlib.ExitStack() as stack:
        before = stack.enter_context(running(*flags))
        # It can be replaced when all its workers are ready, which is after the first of them is.
        while not (folder / "handover").exists():
            before.call("GET", "/")
        load = stack.enter_context(Load(before.port))
        while goes_on(count):
            count += 1
            after = stack.enter_context(running(*flags))
            assert [before.event("stopped")["cut"] for _ in range(2)] == [0, 0]
            assert before.process.wait(PATIENCE) == 0
            load.more(20)
            before = after
        load.stop()
        assert load.tally.failures == []
    figures.add("replacement", cases=load.tally.answers, found=len(load.tally.failures))


def test_runs_that_take_over_from_each_other_lose_no_request(upstream: str, tmp_path: Path, figures: Figures) -> None:
    take_over(upstream, tmp_path, figures, lambda count: count < 3)


@pytest.mark.soak
def test_a_hundred_runs_that_take_over_from_each_other_lose_no_request(
    upstream: str, tmp_path: Path, figures: Figures, soaking: Callable[[], bool]
) -> None:
    take_over(upstream, tmp_path, figures, lambda count: count < MANY or soaking())


# Behind a balancer

each_balancer = pytest.mark.parametrize("kind", ["haproxy", "envoy"])


class Fleet:
    """Two runs behind a balancer, each with ports of its own that its successor has too."""

    NAMES = ("one", "two")

    def __init__(self, upstream: str, stack: contextlib.ExitStack) -> None:
        self._upstream = upstream
        self._stack = stack
        self.ports = {name: (_free_port(), _free_port()) for name in self.NAMES}
        self._runs: dict[str, Proxy] = {}

    def start(self, name: str) -> None:
        port, admin = self.ports[name]
        flags = ("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--drain-delay", "1s")
        self._runs[name] = self._stack.enter_context(running("--upstream", self._upstream, *flags, *WORKERS))

    def stop(self, name: str) -> None:
        run = self._runs[name]
        assert run.stop() == 0
        assert '"cut":0' in run.rest()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def roll(kind: str, upstream: str, folder: Path, figures: Figures, goes_on: Callable[[int], bool]) -> None:
    """Replace two runs behind a balancer in turn, under load, as long as `goes_on` says of the count so far."""
    count = 0
    with contextlib.ExitStack() as stack:
        fleet = Fleet(upstream, stack)
        balancer: Balancer = stack.enter_context(balancing(kind, folder, [(n, *fleet.ports[n]) for n in fleet.NAMES]))
        for name in fleet.NAMES:
            fleet.start(name)
        balancer.until(*fleet.NAMES)
        load = stack.enter_context(Load(balancer.port))
        while goes_on(count):
            name = fleet.NAMES[count % 2]
            count += 1
            load.more(250)
            fleet.stop(name)
            fleet.start(name)
            balancer.until(*fleet.NAMES)
        load.more(250)
        load.stop()
        assert load.tally.failures == []
    figures.add("replacement", cases=load.tally.answers, found=len(load.tally.failures))


@each_balancer
def test_a_rolling_replacement_behind_a_balancer_loses_no_request(
    kind: str, upstream: str, tmp_path: Path, figures: Figures
) -> None:
    roll(kind, upstream, tmp_path, figures, lambda count: count < 2)


@pytest.mark.soak
@each_balancer
def test_a_hundred_replacements_behind_a_balancer_lose_no_request(
    kind: str, upstream: str, tmp_path: Path, figures: Figures, soaking: Callable[[], bool]
) -> None:
    roll(kind, upstream, tmp_path, figures, lambda count: count < MANY or soaking())


def test_a_run_that_takes_over_behind_haproxy_loses_no_request(upstream: str, tmp_path: Path, figures: Figures) -> None:
    port, admin = _free_port(), _free_port()
    flags = (
        *("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--handover", tmp_path / "handover"),
        *("--upstream", upstream, *WORKERS, "--drain-delay", "500ms"),
    )
    with balancing("haproxy", tmp_path, [("one", port, admin)]) as balancer, contextlib.ExitStack() as stack:
        before = stack.enter_context(running(*flags))
        balancer.until("one")
        load = stack.enter_context(Load(balancer.port))
        for _ in range(3):
            load.more(20)
            after = stack.enter_context(running(*flags))
            assert [before.event("stopped")["cut"] for _ in range(2)] == [0, 0]
            assert before.process.wait(PATIENCE) == 0
            before = after
        load.more(20)
        load.stop()
        assert load.tally.failures == []
    figures.add("replacement", cases=load.tally.answers, found=len(load.tally.failures))
