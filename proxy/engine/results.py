"""Where the client goes once the exchange has gone well: the address that `result_url` set.

Only an answer of the upstream's leads there; a denial or an error stays what it is.
"""

from __future__ import annotations

from .exchange import Exchange
from .message import STALE, Response

STATE = "result_url"

_OF_A_BODY = STALE | {b"content-type", b"content-encoding", b"content-language", b"content-range", b"accept-ranges"}


def lead_on(exchange: Exchange, response: Response) -> None:
    """Send a browser that navigates to the address, and tell it to any other client."""
    url: str | None = exchange.state.get(STATE)
    if url is None or not 200 <= response.status < 300:
        return
    if not exchange.navigates:
        response.headers.set(b"Vestibule-Result-Url", url.encode())
        return
    # Its cookies come along; the page is another one now.
    response.headers.discard(_OF_A_BODY)
    response.headers.set(b"Location", url.encode())
    response.headers.set(b"Cache-Control", b"no-store")
    response.status, response.reason = 303, None
    response.replace(b"")
