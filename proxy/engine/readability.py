"""What is asked of the upstream where rules read its answer: all of it, in a coding that can be undone.

A client that asks for a part (RFC 9110 section 14) would get an answer that the rules for a whole one do not see.
"""

from __future__ import annotations

from .codings import CODINGS
from .exchange import Exchange

_PARTS = frozenset({b"range", b"if-range"})
_ACCEPTED = frozenset({*(name.encode() for name in CODINGS), b"identity"})


def ask_for_all(exchange: Exchange) -> None:
    """Make the request one whose answer the chosen rules can read; call it when it is about to be forwarded."""
    owed = exchange.obligations
    shares = owed is not None and owed.sharing is not None
    if not shares and not exchange.chosen.reads_answer:
        return
    headers = exchange.request.headers
    headers.discard(_PARTS)
    accepted = headers.get(b"accept-encoding")
    if not accepted:
        return
    given = [part.strip() for part in accepted.split(b",")]
    kept = [part for part in given if part.partition(b";")[0].strip().lower() in _ACCEPTED]
    if len(kept) < len(given):
        headers.set(b"Accept-Encoding", b", ".join(kept) or b"identity")
