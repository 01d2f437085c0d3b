"""Texts that break lines, end heads or start new ones: written plainly, escaped, in look-alikes and in pieces."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hypothesis import strategies as st

PIECES = (
    "\r\n", "\r", "\n", "\n\r", "\r\n\r\n", "\x00", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x7f", "\x85",
    "\u2028",
    "\u2029", "\u010a", "\u010d", "\u010d\u010a", "\u560d\u560a", "\u240d\u240a", "\ufeff", "\u200b", "\uffff",
    "\U0001f600",
    "%0d%0a", "%0D%0A", "%250d%250a", "%00", "%u000a", "\\r\\n", "\\u000d\\u000a", "&#13;&#10;", "=?utf-8?q?=0D=0A?=",
    "\r\nInjected: 1", "\nInjected: 1", "\rInjected: 1", "\u2028Injected: 1", "Injected: 1", "\r\n Injected",
    "\r\n\tInjected",
    "\r\nSet-Cookie: injected=1", "; Domain=evil.com", ", injected=1",
    "\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    " HTTP/1.1\r\nHost: evil.com\r\n\r\n", "\r\nTransfer-Encoding: chunked", "HTTP/1.1 200 OK", " ", "\t", ":", ";",
    ",", "=",
    '"', "'", "\\", "/", "?", "#", "%", "&", "+", "@", "a", "b", "0", "ä", "\xa0", "\xad", "https://good.com/",
    "/x", "..",
)  # fmt: skip
HALVES = ("\ud800", "\udfff", "\udc0a", "\ud83d")

nasty = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4), st.sampled_from(HALVES)), max_size=6).map(
    "".join
)


def texts(count: int, seed: int) -> Iterator[str]:
    """Give so many texts, the same for the same seed: each piece alone first, then drawn together."""
    draw = random.Random(seed)
    alone = [*PIECES, *HALVES, *(f"a{piece}b" for piece in PIECES)]
    yield from alone[:count]
    for _ in range(count - len(alone)):
        parts = draw.choices(PIECES, k=draw.randint(1, 5))
        if draw.random() < 0.3:
            parts.insert(
                draw.randrange(len(parts) + 1), chr(draw.choice((draw.randrange(0x20), draw.randrange(0x3000))))
            )
        if draw.random() < 0.02:
            parts.append(draw.choice(HALVES))
        yield "".join(parts)
