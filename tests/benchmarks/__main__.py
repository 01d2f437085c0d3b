"""The benchmark's command line.

    python -m tests.benchmarks [--rounds 5] [--seconds 1] [--jobs login,pass] [--peers vestibule,nginx-lua]

Prints what it finds as Markdown and keeps it as JSON in `.bench/`, from where `--write` puts it into the README here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .jobs import JOBS
from .peers import PEERS
from .peers.peer import ROOT
from .promises import ratio_table
from .report import machine, tables, today
from .rounds import play

KEPT = ROOT / ".bench"


def main(words: Sequence[str] | None = None) -> int:
    asked = _arguments(words)
    missing = {}
    peers = []
    for name in asked.peers:
        peer = PEERS[name]
        if peer.version() is None:
            missing[name] = peer.install
            print(f"missing: {peer.title}; {peer.install}", file=sys.stderr)
        else:
            peers.append(peer)
    if not peers:
        return 1
    outcome = play(
        peers,
        [JOBS[name] for name in asked.jobs],
        asked.rounds,
        asked.seconds,
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    report: dict[str, Any] = {
        "date": today(),
        "machine": machine(),
        "rounds": asked.rounds,
        "seconds": asked.seconds,
        "jobs": {name: JOBS[name].text for name in asked.jobs},
        "titles": {name: PEERS[name].title for name in asked.peers},
        "versions": {peer.name: peer.version() for peer in peers},
        "ready": outcome.ready,
        "held": outcome.held,
        "missing": missing,
        "left_out": [{"peer": peer, "job": job, "reason": why} for (peer, job), why in outcome.left_out.items()],
        "turns": [turn.plain() for turn in outcome.turns],
    }
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps(report, indent=1))
    print("\n".join([*tables(report), "", *ratio_table(report)]))
    return 1 if any(one["peer"] == "vestibule" for one in report["left_out"]) else 0


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of load, of each peer at each job in each round")
    parser.add_argument("--jobs", type=_names(JOBS), default=list(JOBS), help=",".join(JOBS))
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--json", type=Path, default=KEPT / "bench.json", help="where the figures go")
    return parser.parse_args(words)


def _names(table: dict[str, Any]) -> Any:
    def names(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        for name in found:
            if name not in table:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(table)}")
        return found

    return names


if __name__ == "__main__":
    sys.exit(main())
