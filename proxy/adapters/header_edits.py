"""What rules changed in the header lines of a message, as edits of the lines that another proxy holds.

What belongs to that proxy's own connections (framing, hop-by-hop fields, Host) is never edited.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..edge.fields import OF_A_HOP, classify, known
from ..engine.message import Line


class HeaderEdits(NamedTuple):
    """Names with all their new values in order, which replace what is there; and names that are removed."""

    set: list[tuple[bytes, list[bytes]]]
    removed: list[bytes]


def compare(held: Iterable[Line], wanted: Iterable[Line], *, kept: frozenset[bytes] = frozenset()) -> HeaderEdits:
    """Give the edits that make the lines that are held those that are wanted; the order of names does not count.

    Names that are `kept` stay as they are held.
    """
    before, after = by_name(held), by_name(wanted)
    changed = [(key, values) for key, values in after.items() if before.get(key) != values and key not in kept]
    return HeaderEdits(changed, [key for key in before if key not in after and key not in kept])


def by_name(lines: Iterable[Line]) -> dict[bytes, list[bytes]]:
    """Gather the values of each name, without the fields that are another proxy's own."""
    found: dict[bytes, list[bytes]] = {}
    for key, name, value in lines:
        if (known.get(name) or classify(name))[1] not in OF_A_HOP:
            found.setdefault(key, []).append(value)
    return found
