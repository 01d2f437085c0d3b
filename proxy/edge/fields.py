"""What each header name means to a proxy, and which fields end at this hop (RFC 9110 section 7.6.1).

Names are looked up by their bytes as sent; what is learned about a name is kept, under a bound.
"""

from __future__ import annotations

import re

from ..engine.message import Line

_REMEMBERED = 2048
# Key, kind, and the name as the beginning of a line.
known: dict[bytes, tuple[bytes, int, bytes]] = {}
_token = re.compile(rb"[!#$%&'*+.^`|~0-9A-Za-z_-]+").fullmatch


# What is done with a field on its way to the upstream. Plain numbers, with nothing to do as 0: they are compared for
# every line of every message.
PLAIN = 0
HOP = 1
CONNECTION = 2
TRANSFER_ENCODING = 3
UPGRADE = 4
HOST = 5
EXPECT = 6
CONTENT_LENGTH = 7
SINGLE = 8
CLAIM = 9  # says who the client is or what it asked for; only trusted proxies may send it
FORWARDED = 10  # read from trusted proxies, and always written anew
VIA = 11
INVALID = 12
UNDERSCORE = 13  # some servers read it as a hyphen: refused from clients, passed from upstreams
TRACE = 14  # which trace a request belongs to

# What a head says about its own connection and framing: written for each hop, never taken from a message.
OF_A_HOP = frozenset({HOP, CONNECTION, TRANSFER_ENCODING, UPGRADE, HOST, EXPECT, CONTENT_LENGTH})

_KINDS = {
    b"keep-alive": HOP,
    b"te": HOP,
    b"trailer": HOP,
    b"http2-settings": HOP,
    b"connection": CONNECTION,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"upgrade": UPGRADE,
    b"host": HOST,
    b"expect": EXPECT,
    b"content-length": CONTENT_LENGTH,
    b"authorization": SINGLE,
    b"content-type": SINGLE,
    b"traceparent": TRACE,
    b"via": VIA,
    b"forwarded": FORWARDED,
    b"x-forwarded-for": FORWARDED,
    b"x-forwarded-host": FORWARDED,
    b"x-forwarded-proto": FORWARDED,
    b"x-forwarded-port": FORWARDED,
}
# The names by which a client would speak for itself, as they are known; so is any other x-forwarded- name.
CLAIMS = (
    b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip", b"x-originating-ip", b"x-remote-ip",
    b"x-remote-addr", b"x-original-url", b"x-original-uri", b"x-original-host", b"x-original-method",
    b"x-rewrite-url", b"x-host", b"x-http-host-override", b"x-http-method", b"x-http-method-override",
    b"x-method-override", b"x-scheme", b"x-url-scheme", b"front-end-https", b"x-forwarded-user",
    b"x-forwarded-email", b"x-forwarded-groups", b"x-forwarded-preferred-username", b"x-forwarded-access-token",
)  # fmt: skip
_KINDS |= dict.fromkeys(CLAIMS, CLAIM)

# What a Connection header cannot take away: whatever says who asks and what is sent. Names that begin with x- are kept
# too, as identity travels in them; real hop-by-hop fields of that form do not exist.
_END_TO_END = frozenset(
    {
        b"accept", b"accept-encoding", b"accept-language", b"authorization", b"cache-control", b"cookie", b"date",
        b"etag", b"expect", b"forwarded", b"host", b"if-match", b"if-modified-since", b"if-none-match",
        b"if-unmodified-since", b"last-modified", b"location", b"origin", b"pragma", b"range", b"referer",
        b"referrer-policy", b"retry-after", b"set-cookie", b"strict-transport-security", b"user-agent", b"vary", b"via",
        b"www-authenticate",
    }
)  # fmt: skip


def classify(name: bytes) -> tuple[bytes, int, bytes]:
    """Return a name in lower case, what it means, and how a line of it begins; for names that `known` does not hold."""
    key = name.lower()
    if not _token(name):
        kind = INVALID
    elif b"_" in key:
        kind = UNDERSCORE
    elif key.startswith(b"proxy-"):
        kind = HOP
    elif key.startswith(b"x-forwarded-"):
        kind = _KINDS.get(key, CLAIM)
    else:
        kind = _KINDS.get(key, PLAIN)
    if len(known) >= _REMEMBERED:
        known.clear()
    found = known[name] = (key, kind, name + b": ")
    return found


def options(values: list[bytes]) -> frozenset[bytes]:
    """Return the options of the Connection headers, in lower case."""
    return frozenset(
        option for option in (part.strip(b" \t").lower() for part in b",".join(values).split(b",")) if option
    )


def without_named(lines: list[Line], named: frozenset[bytes]) -> list[Line]:
    """Drop the lines that Connection names, except what no hop may take away."""
    named = frozenset(
        name
        for name in named
        if name not in _END_TO_END and not name.startswith((b"x-", b"content-", b"access-control-", b"sec-"))
    )
    return [line for line in lines if line[0] not in named] if named else lines
