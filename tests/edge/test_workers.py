"""The supervisor alone: what dies, what does not end, what never comes up, and what happens when it goes itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.running import PATIENCE, ROOT, Lines, is_gone


class Run:
    """A run of supervised.py and what its processes say."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines = Lines(process.stdout)

    def event(self, name: str, **fields: Any) -> dict[str, Any]:
        while True:
            event: dict[str, Any] = json.loads(self.lines.next(name))
            if event["event"] == name and all(event.get(key) == value for key, value in fields.items()):
                return event

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def seconds(self) -> float:
        """Give the processor's time that the supervisor has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def supervised(worker: str = "serve", check: str = "hold") -> Iterator[Run]:
    words = [sys.executable, "-m", "tests.edge.supervised", worker, check]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        run = Run(process)
        try:
            yield run
        finally:
            process.terminate()
            process.wait(PATIENCE)
            # The stream ends when the last process has.
            run.lines.rest()


def test_a_worker_that_dies_at_once_is_started_again_after_pauses_that_double() -> None:
    with supervised("crash") as run:
        pauses = [run.event("worker-died", code=-signal.SIGSEGV)["again_in"] for _ in range(5)]
        assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6]
        assert run.seconds() < 2, "the supervisor spins"


def test_workers_that_die_as_soon_as_they_start_are_a_reason_against_requests() -> None:
    with supervised("crash") as run:
        assert run.event("reasons")["reasons"] == ["no worker is ready"]
        assert run.event("reasons")["reasons"] == ["no worker is ready", "workers die as soon as they start"]
        run.signal(signal.SIGTERM)
        assert run.process.wait(PATIENCE) == 0


def test_a_worker_that_is_killed_is_replaced_and_the_first_death_costs_a_tenth_of_a_second_at_most() -> None:
    with supervised() as run:
        worker = run.event("serving")["pid"]
        os.kill(worker, signal.SIGKILL)
        assert run.event("worker-died", worker=worker)["again_in"] <= 0.1
        assert run.event("serving")["pid"] != worker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_the_workers_first_and_then_everything(number: int) -> None:
    with supervised() as run:
        run.event("serving")
        run.signal(number)
        run.event("stopped")
        assert run.process.wait(PATIENCE) == 0


def test_all_end_with_a_supervisor_that_was_killed() -> None:
    with supervised() as run:
        worker = run.event("serving")["pid"]
        run.process.kill()
        run.event("stopped", pid=worker)
        assert is_gone(worker)


def test_a_reload_is_checked_once_and_told_to_the_workers() -> None:
    with supervised() as run:
        worker = run.event("serving")["pid"]
        run.signal(signal.SIGHUP)
        assert run.event("checking")["pid"] not in (worker, run.process.pid)
        assert run.event("reloaded")["pid"] == worker


@pytest.mark.parametrize(
    ("check", "cause"),
    [("crash", "the check of the rules ended badly"), ("hang", "the check of the rules took too long")],
)
def test_a_check_that_dies_or_hangs_is_a_reload_that_failed(check: str, cause: str) -> None:
    with supervised(check=check) as run:
        run.event("serving")
        for _ in range(2):
            run.signal(signal.SIGHUP)
            assert run.event("reload-failed")["cause"] == cause
        run.signal(signal.SIGTERM)
        assert run.process.wait(PATIENCE) == 0


def test_a_stop_does_not_wait_for_a_check_that_hangs() -> None:
    with supervised(check="hang") as run:
        run.event("serving")
        run.signal(signal.SIGHUP)
        check = run.event("checking")["pid"]
        run.signal(signal.SIGTERM)
        assert run.process.wait(PATIENCE) == 0
        assert is_gone(check)
