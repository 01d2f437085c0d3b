"""What two proxies tell each other in header lines: whose request it is, and what is to become of its headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..edge.fields import OF_A_HOP, classify, known
from ..edge.refusal import Refusal
from ..engine.message import Headers, Line

_FOR = b"x-forwarded-for"
# What the asking proxy says of a request or of its own connection to here; no part of the request.
_OURS = frozenset(
    {
        b"connection", b"expect", b"forwarded", b"host", b"transfer-encoding", b"upgrade", b"x-forwarded-for",
        b"x-forwarded-host", b"x-forwarded-method", b"x-forwarded-proto", b"x-forwarded-uri",
    }
)  # fmt: skip


def keyed(pairs: Sequence[tuple[bytes, bytes]]) -> list[Line]:
    """Give header lines with their names in lower case beside them."""
    return [(name.lower(), name, value) for name, value in pairs]


def of_request(lines: Sequence[Line]) -> list[tuple[bytes, bytes]]:
    """Give the lines that are the request's own."""
    return [(name, value) for key, name, value in lines if key not in _OURS]


def only(lines: Sequence[Line], key: bytes) -> str:
    """Give what is said once; raise Refusal for what is missing or said more than once."""
    found = [value for name, _, value in lines if name == key]
    if len(found) != 1 or not found[0]:
        raise _refusal(key, "more than once" if len(found) > 1 else "not at all")
    return found[0].decode("latin-1")


def hops(lines: Sequence[Line]) -> tuple[str, ...]:
    """Give the addresses that led to the asking proxy, its own peer last; raise Refusal where it does not say."""
    found = b",".join(value for key, _, value in lines if key == _FOR).decode("latin-1").split(",")
    if not found[-1].strip():
        raise _refusal(_FOR, "not at all")
    return tuple(hop.strip() for hop in found)


def _refusal(key: bytes, said: str) -> Refusal:
    return Refusal(400, f"{key.decode('latin-1')} is said {said} by the proxy that asks")


def joined(headers: Headers) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Give each header that another message may copy, by its key, as one line."""
    found: dict[bytes, tuple[bytes, bytes]] = {}
    for key, name, value in headers.lines:
        if (known.get(name) or classify(name))[1] in OF_A_HOP:
            continue
        before = found.get(key)
        between = b"; " if key == b"cookie" else b", "
        found[key] = (name, value) if before is None else (before[0], before[1] + between + value)
    return ((key, name, value) for key, (name, value) in found.items())
