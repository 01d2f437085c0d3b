"""The line of an exchange in the log, as the operator reads it."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct):
    """The line of an exchange, in the order of its fields; what is unset is left out."""

    time: str
    level: str
    event: str
    pid: int
    id: str
    client: str
    method: str | None
    path: str
    query: str | msgspec.UnsetType
    operation: str | None
    status: int | None
    by: str | None
    rules: list[str]
    upstream_ms: float | None
    own_ms: float
    received: int = msgspec.field(name="in")
    sent: int = msgspec.field(name="out")
    # `id` is that of the exchange that was suspended; the return has one of its own.
    returned: str | msgspec.UnsetType = msgspec.field(name="return", default=msgspec.UNSET)
    denied_by: str | msgspec.UnsetType = msgspec.UNSET
    answered_by: str | msgspec.UnsetType = msgspec.UNSET
    failed_rule: str | msgspec.UnsetType = msgspec.UNSET
    step: str | msgspec.UnsetType | None = msgspec.UNSET
    code: str | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    detail: str | msgspec.UnsetType = msgspec.UNSET
    cause: str | msgspec.UnsetType = msgspec.UNSET
    hung_up: bool | msgspec.UnsetType = msgspec.UNSET
    trace_id: str | msgspec.UnsetType = msgspec.UNSET
