"""The figures of tests/README.md: what the tests measured, added up over a run and written into its table.

`pytest --figures FILE` lets every test that has one append to the file; `python -m tests.figures FILE PAGE` writes the
table of `make test`, and `python -m tests.figures FILE PAGE soak` that of the long runs. A figure that no test gave is
told as missing, never made up; the long runs give only some. `python -m tests.figures FILE` says how many cases went
through each proxy that asks for the rules, and why others could not.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TABLES = ("figures", "soak")


@dataclass(frozen=True)
class Promise:
    """A row of the table. `worst` figures are compared by their greatest value, all others are added up."""

    name: str
    text: str
    bound: str
    worst: bool = False


PROMISES = (
    Promise("wrong-answers", "wrong answers to a caller, the upstream and the clients misbehaving", "0"),
    Promise("desync", "disagreements about number, boundary, method, target or host of a request", "0"),
    Promise("refused-bytes", "bytes that reached the upstream of requests that were refused", "0"),
    Promise("forged", "forged or replayed credentials that were accepted", "0"),
    Promise("races", "races for a single-use state that more than one won", "0"),
    Promise("faults", "faults that were not answered as declared within the deadline", "0"),
    Promise("canaries", "canary secrets found in a log, a metric, an answer or an error", "0"),
    Promise("deliveries", "requests that reached the upstream more than once", "0"),
    Promise("spellings", "spellings of a denied path or method that reached the handler", "0"),
    Promise("redirects", "redirects that left the allow list, as a WHATWG parser reads them", "0"),
    Promise("line-breaks", "CR or LF in a header that was written", "0"),
    Promise("json", "bodies that two readers read differently, or that lost a byte no rule named", "0"),
    Promise("ext_proc-cases", "cases that came out otherwise through Envoy’s external processing", "0"),
    Promise("ext_proc-left", "cases that Envoy’s external processing cannot express", "listed"),
    Promise("ext_authz-cases", "cases that came out otherwise through Envoy’s external authorization", "0"),
    Promise("ext_authz-left", "cases that Envoy’s external authorization cannot express", "listed"),
    Promise("ext_authz_http-cases", "cases that came out otherwise through Envoy’s authorization over HTTP", "0"),
    Promise("ext_authz_http-left", "cases that Envoy’s authorization over HTTP cannot express", "listed"),
    Promise("nginx-cases", "cases that came out otherwise through nginx’ `auth_request`", "0"),
    Promise("nginx-left", "cases that nginx’ `auth_request` cannot express", "listed"),
    Promise("caddy-cases", "cases that came out otherwise through Caddy’s `forward_auth`", "0"),
    Promise("caddy-left", "cases that Caddy’s `forward_auth` cannot express", "listed"),
    Promise("traefik-cases", "cases that came out otherwise through Traefik’s ForwardAuth", "0"),
    Promise("traefik-left", "cases that Traefik’s ForwardAuth cannot express", "listed"),
    Promise("loop-stall", "longest stall of the event loop, in milliseconds", "50", worst=True),
    Promise("amplification", "memory held for each byte that was sent, at most", "10", worst=True),
    Promise("slow-clients", "requests of good clients that failed beside slow ones", "0"),
    Promise("drain", "requests that a stop lost", "0"),
    Promise("replacement", "requests that the replacement of a worker or of the proxy lost", "0"),
    Promise("reload", "requests that a reload lost, or that met two versions of the rules", "0"),
    Promise(
        "reload-p99", "99th percentile of answers while rules are reloaded, to that without", "1.2 times", worst=True
    ),
)


class Figures:
    """Takes the figures of one process; without a file they go nowhere."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def add(self, name: str, *, cases: int, found: float = 0, reasons: Mapping[str, int] | None = None) -> None:
        """Tell how many cases were tried and what was found: how many failed, or for a worst figure how much it was.

        `reasons` says of how many of them why.
        """
        if name not in {promise.name for promise in PROMISES}:
            raise ValueError(f"there is no promise {name!r}")
        if self._file is None:
            return
        line = json.dumps({"name": name, "cases": cases, "found": found, "reasons": reasons or {}}) + "\n"
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            # One write: processes append side by side.
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def table(lines: Sequence[str], *, whole: bool) -> Iterator[str]:
    """Write the table from the lines of a run; a `whole` one names what is missing too."""
    found = [json.loads(line) for line in lines]
    yield "| what must not happen | promised | measured | cases |"
    yield "|---|---|---|---|"
    for promise in PROMISES:
        mine = [one for one in found if one["name"] == promise.name]
        if not mine and not whole:
            continue
        if not mine:
            yield f"| {promise.text} | {promise.bound} | not measured | |"
            continue
        values = [one["found"] for one in mine]
        value = max(values) if promise.worst else sum(values)
        yield f"| {promise.text} | {promise.bound} | {value:g} | {sum(one['cases'] for one in mine):,} |"


def through(lines: Iterable[str]) -> Iterator[str]:
    """Say of each proxy that asks for the rules how many cases went through it, and why others could not."""
    found = [json.loads(line) for line in lines]
    for promise in PROMISES:
        way, _, kind = promise.name.rpartition("-")
        if kind != "left" or not (mine := [one for one in found if one["name"] == promise.name]):
            continue
        left = sum(one["found"] for one in mine)
        tried = [one for one in found if one["name"] == f"{way}-cases"]
        reasons: Counter[str] = Counter()
        for one in mine:
            reasons.update(one["reasons"])
        yield (
            f"{way}: {sum(one['cases'] for one in tried):,} cases came through, "
            f"{sum(one['found'] for one in tried):g} of them otherwise; {left:g} could not be expressed"
        )
        yield from (f"  {count:>5} {reason}" for reason, count in reasons.most_common())


def marks(table: str) -> tuple[str, str]:
    """Give the lines between which a table stands in the page."""
    return f"<!-- {table}: begin -->", f"<!-- {table}: end -->"


def put(page: Path, of: str, lines: Iterable[str]) -> None:
    """Write lines into a page, between the two marks of a table, over what stands there."""
    begin, end = marks(of)
    text = page.read_text("utf-8")
    if begin not in text or end not in text:
        raise ValueError(f"{page.name} has no {begin} … {end}")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    rows = "\n".join(lines)
    page.write_text(f"{head}{begin}\n{rows}\n{end}{tail}", "utf-8")


def main(file: str, page: str | None = None, of: str = "figures") -> None:
    """Write the figures of a run into a page, or print what went through other proxies."""
    if page is None:
        print(*through(Path(file).read_text("utf-8").splitlines()), sep="\n")
        return
    put(Path(page), of, table(Path(file).read_text("utf-8").splitlines(), whole=of == TABLES[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
