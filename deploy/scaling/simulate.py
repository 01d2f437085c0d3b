"""How many instances, and what else, so many logins a second take: on paper, with the waiting by simulation.

    python deploy/scaling/simulate.py                  # the tables of deploy/README.md
    python deploy/scaling/simulate.py 250 40000        # for other numbers of logins a second
    python deploy/scaling/simulate.py --into deploy/README.md

Standard library only. What is measured and what is assumed stands first; change it to what you measure yourself. A run
has fixed seeds, so that the same assumptions give the same tables.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

MICRO, MILLI = 1e-6, 1e-3
KIB, MIB = 1 << 10, 1 << 20

# Measured: tests/benchmarks/README.md, on two cores of an AMD EPYC that others share, Python 3.11, not compiled.
LOGIN_CPU = 452 * MICRO  # a `login`: six rules, four conditions, a ticket of 3.9 KB; all processes of the run
PASS_CPU = 244 * MICRO  # an exchange that no rule names: at least what somebody costs who comes back with a code
TWO_WORKERS = 1.08  # the CPU of an answer with two workers by that with one
START_MEMORY = 102 * MIB  # all processes of a run with two workers
CONNECTION_MEMORY = 3.6 * KIB
LOGIN_P50, LOGIN_P99, LOGIN_RATE = 1.23 * MILLI, 7.51 * MILLI, 1046.0  # of one worker at that rate, no store
# An operation of the store, Redis on the same machine: how long it takes, and the worker's CPU for it.
STORE_TIME = {"limit": 362.5 * MICRO, "set": 176.9 * MICRO, "get": 141.2 * MICRO, "take": 154.2 * MICRO}
STORE_CPU = {"limit": 310.5 * MICRO, "set": 168.5 * MICRO, "get": 140.3 * MICRO, "take": 153.3 * MICRO}
STORE_TIME["increment"], STORE_CPU["increment"] = 157.4 * MICRO, 153.9 * MICRO
STORE_TIME["add"], STORE_CPU["add"] = 177.0 * MICRO, 174.1 * MICRO
# Measured on 2026-11-26 beside other work, Valkey 9.1: 8,000 times each with 64 at once, by the server's CPU time.
SCRIPT_CPU, PLAIN_CPU = 69 * MICRO, 37 * MICRO

# Counted on 2026-11-26 by `INFO commandstats`: the operations of each kind of rule. `limit` stands for its two, to
# reserve a try and to settle it.
OPERATIONS = {
    "`limit`": {"limit": 1},
    "`once`, the first": {"get": 2, "add": 1, "set": 1},
    "`once`, again within its `ttl`": {"get": 1},
    "`challenge` by e-mail, withheld": {"set": 2, "increment": 1},
    "`challenge` by e-mail, proved": {"get": 3, "increment": 3, "take": 1},
}
SCRIPTS = {"limit": 2, "increment": 1}  # operations of the server that are scripts; all others are one command each

# Assumed. Whoever logs in passes one `limit`; one in ten is asked for a code, and comes back with it.
SECOND_FACTOR = 0.1
UPSTREAM = 50 * MILLI  # the auth service's answer
ROUND_TRIP = 500 * MICRO  # to a store in the same region, on top of what was measured beside it
BUSY = 0.6  # a core, at most: the rest is for peaks, reloads, and an instance that is replaced
BUSY_ALONE = 0.9  # the same while an instance is gone
WORKERS = 2  # of an instance, each with a core: what was measured
FEWEST = 2  # instances: one of them may always be gone
KEPT = 4  # connections that a balancer keeps, for each exchange under way
BYTES_IN, BYTES_OUT = 1200, 4900  # a login and its answer with their heads; each passes through, so counts twice
STORE_BYTES = 350  # an operation there and back, but for a withheld answer
WITHHELD_BYTES, WITHHELD_SECONDS = 5000, 45  # an answer in the store, and until its shopper comes back
LOG_BYTES = 600  # the line of an exchange

LOGINS = (1.0, 1_000.0, 50_000.0, 1_000_000.0)
JOURNEYS = 40_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a number of logins a second takes."""

    logins: float
    instances: int
    busy: float
    without_one: float
    memory: float
    operations: float
    shards: int
    withheld: float
    bandwidth: float
    log: float
    p50: float
    p99: float

    @property
    def cores(self) -> int:
        return self.instances * WORKERS


def login_cpu() -> float:
    """Give the CPU of a login, with its share of second factors and with what it asks of the store."""
    withheld, proved = (_sum(STORE_CPU, f"`challenge` by e-mail, {what}") for what in ("withheld", "proved"))
    own = LOGIN_CPU + _sum(STORE_CPU, "`limit`") + SECOND_FACTOR * (PASS_CPU + withheld + proved)
    return own * TWO_WORKERS


def server_operations(kind: str) -> int:
    """Give how often a server is asked by a kind of rule."""
    return sum(count * SCRIPTS.get(name, 1) for name, count in OPERATIONS[kind].items())


def _sum(figures: dict[str, float], kind: str) -> float:
    return sum(count * figures[name] for name, count in OPERATIONS[kind].items())


def _mix(of: Callable[[str], float]) -> float:
    """Add up for one login what each kind of rule takes."""
    return of("`limit`") + SECOND_FACTOR * sum(of(f"`challenge` by e-mail, {what}") for what in ("withheld", "proved"))


def _server_cpu(kind: str) -> float:
    return sum(
        count * (SCRIPTS[name] * SCRIPT_CPU if name in SCRIPTS else PLAIN_CPU)
        for name, count in OPERATIONS[kind].items()
    )


def plan(logins: float, count: int = JOURNEYS) -> Plan:
    """Size a fleet: no core too busy, also while an instance is gone; its times are those of so many logins."""
    work = logins * login_cpu()
    instances = max(math.ceil(work / (WORKERS * BUSY)), math.ceil(work / (WORKERS * BUSY_ALONE)) + 1, FEWEST)
    under_way = logins * (UPSTREAM + _mix(lambda kind: _sum(STORE_TIME, kind)))
    operations = logins * _mix(server_operations)
    withheld = logins * SECOND_FACTOR * WITHHELD_BYTES
    own = sorted(journeys(logins / (instances * WORKERS), login_cpu(), count=count, seed=1))
    return Plan(
        logins=logins,
        instances=instances,
        busy=work / (instances * WORKERS),
        without_one=work / ((instances - 1) * WORKERS),
        memory=START_MEMORY + KEPT * under_way / instances * CONNECTION_MEMORY,
        operations=operations,
        shards=max(math.ceil(logins * _mix(_server_cpu) / BUSY), 1),
        withheld=withheld * WITHHELD_SECONDS,
        bandwidth=8 * (2 * logins * (BYTES_IN + BYTES_OUT) + operations * STORE_BYTES + 2 * withheld),
        log=logins * (1 + SECOND_FACTOR) * LOG_BYTES * 86_400,
        p50=quantile(own, 0.5),
        p99=quantile(own, 0.99),
    )


# Waiting


def erlang_c(servers: int, load: float) -> float:
    """Give how likely it is to wait in M/M/c; `load` is the arrival rate by the service rate, below `servers`."""
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mean_wait(rate: float, service: float, servers: int = 1, variation: float = 1.0) -> float:
    """Give the mean time before service in M/G/c: exact for M/M/c and M/G/1, else as Allen and Cunneen approximate it.

    `variation` is the squared coefficient of variation of the service time.
    """
    load = rate * service
    return erlang_c(servers, load) * service / (servers - load) * (1 + variation) / 2


def waits(
    rate: float, service: Callable[[random.Random], float], servers: int, *, customers: int, seed: int
) -> Iterator[float]:
    """Simulate one queue before some servers; gives each customer's time in it."""
    chance = random.Random(seed)
    free = [0.0] * servers
    now = 0.0
    for _ in range(customers):
        now += chance.expovariate(rate)
        begun = max(now, free[0])
        heapq.heapreplace(free, begun + service(chance))
        yield begun - now


# A login has the processor four times: until a try is reserved, until it is forwarded, when the answer is there, when
# the try is settled. Between these it waits for the store, the upstream and the store.
PAUSES = (STORE_TIME["limit"] / 2 + ROUND_TRIP, UPSTREAM, STORE_TIME["limit"] / 2 + ROUND_TRIP)


def journeys(
    rate: float, cpu: float, *, count: int, seed: int, pauses: Sequence[float] = PAUSES, away: float = UPSTREAM
) -> Iterator[float]:
    """Simulate the logins of one worker: gives of each the time that it took, but for what it was `away`.

    Every turn at the processor is exponential, and all wait for it in one queue.
    """
    chance = random.Random(seed)
    turns = len(pauses) + 1
    waiting = []
    now = 0.0
    for number in range(count):
        now += chance.expovariate(rate)
        waiting.append((now, number, 0, now))
    heapq.heapify(waiting)
    free = 0.0
    while waiting:
        at, number, turn, begun = heapq.heappop(waiting)
        free = max(at, free) + chance.expovariate(turns / cpu)
        if turn == len(pauses):
            yield free - begun - away
        else:
            heapq.heappush(waiting, (free + pauses[turn], number, turn + 1, begun))


def quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


# The tables


def fleet(plans: Sequence[Plan]) -> Iterator[str]:
    heads = ["logins a second", *(f"{one.logins:,.0f}" for one in plans)]
    rows = {
        "instances of two workers": [f"{one.instances:,}" for one in plans],
        "cores": [f"{one.cores:,}" for one in plans],
        "a core is busy": [_share(one.busy) for one in plans],
        "the same, one instance gone": [_share(one.without_one) for one in plans],
        "memory of an instance": [f"{one.memory / MIB:,.0f} MiB" for one in plans],
        "store operations a second": [_number(one.operations) for one in plans],
        "shards of the store": [f"{one.shards:,}" for one in plans],
        "withheld answers in the store": [_bytes(one.withheld) for one in plans],
        "network, all instances": [_bits(one.bandwidth) for one in plans],
        "log a day": [_bytes(one.log) for one in plans],
        "own time, p50 / p99": [f"{one.p50 * 1e3:.1f} / {one.p99 * 1e3:.1f} ms" for one in plans],
    }
    yield _row(heads)
    yield _row(["---", *("---:" for _ in plans)])
    yield from (_row([name, *cells]) for name, cells in rows.items())


def kinds() -> Iterator[str]:
    yield _row(["rule", "operations of the server", "its CPU", "CPU of the worker"])
    yield _row(["---", "---:", "---:", "---:"])
    for kind in OPERATIONS:
        cells = [f"{server_operations(kind)}", _micro(_server_cpu(kind)), _micro(_sum(STORE_CPU, kind))]
        yield _row([kind, *cells])


def checks() -> Iterator[str]:
    """Compare what is simulated with what is known otherwise."""
    yield _row(["queue", "by the formula", "simulated"])
    yield _row(["---", "---:", "---:"])
    for servers, busy in ((1, 0.6), (2, 0.6), (2, 0.9), (16, 0.9)):
        rate = servers * busy / MILLI
        found = fmean(waits(rate, lambda chance: chance.expovariate(1 / MILLI), servers, customers=200_000, seed=2))
        told = mean_wait(rate, MILLI, servers)
        yield _row([f"M/M/{servers}, {_share(busy)} busy, 1 ms each: mean wait", _micro(told), _micro(found)])
    own = sorted(journeys(LOGIN_RATE, LOGIN_CPU, count=JOURNEYS, seed=3, pauses=(0.0,), away=0.0))
    yield _row(
        [
            f"the benchmark’s `login`, {LOGIN_RATE:,.0f} a second: p50 / p99",
            f"{LOGIN_P50 * 1e3:.2f} / {LOGIN_P99 * 1e3:.2f} ms, measured",
            f"{quantile(own, 0.5) * 1e3:.2f} / {quantile(own, 0.99) * 1e3:.2f} ms",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _share(share: float) -> str:
    return f"{share:.2%}" if share < 0.01 else f"{share:.0%}"


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _bytes(value: float) -> str:
    return _scaled(value, ("B", "kB", "MB", "GB", "TB"))


def _bits(value: float) -> str:
    return _scaled(value, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"))


def _scaled(value: float, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {units[-1]}"


def tables(logins: Sequence[float]) -> str:
    """Give all tables, an empty line between them."""
    return "\n\n".join("\n".join(lines) for lines in (fleet([plan(one) for one in logins]), kinds(), checks()))


BEGIN, END = "<!-- scaling: begin -->", "<!-- scaling: end -->"


def insert(page: str, text: str) -> str:
    """Put the tables between their two marks."""
    head, _, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"


def main() -> None:
    """Print the tables, or write them into a page."""
    words = argparse.ArgumentParser(description="Say what so many logins a second take.")
    words.add_argument("logins", nargs="*", type=float, default=LOGINS, help="Logins a second.")
    words.add_argument("--into", type=Path, metavar="PAGE", help="Write the tables into this page.")
    given = words.parse_args()
    if any(not 0 < one < math.inf for one in given.logins):
        words.error("a number of logins a second is above zero")
    text = tables(given.logins)
    if given.into is None:
        print(text)
    else:
        given.into.write_text(insert(given.into.read_text("utf-8"), text), "utf-8")


if __name__ == "__main__":
    main()
