"""W3C Trace Context: which trace an exchange belongs to, and what of it goes on to the upstream.

Nothing is exported here: spans.py does that, where it is switched on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.message import Headers

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_SAMPLED, _RANDOM = 1, 2
_STATE = frozenset({b"tracestate"})
_KEY = rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_member = re.compile(_KEY + rb"=[ -+\--<>-~]{0,255}[!-+\--<>-~]").fullmatch
_MEMBERS = 32


class Trace:
    """The trace of an exchange: ids in hex, as they are written.

    `server` and `client` are the spans of ours, empty where none are made: then the headers go on as they came.
    """

    __slots__ = ("client", "flags", "id", "parent", "server")

    def __init__(self, id: str, parent: str, flags: int, server: str = "", client: str = "") -> None:
        self.id = id
        self.parent = parent
        self.flags = flags
        self.server = server
        self.client = client

    @property
    def sampled(self) -> bool:
        return bool(self.flags & _SAMPLED)

    def lay(self, headers: Headers) -> None:
        """Name our span as the parent of what the upstream does; a state that is not of this trace ends here."""
        if not self.client:
            return
        headers.set(b"traceparent", f"00-{self.id}-{self.client}-{self.flags:02x}".encode())
        if b"tracestate" in headers and not (self.parent and _is_state(headers.values(b"tracestate"))):
            headers.discard(_STATE)


def read(traceparent: bytes) -> Trace | None:
    """Read a traceparent; None when it is not valid, also for one that came twice, which is empty."""
    found = _TRACEPARENT(traceparent)
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or not trace.strip(b"0") or not parent.strip(b"0"):
        return None
    return Trace(trace.decode(), parent.decode(), int(flags, 16) & (_SAMPLED | _RANDOM))


def _is_state(values: list[bytes]) -> bool:
    members = [member.strip(b" \t") for member in b",".join(values).split(b",")]
    members = [member for member in members if member]
    keys = {member.partition(b"=")[0] for member in members}
    return len(keys) == len(members) <= _MEMBERS and all(map(_member, members))


class Traces:
    """Continues the traces of clients and starts those that they did not.

    Who has a parent is sampled if that is; of the others the share `ratio`, chosen by the id of the trace.
    """

    def __init__(self, ratio: float, entropy: Callable[[int], bytes]) -> None:
        self._bound = round(ratio * (1 << 64))
        self._entropy = entropy

    def begin(self, traceparent: bytes | None) -> Trace:
        """Give the trace of an exchange, with spans of ours."""
        trace = read(traceparent) if traceparent is not None else None
        if trace is None:
            drawn = self._entropy(16)
            sampled = int.from_bytes(drawn[8:], "big") < self._bound
            trace = Trace(drawn.hex(), "", (_SAMPLED if sampled else 0) | _RANDOM)
        trace.server, trace.client = self._entropy(8).hex(), self._entropy(8).hex()
        return trace
