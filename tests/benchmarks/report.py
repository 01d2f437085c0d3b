"""What rounds found, as tables: medians over rounds, and medians of each round's ratios to its reference."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

REFERENCES = ("nginx-lua", "nginx", "obvious")
# Below this share of a core, the rate that was found is the load's and not the peer's.
BUSY = 0.9


def machine() -> dict[str, object]:
    """Say on what kind of machine this is, with nothing that names it."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def reference(turns: Sequence[Mapping[str, Any]]) -> str:
    """Give the peer that the others are compared with: nginx + Lua where it is there."""
    there = {turn["peer"] for turn in turns}
    return next((name for name in REFERENCES if name in there), turns[0]["peer"])


def ratios(turns: Sequence[Mapping[str, Any]], what: str, peer: str, job: str, base: str) -> list[float]:
    """Give, for each round that both were in, the figure of a peer by that of the reference."""
    values = {(turn["peer"], turn["round"]): turn[what] for turn in turns if turn["job"] == job}
    rounds = sorted({number for _, number in values})
    return [
        values[peer, number] / values[base, number]
        for number in rounds
        if values.get((peer, number)) and values.get((base, number))
    ]


def medians(turns: Sequence[Mapping[str, Any]], key: tuple[str, str], base: tuple[str, str]) -> dict[str, float]:
    """Give the medians over rounds of a peer at a job, and that of its ratios in CPU to another peer or job."""
    mine = {turn["round"]: turn for turn in turns if (turn["peer"], turn["job"]) == key}
    theirs = {turn["round"]: turn for turn in turns if (turn["peer"], turn["job"]) == base}
    found = {name: median(turn[name] for turn in mine.values()) for name in ("cpu", "rate", "p50", "p99")}
    found["memory"] = max(turn["memory"] for turn in mine.values())
    found["ratio"] = median(turn["cpu"] / theirs[number]["cpu"] for number, turn in mine.items() if number in theirs)
    return found


def _of(turns: Sequence[Mapping[str, Any]], what: str, peer: str, job: str | None = None) -> list[float]:
    """Give a figure of each round that a peer was in, at one job or at all."""
    return [
        turn[what]
        for turn in turns
        if turn["peer"] == peer and job in {None, turn["job"]} and turn.get(what) is not None
    ]


def span(seconds: float) -> str:
    """Write a time so that it can be read."""
    micro = seconds * 1e6
    return f"{micro:,.0f} µs" if micro < 10_000 else f"{micro / 1000:,.1f} ms"


def _ratio(found: Sequence[float]) -> str:
    return f"{median(found):.2f}" if found else ""


def where(report: Mapping[str, Any]) -> str:
    """Say when and on what a report was made."""
    on = report["machine"]
    return (
        f"{report['date']}, {on['cpu']}, {on['cores']} cores, {on['system']}, Python {on['python']}; "
        f"{report['rounds']} rounds of {report['seconds']:g} s."
    )


def tables(report: Mapping[str, Any]) -> Iterator[str]:
    """Write the report in Markdown, line by line."""
    turns, titles = report["turns"], report["titles"]
    jobs = list(report["jobs"])
    base = reference(turns)
    there = [name for name in titles if any(turn["peer"] == name for turn in turns)]
    yield where(report)
    yield ""
    yield f"CPU of an answer, all processes of the engine, and in brackets its ratio to {titles[base]}:"
    yield ""
    yield from grid(["", *jobs], [[titles[name], *(_cost(turns, name, job, base) for job in jobs)] for name in there])
    yield ""
    yield "Memory after start and at most after a turn, shared pages counted once; and how much more a turn takes:"
    yield ""
    yield from grid(["", "start", "later", *jobs], [
        [titles[name], _mib(report["held"][name]["pss"]), _mib(max(_of(turns, "memory", name))),
         *(_grown(turns, name, job) for job in jobs)]
        for name in there
    ])  # fmt: skip
    yield ""
    yield "Answers a second at full load, one core (≥: load and upstream were the limit):"
    yield ""
    yield from grid(["", *jobs], [[titles[name], *(_rate(turns, name, job) for job in jobs)] for name in there])
    yield ""
    yield "Time to an answer, p50 / p99, at full load and at the same fixed load for all:"
    yield ""
    even = [job for job in jobs if _of(turns, "paced_rate", base, job)]
    heads = [f"{job}, full" for job in even]
    heads += [f"{job}, {_of(turns, 'paced_rate', base, job)[0]:,.0f}/s" for job in even]
    yield from grid(["", *heads], [
        [titles[name], *(_latency(turns, name, job, "") for job in even),
         *(_latency(turns, name, job, "paced_") for job in even)]
        for name in there
    ])  # fmt: skip
    yield ""
    for name, version in report["versions"].items():
        ready = report["ready"].get(name)
        yield f"- {titles[name]}: {version}{f'; ready after {ready:.2f} s' if ready is not None else ''}"
    for name, install in report["missing"].items():
        yield f"- {titles[name]}: missing, `{install}`"
    for one in report["left_out"]:
        yield f"- {titles[one['peer']]} was not given `{one['job']}`: {one['reason'].splitlines()[0]}"


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Write a table in Markdown that is one in plain text too."""
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    for row in (heads, ["-" * width for width in widths], *rows):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"


def _cost(turns: Sequence[Mapping[str, Any]], peer: str, job: str, base: str) -> str:
    found = _of(turns, "cpu", peer, job)
    if not found:
        return ""
    ratio = _ratio(ratios(turns, "cpu", peer, job, base))
    return f"{span(median(found))} ({ratio})" if ratio else span(median(found))


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _grown(turns: Sequence[Mapping[str, Any]], peer: str, job: str) -> str:
    found = _of(turns, "grown", peer, job)
    return f"+{_mib(median(found))}" if found else ""


def _rate(turns: Sequence[Mapping[str, Any]], peer: str, job: str) -> str:
    found = _of(turns, "rate", peer, job)
    if not found:
        return ""
    sign = "≥ " if median(_of(turns, "busy", peer, job)) < BUSY else ""
    rate = median(found)
    return f"{sign}{rate:,.0f}" if rate >= 20 else f"{sign}{rate:.1f}"


def _latency(turns: Sequence[Mapping[str, Any]], peer: str, job: str, kind: str) -> str:
    p50, p99 = _of(turns, f"{kind}p50", peer, job), _of(turns, f"{kind}p99", peer, job)
    if not p50:
        return "overloaded" if kind and _of(turns, "cpu", peer, job) else ""
    return f"{median(p50) * 1000:.2f} / {median(p99) * 1000:.2f} ms"
