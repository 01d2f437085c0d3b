"""Rounds that take turns: each peer does each job once a round, so that what disturbs the machine disturbs them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from .engines import Engine, serving_all, serving_upstream
from .jobs import Job
from .load import WrongAnswer, check, full, paced
from .peers import Peer
from .processes import cores, cpu, forget_peak, memory, on_cores, peak

# Whose full speed decides about the fixed load: half of the slowest of them. Who is slower is told as overloaded.
PACING = ("vestibule", "vestibule-compiled", "nginx", "nginx-lua", "nginx-njs", "envoy", "envoy-lua")
# Nobody is asked for so large a part of what he can do that waiting says more about the load than about him.
MOST = 0.85


@dataclass(slots=True)
class Turn:
    """What one peer did of one job in one round: CPU seconds of its processes, times in seconds, memory in bytes."""

    peer: str
    job: str
    round: int
    answers: int
    cpu: float
    rate: float
    # The share of a core that the peer used: well below 1, load and upstream were the limit of its rate.
    busy: float
    p50: float
    p99: float
    memory: int
    # By how much more was resident at most during the turn than before it.
    grown: int
    # At the fixed load.
    paced_rate: float | None = None
    paced_cpu: float | None = None
    paced_p50: float | None = None
    paced_p99: float | None = None

    def plain(self) -> dict[str, object]:
        return asdict(self)


@dataclass(slots=True)
class Outcome:
    """The turns of all rounds, and what was left out, with the reason."""

    turns: list[Turn]
    left_out: dict[tuple[str, str], str]
    ready: dict[str, float]
    held: dict[str, dict[str, int]]


def play(
    peers: Sequence[Peer],
    jobs: Sequence[Job],
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
    workers: int = 1,
) -> Outcome:
    """Start the peers, check each at each job, and measure; the first round warms up and is not counted."""
    own, other = cores(workers)
    failed: dict[str, str] = {}
    with on_cores(other), serving_upstream(other) as upstream, serving_all(peers, upstream, own, failed) as engines:
        outcome = Outcome(
            [], {}, {one.peer.name: one.ready for one in engines}, {one.peer.name: one.held for one in engines}
        )
        for name, why in failed.items():
            outcome.left_out |= dict.fromkeys(((name, job.name) for job in jobs), why)
            tell(f"  left out: {why}")
        lengths = _checked(engines, jobs, outcome, tell)
        paces: dict[str, float] = {}
        for round in range(rounds + 1):
            for job in jobs:
                able = [engine for engine in engines if (engine.peer.name, job.name) in lengths]
                turns = []
                for engine in able:
                    key = (engine.peer.name, job.name)
                    try:
                        turns.append(_turn(engine, job, round, lengths[key], seconds, paces))
                    except (WrongAnswer, OSError) as error:
                        del lengths[key]
                        outcome.left_out[key] = str(error)
                        tell(f"  left out: {engine.peer.name} at {job.name}: {error}")
                if round:
                    outcome.turns += turns
                elif job.paced:
                    paces |= _paces(job, turns)
            tell(f"round {round} of {rounds}" if round else "warmed up")
        return outcome


def _checked(
    engines: Sequence[Engine], jobs: Sequence[Job], outcome: Outcome, tell: Callable[[str], None]
) -> dict[tuple[str, str], int]:
    """Look at a whole answer of each peer to each job; gives the lengths of the bodies that are right."""
    lengths = {}
    for engine in engines:
        for job in jobs:
            key = (engine.peer.name, job.name)
            reason = engine.peer.cannot.get(job.name)
            if reason is None:
                try:
                    lengths[key] = check(engine.port, job)
                    continue
                except (WrongAnswer, OSError) as error:
                    reason = f"wrong answer: {error}"
            outcome.left_out[key] = reason
            tell(f"  left out: {engine.peer.name} at {job.name}: {reason}")
    return lengths


def _turn(engine: Engine, job: Job, round: int, length: int, seconds: float, paces: dict[str, float]) -> Turn:
    pid = engine.pid
    resident = forget_peak(pid)
    before = cpu(pid)
    load = full(engine.port, job, length, seconds if round else seconds / 2)
    used = cpu(pid) - before
    turn = Turn(
        engine.peer.name, job.name, round, load.answers, used / load.answers, load.rate, used / load.seconds,
        load.percentile(0.5), load.percentile(0.99), memory(pid)["pss"],
        max(peak(pid) - resident, 0),
    )  # fmt: skip
    pace = paces.get(job.name)
    if pace is not None and pace < MOST * load.rate:
        before = cpu(pid)
        load = paced(engine.port, job, length, seconds, pace)
        turn.paced_rate, turn.paced_cpu = pace, (cpu(pid) - before) / load.answers
        turn.paced_p50, turn.paced_p99 = load.percentile(0.5), load.percentile(0.99)
    return turn


def _paces(job: Job, turns: Sequence[Turn]) -> dict[str, float]:
    found = [turn.rate for turn in turns if turn.peer in PACING]
    return {job.name: min(found) / 2} if found else {}
