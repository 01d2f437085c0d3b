"""One exchange through its rules, as a shell sees it.

A shell calls, in this order: `begin`, `before`, then (unless that gave an answer) `after` with the upstream's answer,
or at any point `refuse` with an answer of the proxy's own, or `lose` where an answer will not be heard; instead of
`before`, for somebody who comes back, `returns.resume`. Each of them may return a Pending: the shell performs its
effect and calls `resume` or `fail`, which return what the first call would have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from . import dialects, obligations
from .errors import Unreadable
from .exchange import Exchange, Note, Verdict
from .faults import classify, error_answer, fault
from .message import Request, Response
from .phase import Errand, Pending, Phase, Result, arrive
from .ruleset import Choice, Chosen, Ruleset

__all__ = [
    "Pending", "Result", "after", "before", "begin", "fault", "lose", "needs_request", "needs_response", "refuse",
]  # fmt: skip

_well_formed = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{7,127}").fullmatch


def begin(
    ruleset: Ruleset,
    request: Request,
    *,
    clock: Callable[[], float],
    entropy: Callable[[int], bytes],
) -> Exchange:
    """Begin an exchange; what `choose` finds unreadable is raised by it, not here."""
    exchange = Exchange(ruleset, request, clock=clock, entropy=entropy)
    try:
        operation = ruleset.route(request.method, request.path).operation
        if operation is not None:
            exchange.dialect = operation.dialect
    except Unreadable:
        pass
    sent = request.headers.values(dialects.correlation_header(exchange.dialect))
    text = sent[0].decode("latin-1") if len(sent) == 1 else ""
    exchange.correlation = text if _well_formed(text) else entropy(16).hex()
    return exchange


def needs_request(exchange: Exchange) -> bool:
    """Say whether a rule reads the request's body, so that it must be collected before `before`."""
    return exchange.chosen.needs_request


def needs_response(exchange: Exchange, status: int) -> bool:
    """Say whether a rule reads the body of an upstream answer with this status, so that it must be collected."""
    owed = exchange.obligations
    return (owed is not None and owed.needs_response) or exchange.chosen.for_answer("upstream", status)[1]


def before(exchange: Exchange) -> Result | Pending:
    """Run the `before` rules; None means that the request is to be forwarded."""
    exchange.enter("before")
    if exchange.chosen.is_sampled:
        faulty = _draw(exchange)
        if faulty is not None:
            return faulty
    return Phase(exchange, exchange.chosen.before, last=False).go()


def after(exchange: Exchange, response: Response) -> Result | Pending:
    """Run the `after` rules on an upstream answer; gives the answer for the client."""
    return arrive(exchange, response, last=False)


def refuse(exchange: Exchange, status: int, cause: str, *, code: str | None = None) -> Result | Pending:
    """Answer for the proxy itself: a bad request, an upstream that is down; `cause` is logged, not shown."""
    return arrive(exchange, fault(exchange, status, cause, code=code), last=True)


def lose(exchange: Exchange) -> Result | Pending:
    """End an exchange whose answer was not heard, though the upstream was called."""
    return Errand(exchange, obligations.lose(exchange)).go()


def _draw(exchange: Exchange) -> Result | Pending:
    """Keep each rule with a `fraction` in that share of the exchanges, one `sticky` value always on the same side."""
    kept: list[Chosen] = []
    for chosen in exchange.chosen.rules:
        rule = chosen.rule
        if rule.fraction < 1:
            exchange.rule, exchange.params = rule, chosen.params
            try:
                key = exchange.entropy(16) if rule.sticky is None else str(rule.sticky(exchange)).encode()
            except Exception as error:
                status, cause = classify(error, rule.sticky_side)
                if rule.skip_errors and status >= 500:
                    exchange.notes.append(Note("skipped", rule.name, "warning", cause))
                    continue
                exchange.verdict = Verdict(by="proxy", rule=rule.name, step="sticky", cause=cause)
                return arrive(exchange, error_answer(exchange, status), last=True)
            digest = hashlib.sha256(rule.name.encode() + b"\0" + key).digest()
            if int.from_bytes(digest[:7], "big") / (1 << 56) >= rule.fraction:
                continue
        kept.append(chosen)
    exchange.chosen = Choice(tuple(kept))
    return None
