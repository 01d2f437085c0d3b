"""Processes of the benchmark: on which core they run, what CPU time and memory a tree of them has used. Linux only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 30.0


def cores(engines: int = 1) -> tuple[set[int], set[int]]:
    """Give the cores for an engine of so many workers and those for load and upstream.

    On a machine that has too few, workers share the last one, and on one of a single core everybody.
    """
    usable = sorted(os.sched_getaffinity(0))
    own = set(usable[-engines:]) if len(usable) > engines else {usable[-1]}
    return own, set(usable) - own or own


@contextmanager
def on_cores(cores: AbstractSet[int]) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> list[int]:
    """Give a process and all below it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def cpu(pid: int) -> float:
    """Give the seconds of CPU time, exact to the microsecond, that a tree of processes and all their threads used."""
    used = 0.0
    for one in tree(pid):
        # A process that ended meanwhile has no clock.
        with contextlib.suppress(OSError):
            # The CPU-time clock of another process, as clock_getcpuclockid(3) makes it.
            used += time.clock_gettime((~one << 3) | 2)
    return used


def memory(pid: int) -> dict[str, int]:
    """Give the bytes of a tree, shared pages counted once (`pss`), and the resident ones of its largest (`rss`)."""
    pss, rss = 0, 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()[1:])
            pss += int(fields["Pss"].split()[0]) << 10
            rss = max(rss, int(fields["Rss"].split()[0]) << 10)
    return {"pss": pss, "rss": rss}


def forget_peak(pid: int) -> int:
    """Begin anew with the greatest memory of a tree; gives the bytes that are resident now."""
    for one in tree(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{one}/clear_refs").write_text("5")
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """Give the most bytes that were resident in a tree since its peak was forgotten."""
    return _status(pid, "VmHWM")


def _status(pid: int, field: str) -> int:
    found = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
            found += sum(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))
    return found


class Running:
    """A program that was started on some cores, its output in a file."""

    def __init__(self, words: Sequence[str], folder: Path, cores: AbstractSet[int]) -> None:
        self.words = words
        self._log = folder / "output.log"
        with self._log.open("wb") as log, on_cores(cores):
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def ended(self) -> bool:
        return self.process.poll() is not None

    def output(self) -> str:
        """Give the end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:]

    def end(self) -> None:
        """Stop it, and whatever it started."""
        below = tree(self.pid)
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            for one in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            self.process.wait()
