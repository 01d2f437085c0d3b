"""How cost grows: with rules, conditions, bodies, connections, workers; and what starting and idling take.

    python -m tests.benchmarks.growth [--rounds 5] [--seconds 1] [--only rules,bodies]

Keeps what it finds as JSON in `.bench/`; page.py makes tables and plots of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import stores, variants
from .engines import Engine, serving, serving_upstream
from .jobs import JOBS, Job
from .load import WrongAnswer, connect, converse
from .peers import PEERS, Peer
from .peers.peer import ROOT
from .processes import cores, memory, on_cores
from .promises import growth_table
from .report import machine, medians, today
from .rounds import play

KEPT = ROOT / ".bench" / "growth.json"
COUNTS = (1, 10, 100, 1_000, 10_000)
FEW = (1, 3, 10, 30, 100)
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CONNECTIONS = (1, 10, 100, 1_000, 5_000)
IDLE = (100, 1_000, 5_000)
_ROOMY = ("--limits-body-bytes", "16MiB", "--limits-decoded-bytes", "32MiB")
_QUEUE = ("--upstream-pool-pending", "10000")


@dataclass(frozen=True, slots=True)
class Series:
    """One table and plot: peers and jobs, and where in it a peer at a job stands."""

    name: str
    title: str
    across: str
    peers: Sequence[Peer]
    jobs: Sequence[Job]
    workers: int = 1

    def place(self, peer: str, job: str) -> tuple[str, float]:
        """Give the line and the value on its axis; the peer or the job is named for it."""
        for name, line in ((peer, "Vestibule"), (job, PEERS[peer].title if peer in PEERS else "Vestibule")):
            number = name.rpartition("-")[2]
            if number.isdigit():
                return line, float(number)
        raise ValueError(f"neither {peer} nor {job} is named for a number")


def all_series() -> list[Series]:
    """Give the series, in the order of the page."""
    made, marked = variants.peer, [variants.MARKED]
    sizing = [made("vestibule", variants.trimming, *_ROOMY)]
    if PEERS["nginx-lua"].version() is not None:
        sizing.append(PEERS["nginx-lua"])
    return [
        Series("rules", "Rules, of which one matches", "rules",
               [made(f"rules-{n}", lambda n=n: variants.one_of(n)) for n in COUNTS], marked),  # type: ignore[misc]
        Series("matching", "Rules that all match, each sets a header", "rules",
               [made(f"matching-{n}", lambda n=n: variants.all_of(n)) for n in FEW], marked),  # type: ignore[misc]
        Series("conditions", "Conditions on the request's body, none of which holds", "conditions",
               [made(f"conditions-{n}", lambda n=n: variants.with_conditions(n)) for n in FEW], marked),  # type: ignore[misc]
        Series("bodies", "Bodies, one field removed", "bytes", sizing, [variants.sized_job(n) for n in SIZES]),
        Series("connections", "Connections that all ask at once, no rule", "connections",
               [made("vestibule", list, *_QUEUE)], [variants.busy_job(n) for n in CONNECTIONS]),
        Series("workers", "Workers, no rule", "workers",
               [made(f"workers-{n}", list, "--workers", str(n)) for n in (1, 2)], [JOBS["pass"]], workers=2),
    ]  # fmt: skip


def run(series: Series, rounds: int, seconds: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure a series; gives medians by line, in the order of its axis, each with its ratio to the line's first."""
    tell(series.title)
    outcome = play(series.peers, series.jobs, rounds, seconds, tell, series.workers)
    turns = [turn.plain() for turn in outcome.turns]
    lines: dict[str, list[dict[str, float]]] = {}
    first: dict[str, tuple[str, str]] = {}
    done = {(turn.peer, turn.job) for turn in outcome.turns}
    for key in ((peer.name, job.name) for peer in series.peers for job in series.jobs):
        if key not in done:
            continue
        line, at = series.place(*key)
        base = first.setdefault(line, key)
        lines.setdefault(line, []).append({"at": at, **medians(turns, key, base)})
    return {
        "title": series.title,
        "across": series.across,
        "lines": lines,
        "left_out": [f"{peer} at {job}: {why}" for (peer, job), why in outcome.left_out.items()],
        # Fewer cores than workers, load and upstream want: the rate says nothing.
        "crowded": series.workers > 1 and len(os.sched_getaffinity(0)) < series.workers + 2,
    }


def idle(tell: Callable[[str], None]) -> list[dict[str, float]]:
    """Measure what a connection holds that has asked once and now waits."""
    tell("Idle connections")
    own, other = cores()
    peer = variants.peer("vestibule", list)
    found: list[dict[str, float]] = []
    with on_cores(other), serving_upstream(other) as upstream, _started(peer, upstream, own) as engine:
        _hold(engine, 50)
        before = memory(engine.pid)["pss"]
        for count in IDLE:
            held = _hold(engine, count)
            found.append({"at": count, "each": (held - before) / count, "memory": held})
    return found


@contextmanager
def _started(peer: Peer, upstream: int, own: AbstractSet[int]) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, serving(peer, upstream, own, Path(folder)) as engine:
        yield engine


def _hold(engine: Engine, count: int) -> int:
    """Open connections, ask once on each, and give the memory while they are open."""
    socks = []
    try:
        for _ in range(count):
            sock = connect(engine.port)
            socks.append(sock)
            converse(sock, JOBS["pass"].request)
        held = memory(engine.pid)["pss"]
        closed = sum(map(_closed, socks))
        if closed:
            raise WrongAnswer(f"{closed} of {count} idle connections were closed")
        return held
    finally:
        for sock in socks:
            sock.close()


def _closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False


def starts(rounds: int, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure how long a start takes until the first answer, and what is held then."""
    tell("Starts")
    made = variants.peer
    kinds = {
        "no rules": made("none", list),
        "the login's rules": PEERS["vestibule"],
        "no rules, two workers": made("two", list, "--workers", "2"),
        "1,000 rules": made("thousand", lambda: variants.one_of(1_000)),
        "10,000 rules": made("ten-thousand", lambda: variants.one_of(10_000)),
    }
    own, other = cores()
    found: dict[str, list[Engine]] = {name: [] for name in kinds}
    with on_cores(other), serving_upstream(other) as upstream:
        for _ in range(rounds):
            for name, peer in kinds.items():
                with _started(peer, upstream, own) as engine:
                    found[name].append(engine)
    return [
        {
            "name": name,
            "ready": sorted(one.ready for one in engines)[len(engines) // 2],
            "worker": max(one.held["rss"] for one in engines),
            "memory": max(one.held["pss"] for one in engines),
        }
        for name, engines in found.items()
    ]


PARTS = ("rules", "matching", "conditions", "bodies", "connections", "workers", "idle", "starts", "stores")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.growth", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default=",".join(PARTS), help=",".join(PARTS))
    parser.add_argument("--json", type=Path, default=KEPT)
    asked = parser.parse_args(words)
    only = asked.only.split(",")
    if unknown := set(only).difference(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    report: dict[str, Any] = {
        "date": today(),
        "machine": machine(),
        "rounds": asked.rounds,
        "seconds": asked.seconds,
        "versions": {name: PEERS[name].version() for name in ("vestibule", "nginx-lua")},
        "series": {one.name: run(one, asked.rounds, asked.seconds, _tell) for one in all_series() if one.name in only},
    }
    parts: Mapping[str, Callable[[], Any]] = {
        "idle": lambda: idle(_tell),
        "starts": lambda: starts(asked.rounds, _tell),
        "stores": lambda: stores.measure(asked.rounds, max(int(asked.seconds * 1_000), 10), _tell),
    }
    report |= {name: measure() for name, measure in parts.items() if name in only}
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps(report, indent=1))
    print("\n".join(growth_table(report)))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
