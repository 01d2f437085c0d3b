"""What has to be reached: ratios to a peer of the same run, and figures of growth. No test judges by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from .report import grid, ratios

OURS = ("vestibule", "vestibule-compiled")


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure of ours by that of a peer, at a job."""

    job: str
    peer: str
    most: float
    figure: str = "cpu"
    text: str = "CPU"


RATIOS = (
    Ratio("login", "nginx-lua", 1.0),
    Ratio("login", "envoy-lua", 0.55),
    Ratio("login", "obvious", 0.25),
    Ratio("pass", "envoy", 0.75),
    Ratio("deny", "envoy-lua", 0.9),
    Ratio("big", "nginx-lua", 0.25),
    Ratio("upload", "nginx", 1.0),
    Ratio("login", "nginx-lua", 1.5, "paced_p99", "p99 at the fixed load"),
)


def ratio_table(report: Mapping[str, Any]) -> Iterator[str]:
    """Write what was to be reached beside peers, and what was."""
    titles, rows = report["titles"], []
    for one in RATIOS:
        if one.peer not in titles or one.job not in report["jobs"]:
            continue
        for ours in OURS:
            if ours in titles:
                found = ratios(report["turns"], one.figure, ours, one.job, one.peer)
                what = f"`{one.job}`, {one.text}: {titles[ours]} by {titles[one.peer]}"
                rows.append([what, f"{one.most:.2f}", *_spread(found, one.most)])
    yield from grid(["", "at most", "measured", "of the rounds", ""], rows)


def _spread(found: list[float], most: float) -> tuple[str, str, str]:
    if not found:
        return "not measured", "", ""
    middle = median(found)
    return f"{middle:.2f}", f"{min(found):.2f} to {max(found):.2f}", "reached" if middle <= most else "not reached"


def growth_table(report: Mapping[str, Any]) -> Iterator[str]:
    """Write what was to be reached when things grow, and what was."""
    rows = []
    for text, most, found, shape in _growth(report):
        reached = "" if found is None else "reached" if found <= most else "not reached"
        rows.append([text, shape.format(most), "not measured" if found is None else shape.format(found), reached])
    yield from grid(["", "at most", "measured", ""], rows)


def _growth(report: Mapping[str, Any]) -> Iterator[tuple[str, float, float | None, str]]:
    series = report["series"]
    rules, conditions, workers = (_points(series, name) for name in ("rules", "conditions", "workers"))
    yield "10,000 rules of which one matches, CPU by one rule", 1.1, rules[-1]["ratio"] if rules else None, "{:.2f}"
    each = None
    if conditions:
        first, last = conditions[0], conditions[-1]
        each = (last["cpu"] - first["cpu"]) / (last["at"] - first["at"]) * 1e6
    yield "a condition", 1.0, each, "{:.2f} µs"
    alone = next((one for one in report.get("starts", ()) if one["name"] == "the login's rules"), None)
    yield "from start to the first answer", 0.8, alone["ready"] if alone else None, "{:.2f} s"
    yield "a worker's memory after start", 80, alone["worker"] / 2**20 if alone else None, "{:.0f} MiB"
    idle = report.get("idle")
    yield "an idle connection", 25, idle[-1]["each"] / 1024 if idle else None, "{:.1f} KiB"
    speed = workers[0]["rate"] / workers[-1]["rate"] if workers and not series["workers"]["crowded"] else None
    yield "one worker's answers a second by those of two", 1 / 1.8, speed, "{:.2f}"


def _points(series: Mapping[str, Any], name: str) -> list[dict[str, float]]:
    return series[name]["lines"]["Vestibule"] if name in series else []
