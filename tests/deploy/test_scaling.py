"""The sizes that deploy/README.md gives are what its script says, and the script keeps the laws of queues."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from itertools import pairwise
from statistics import fmean

import pytest

from deploy.scaling import simulate
from tests.running import ROOT

PAGE = (ROOT / "deploy" / "README.md").read_text("utf-8")
BENCHMARKS = (ROOT / "tests" / "benchmarks" / "README.md").read_text("utf-8")
SCRIPT = ROOT / "deploy" / "scaling" / "simulate.py"


def test_the_page_has_what_the_script_prints() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True, cwd="/")
    text = done.stdout.rstrip("\n")
    again = "run `python deploy/scaling/simulate.py --into deploy/README.md`"
    assert simulate.insert(PAGE, text) == PAGE, again


@pytest.mark.parametrize("words", [["0"], ["-5"], ["nan"], ["inf"], ["many"]])
def test_a_number_that_makes_no_sense_is_a_wrong_call(words: list[str]) -> None:
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert "Traceback" not in done.stderr


def test_more_logins_never_take_less() -> None:
    plans = [simulate.plan(1.2**power, count=1) for power in range(80)]
    assert plans[-1].logins > 1_000_000
    for one, more in pairwise(plans):
        for name in ("instances", "shards", "operations", "bandwidth", "withheld", "log"):
            assert getattr(one, name) <= getattr(more, name), (name, more.logins)


def test_no_core_is_too_busy_also_while_an_instance_is_gone() -> None:
    for power in range(80):
        found = simulate.plan(1.2**power, count=1)
        assert found.busy <= simulate.BUSY
        assert found.without_one <= simulate.BUSY_ALONE
        assert found.instances >= 2


@pytest.mark.parametrize("servers", [1, 2, 8])
@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_simulated_waiting_is_that_of_the_formula(servers: int, busy: float) -> None:
    def service(chance: random.Random) -> float:
        return chance.expovariate(1.0)

    found = fmean(simulate.waits(servers * busy, service, servers, customers=100_000, seed=5))
    assert found == pytest.approx(simulate.mean_wait(servers * busy, 1.0, servers), rel=0.08)


def test_so_it_is_where_each_takes_the_same_time() -> None:
    """Pollaczek and Khinchine: half of what it is with exponential times."""
    found = fmean(simulate.waits(0.7, lambda _: 1.0, 1, customers=100_000, seed=5))
    assert found == pytest.approx(simulate.mean_wait(0.7, 1.0, variation=0.0), rel=0.05)
    assert simulate.mean_wait(0.7, 1.0, variation=0.0) == pytest.approx(0.7 / (2 * 0.3))


def test_one_turn_at_the_processor_is_the_same_queue() -> None:
    """A journey without pauses is M/M/1, whose time in all is the service over what is idle."""
    found = fmean(simulate.journeys(0.6, 1.0, count=100_000, seed=5, pauses=(), away=0.0))
    assert found == pytest.approx(1 / (1 - 0.6), rel=0.05)


def test_who_comes_alone_waits_for_the_store_and_for_nobody() -> None:
    cpu = simulate.login_cpu()
    found = fmean(simulate.journeys(0.01, cpu, count=20_000, seed=5))
    assert found == pytest.approx(cpu + sum(simulate.PAUSES) - simulate.UPSTREAM, rel=0.02)


def test_times_grow_with_how_busy_a_core_is() -> None:
    cpu = simulate.login_cpu()
    ends = [
        simulate.quantile(sorted(simulate.journeys(busy / cpu, cpu, count=20_000, seed=5)), 0.99)
        for busy in (0.1, 0.3, 0.5, 0.7, 0.9)
    ]
    assert ends == sorted(ends)


def test_the_figures_are_those_that_were_measured() -> None:
    """A run of the benchmarks may differ from the last one, but not tell another story."""

    def row(start: str, after: str = "") -> list[float]:
        _, _, rest = BENCHMARKS.partition(after)
        [line] = re.findall(rf"(?m)^\| {re.escape(start)} +\| (.+) \|$", rest)[:1]
        return [float(number.replace(",", "")) for number in re.findall(r"[\d,]+(?:\.\d+)?", line)]

    cpu = row("Vestibule", "CPU of an answer")
    assert pytest.approx([cpu[0], cpu[2]], rel=0.3) == [simulate.PASS_CPU * 1e6, simulate.LOGIN_CPU * 1e6]
    times = row("Vestibule", "Time to an answer")
    assert pytest.approx(times[8:10], rel=0.5) == [simulate.LOGIN_P50 * 1e3, simulate.LOGIN_P99 * 1e3]
    [memory] = re.findall(r"(?m)^\| no rules, two workers \|.*\| (\d+) MiB +\|$", BENCHMARKS)
    assert int(memory) == pytest.approx(simulate.START_MEMORY / simulate.MIB, rel=0.3)
    for name in simulate.STORE_TIME:
        time, worker = row("reserve and settle" if name == "limit" else name, "### Stores")[-2:]
        assert time == pytest.approx(simulate.STORE_TIME[name] * 1e6, rel=0.3), name
        assert worker == pytest.approx(simulate.STORE_CPU[name] * 1e6, rel=0.3), name
