"""Vestibule with rules that were made to measure: many, many that match, many conditions, answers of any size."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .jobs import JOBS, ORDERS, SIZED, TICKETS, Answer, Job, ask, credentials, sized, trimmed
from .peers import Peer, Place, vestibule

Rule = dict[str, Any]
_MARK = "x-bench"
_IN_A_FILE = 1_000


def peer(name: str, rules: Callable[[], Sequence[Rule]], *more: str) -> Peer:
    """Make Vestibule with rules of its own and more flags."""

    def command(place: Place) -> Sequence[str]:
        folder = place.folder / "rules"
        folder.mkdir()
        written = rules()
        # A file has at most a megabyte; JSON is YAML.
        for at in range(0, max(len(written), 1), _IN_A_FILE):
            part = {"version": 1, "rules": written[at : at + _IN_A_FILE]}
            (folder / f"rules-{at:06}.yaml").write_text(json.dumps(part))
        return vestibule.words(place, folder, *more)

    return replace(vestibule.PEER, name=name, command=command)


def one_of(count: int) -> list[Rule]:
    """Make rules of which one matches the job `marked`: half with exact paths, half with a prefix."""
    others = [
        {
            "name": f"other-{n}",
            "match": {"path": f"/api/area-{n}/*" if n % 2 else f"/api/area-{n}/tickets", "method": "POST"},
            "before": [{"headers": {"set": {"x-vol-site": str(n)}}}],
        }
        for n in range(count - 1)
    ]
    return [*others[: count // 2], *all_of(1), *others[count // 2 :]]


def all_of(count: int) -> list[Rule]:
    """Make rules that all match the job `marked`, and set one header of its answer."""
    return [
        {
            "name": f"marks-{n}",
            "match": {"path": ORDERS, "method": "POST", "status": 200},
            "after": [{"headers": {"set": {_MARK: f"{n:06}"}}}],
        }
        for n in range(count)
    ]


def with_conditions(count: int) -> list[Rule]:
    """Make one rule whose steps have so many conditions on the request's body, none of which holds."""
    steps = [
        {"when": f"request.body.username == 'nobody-{n}@example.com'", "headers": {"set": {"x-vol-site": "1"}}}
        for n in range(count)
    ]
    # The body is read in every variant, or the first condition would cost its reading too.
    read: Rule = {"name": "reads", "match": {"path": ORDERS, "method": "POST"}, "before": [
        {"when": "request.body.password == ''", "deny": {"reason": "A password is missing."}}, *steps,
    ]}  # fmt: skip
    return [read, *all_of(1)]


def trimming() -> list[Rule]:
    """Make a rule that takes one field out of an answer of any size."""
    match = {"path": f"{SIZED}*", "method": "GET", "status": 200}
    return [{"name": "trims", "match": match, "after": [{"body": {"remove": ["internal"]}}]}]


def _marked(answer: Answer) -> str | None:
    wrong = JOBS["pass"].check(answer)
    return wrong if wrong or _MARK in answer.headers else f"{_MARK} is missing"


MARKED = Job("marked", "a login of 3.9 KB, one header set", ask("POST", ORDERS, credentials("jane")), 200, _marked,
             paced=False)  # fmt: skip


def sized_job(size: int) -> Job:
    """Make the job of an answer of about so many bytes."""
    connections = 16 if size < 1 << 18 else 2
    request = ask("GET", f"{SIZED}{size}")
    return Job(f"body-{size}", f"one field removed from {size:,} bytes", request, 200, trimmed(sized(size)),
               connections=connections, paced=False)  # fmt: skip


def busy_job(connections: int) -> Job:
    """Make the job `pass` over so many connections at once."""
    return replace(JOBS["pass"], name=f"connections-{connections}", connections=connections, paced=False)


__all__ = ["MARKED", "TICKETS", "all_of", "busy_job", "one_of", "peer", "sized_job", "trimming", "with_conditions"]
