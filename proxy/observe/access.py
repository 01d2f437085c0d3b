"""What the log says of an exchange, as its line: every text that came from outside is made fit for a log first."""

from __future__ import annotations

import msgspec

from ..engine.exchange import Exchange, Verdict
from . import redact
from .facts import Facts
from .line import Line


def describe(exchange: Exchange, facts: Facts, time: str, level: str, pid: int) -> Line:
    """Describe an exchange that is over."""
    verdict, status, upstream = exchange.verdict, facts.status, facts.upstream
    path, mark, query = (facts.target or exchange.request.url).partition("?")
    line = Line(
        time,
        level,
        "exchange",
        pid,
        redact.text(exchange.correlation),
        exchange.request.ip or facts.client,
        facts.method,
        redact.text(path),
        redact.query(query, exchange.ruleset.redact.query) if mark else msgspec.UNSET,
        exchange.operation.name if exchange.operation is not None else None,
        # Nobody answered a client that left, or that was cut off, before there was an answer.
        status or None,
        verdict.by if status else None,
        exchange.ran,
        None if upstream is None else round(upstream, 2),
        round(facts.total - (upstream or 0.0), 2),
        facts.received,
        facts.sent,
    )
    if exchange.continues is not None:
        line.returned = redact.text(exchange.continues)
    if verdict.by != "upstream":
        _explain(verdict, line)
    if facts.error is not None and verdict.cause is None:
        line.cause = facts.error
    if facts.hung_up:
        line.hung_up = True
    if facts.trace is not None:
        line.trace_id = facts.trace.id
    return line


def _explain(verdict: Verdict, line: Line) -> None:
    rule = verdict.rule
    if rule is not None:
        if verdict.by == "proxy":
            line.failed_rule = rule
        elif verdict.denies:
            line.denied_by = rule
        else:
            line.answered_by = rule
        line.step = verdict.step
    if verdict.code is not None:
        line.code = redact.text(verdict.code)
    if verdict.reason is not None:
        line.reason = redact.text(verdict.reason)
    if verdict.detail is not None:
        line.detail = redact.text(verdict.detail)
    if verdict.cause is not None:
        line.cause = redact.text(verdict.cause)
