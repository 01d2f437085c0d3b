"""`vestibule replay`: send recorded requests again, to whatever answers now."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .casefiles import EXIT_CONFIGURATION

if TYPE_CHECKING:
    from ..observe.record import Record
    from ..observe.resending import Sent

EXIT_UPSTREAM = 4


@click.command("replay")
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--against", required=True, help="Where the requests go: http://host[:port] or https://…")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Send so many requests a second.")
@click.option(
    "--speed", type=click.FloatRange(min=0, min_open=True), help="Keep the times of the recording; 2 is twice as fast."
)
@click.option("-H", "--header", "headers", multiple=True, help="`Name: value`, in the place of the recorded one.")
@click.option(
    "--fill",
    "fills",
    multiple=True,
    help="NAME=FILE: put the text of a file where NAME was replaced, in bodies, queries and cookies.",
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=30.0, help="Seconds for an answer.")
@click.option("--insecure", is_flag=True, help="Take any certificate.")
@click.option("--json", "as_json", is_flag=True, help="Print every outcome as JSON.")
def command(
    recording: Path,
    against: str,
    rate: float | None,
    speed: float | None,
    headers: tuple[str, ...],
    fills: tuple[str, ...],
    timeout: float,
    *,
    insecure: bool,
    as_json: bool,
) -> None:
    """Send the requests of a recording again and compare the status of each answer with the recorded one.

    Without --rate and --speed each is sent when the one before is answered. What was replaced in the recording stays
    replaced, unless it is given: the answer to a login without its password is another one. Exits 1 when an outcome
    differs, 4 when no answer comes or the server fails where it did not before.
    """
    from ..observe.resending import Resender
    from ..observe.traffic import TrafficError, read_traffic

    if rate is not None and speed is not None:
        raise click.UsageError("give --rate or --speed, not both")
    try:
        records = read_traffic(recording)
    except TrafficError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIGURATION)
    try:
        resender = Resender(against, dict(map(_header, headers)), dict(map(_fill, fills)), timeout, insecure=insecure)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    progress = _Progress(len(records))
    sent = asyncio.run(resender.run(records, rate=rate, speed=speed, done=progress.step))
    progress.end()
    click.echo(json.dumps([one.plain() for one in sent], indent=2) if as_json else _table(records, sent), nl=as_json)
    click.echo(_summary(sent), err=True)
    if any(one.blames_server for one in sent):
        sys.exit(EXIT_UPSTREAM)
    sys.exit(1 if any(one.differs for one in sent) else 0)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"a header is `Name: value`, not {name!r}")
    return name.strip(), value.strip()


def _fill(text: str) -> tuple[str, str]:
    name, equals, file = text.partition("=")
    if not equals or not name:
        raise click.UsageError("--fill is NAME=FILE")
    try:
        return name, Path(file).read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(f"--fill {name}: the file {file} cannot be read") from None


class _Progress:
    """How far it is, on a terminal."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._shown = 0.0
        self._terminal = sys.stderr.isatty()

    def step(self) -> None:
        self._done += 1
        if self._terminal and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            click.echo(f"\r  {self._done} of {self._total}\x1b[K", nl=False, err=True)

    def end(self) -> None:
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)


def _table(records: list[Record], sent: list[Sent]) -> str:
    """Write a line for each kind of outcome: which it was, which it is, how often, and how long it took."""
    kinds: dict[tuple[str, str, str, str], list[Sent]] = {}
    for record, one in zip(records, sent, strict=True):
        path = record.request.target.partition("?")[0]
        what = record.operation or f"{record.request.method} {path}"
        verdict = record.verdict
        who = f"{verdict.by or 'nobody'}{f' ({verdict.rule})' if verdict.rule else ''}"
        kinds.setdefault((what, str(record.status or "none"), who, one.told), []).append(one)
    rows = [("request", "recorded", "answered by", "now", "count", "p50 ms", "p99 ms")]
    for (what, status, who, now), found in sorted(
        kinds.items(), key=lambda pair: (not pair[1][0].differs, -len(pair[1]))
    ):
        times = sorted(one.ms for one in found)
        mark = "≠ " if found[0].differs else ""
        rows.append(
            (what, status, who, mark + now, str(len(found)), f"{_at(times, 0.5):.1f}", f"{_at(times, 0.99):.1f}")
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


def _at(times: list[float], share: float) -> float:
    return times[min(int(len(times) * share), len(times) - 1)]


def _summary(sent: list[Sent]) -> str:
    count = Counter("differs" if one.differs else "same" for one in sent)
    unsent = sum(one.error is not None and not one.blames_server for one in sent)
    told = f"{len(sent)} sent, {count['differs']} with another outcome"
    return told + (f", {unsent} of them could not be sent" if unsent else "")
