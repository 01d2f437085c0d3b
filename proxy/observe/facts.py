"""What the log says of an exchange beside its rules; the edge fills it in, and nothing of it is a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trace import Trace


@dataclass(slots=True)
class Facts:
    """What the log says of an exchange beside its rules. Times in milliseconds, sizes in bytes of bodies.

    `method` and `target` are as received, and None where no request could be read. `error` is the proxy's own cause:
    words of ours, never bytes of a message. `correlation` is that of the answer where no request could be read. For
    an exchange with a `trace`, `asked` is when the upstream was asked, from the start, and `heard` the status it gave.
    """

    client: str
    method: str | None = None
    target: str | None = None
    status: int = 0
    received: int = 0
    sent: int = 0
    total: float = 0.0
    upstream: float | None = None
    hung_up: bool = False
    error: str | None = None
    correlation: str | None = None
    trace: Trace | None = None
    asked: float | None = None
    heard: int = 0
