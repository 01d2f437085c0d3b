"""What rules changed in the header lines of a message, as edits of the lines that another proxy holds.

What belongs to that proxy's own connections (framing, hop-by-hop fields, Host, X-Forwarded-*) is never edited.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..edge.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    FORWARDED,
    HOP,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
    classify,
    known,
)
from ..engine.message import Line

_THEIRS = frozenset({HOP, CONNECTION, TRANSFER_ENCODING, UPGRADE, HOST, EXPECT, CONTENT_LENGTH})


class HeaderEdits(NamedTuple):
    """Names with all their new values in order, which replace what is there; and names that are removed."""

    set: list[tuple[bytes, list[bytes]]]
    removed: list[bytes]


def compare(held: Iterable[Line], wanted: Iterable[Line]) -> HeaderEdits:
    """Give the edits that make the lines that are held those that are wanted; the order of names does not count."""
    before, after = by_name(held), by_name(wanted)
    changed = [(key, values) for key, values in after.items() if before.get(key) != values]
    return HeaderEdits(changed, [key for key in before if key not in after])


def by_name(lines: Iterable[Line]) -> dict[bytes, list[bytes]]:
    """Gather the values of each name, without the fields that are another proxy's own."""
    found: dict[bytes, list[bytes]] = {}
    for key, name, value in lines:
        _, kind, _ = known.get(name) or classify(name)
        # X-Forwarded-Client-Cert and their like are written by the proxy that holds the client's connection.
        if kind not in _THEIRS and kind != FORWARDED and not key.startswith(b"x-forwarded-"):
            found.setdefault(key, []).append(value)
    return found
