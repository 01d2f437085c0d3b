"""The README's tables and plots, from what was measured last: `python -m tests.benchmarks.page`.

Only what `.bench/` has is written over; everything else in the page stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.figures import put

from .__main__ import KEPT
from .plot import plot
from .promises import growth_table, ratio_table
from .report import grid, span, tables, where

PAGE = Path(__file__).with_name("README.md")
PLOTS = "plots"


def write(kept: Path = KEPT, page: Path = PAGE) -> list[Path]:
    """Write what is there of the two reports into the page; gives the files written."""
    written = []
    bench, growth = kept / "bench.json", kept / "growth.json"
    if bench.is_file():
        found = json.loads(bench.read_text())
        put(page, "bench", ["", *tables(found), "", "What has to be reached:", "", *ratio_table(found), ""])
        written.append(page)
    if growth.is_file():
        report = json.loads(growth.read_text())
        folder = page.parent / PLOTS
        folder.mkdir(exist_ok=True)
        for name, series in report["series"].items():
            file = folder / f"{name}.svg"
            file.write_text(_plot(name, series))
            written.append(file)
        put(page, "growth", ["", *_growth(report), ""])
        written.append(page)
    return written


def _plot(name: str, series: Mapping[str, Any]) -> str:
    wide = name == "bodies"
    lines = {
        line: [(point["at"], point["cpu"] * (1e3 if wide else 1e6)) for point in points]
        for line, points in series["lines"].items()
    }
    return plot(series["title"], series["across"], "CPU of an answer, ms" if wide else "CPU of an answer, µs", lines,
                powers_up=wide)  # fmt: skip


def _growth(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{where(report)} {', '.join(filter(None, report['versions'].values()))}."
    yield ""
    yield from growth_table(report)
    yield ""
    yield "Ratios are of the CPU of an answer to that of the first line, in the same round."
    for name, series in report["series"].items():
        yield from ("", f"### {series['title']}", "", f"![{series['title']}]({PLOTS}/{name}.svg)", "")
        yield from _series(series)
    if "idle" in report:
        yield from ("", "### Idle connections, each of which has asked once", "")
        yield from grid(["connections", "memory", "each"], [
            [f"{one['at']:,}", _mib(one["memory"]), f"{one['each'] / 1024:.1f} KiB"] for one in report["idle"]
        ])  # fmt: skip
    if "starts" in report:
        yield from ("", "### From start to the first answer, and what is held then", "")
        yield from grid(["with", "ready after", "largest process", "all processes"], [
            [one["name"], f"{one['ready']:.2f} s", _mib(one["worker"]), _mib(one["memory"])]
            for one in report["starts"]
        ])  # fmt: skip
    if "stores" in report:
        yield from ("", "### Stores: time of an operation, in brackets CPU of the worker", "")
        kinds = list(report["stores"])
        operations = report["stores"][kinds[0]]
        yield from grid(["", *kinds], [
            [name, *(_cost(report["stores"][kind][name]) for kind in kinds)] for name in operations
        ])  # fmt: skip


def _series(series: Mapping[str, Any]) -> Iterator[str]:
    several = len(series["lines"]) > 1
    heads = [series["across"], *([""] if several else []), "CPU", "ratio", "answers a second", "p99", "memory"]
    rows = []
    for line, points in series["lines"].items():
        for point in points:
            rate = "needs more cores" if series["crowded"] else f"{point['rate']:,.0f}"
            rows.append([
                f"{point['at']:,.0f}", *([line] if several else []), span(point["cpu"]), f"{point['ratio']:.2f}", rate,
                span(point["p99"]), _mib(point["memory"]),
            ])  # fmt: skip
    yield from grid(heads, rows)
    for text in series["left_out"]:
        yield f"- left out: {text}"


def _cost(found: Mapping[str, float]) -> str:
    return f"{found['time'] * 1e6:.1f} µs ({found['cpu'] * 1e6:.1f})"


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


if __name__ == "__main__":
    for file in write():
        print(file.name)
