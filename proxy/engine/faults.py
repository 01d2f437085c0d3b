"""What becomes of an error: its status, its cause for the log, and the answer that tells nothing of it."""

from __future__ import annotations

from . import dialects
from .errors import ABSORBED, EffectFailed, EvaluationError, Side, Unreadable, Unusable
from .exchange import Exchange, Verdict
from .message import Response


def classify(error: Exception, side: Side | None) -> tuple[int, str]:
    """Give the status and the cause of a rule's error (LANGUAGE semantic 5); a cause holds no value."""
    if isinstance(error, Unreadable | EffectFailed):
        return error.status, error.cause
    if isinstance(error, Unusable):
        return 500, error.cause
    if isinstance(error, EvaluationError):
        side = error.side or side
        cause = error.cause
    elif isinstance(error, ABSORBED):
        cause = f"an expression failed: {type(error).__name__}"
    else:
        return 500, f"{type(error).__name__} in the rule"
    if side == "request":
        return 400, cause
    return (502 if side == "response" else 500), cause


def error_answer(exchange: Exchange, status: int, code: str | None = None) -> Response:
    """Build an answer of the proxy itself, in the dialect of the exchange."""
    return dialects.answer(
        exchange.dialect,
        status,
        correlation=exchange.correlation,
        limits=exchange.request.limits,
        code=code,
        origin="proxy",
    )


def fault(exchange: Exchange, status: int, cause: str, *, code: str | None = None) -> Response:
    """Build an answer of the proxy itself that no rule sees: for when what the rules made cannot be sent."""
    exchange.verdict = Verdict(by="proxy", code=code, cause=cause)
    return error_answer(exchange, status, code)
