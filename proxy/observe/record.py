"""What is kept of an exchange: the shape of a line of a recording, which is also what the inspector is given.

Nothing here is secret any more: what a Record is made of went through hiding.py. The shape is part of what users see:
within `version` 1 members are only added, and a reader passes over those that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

VERSION = 1

# Name and value of each header line, in order, as they were spelled.
Lines = list[tuple[str, str]]


class Body(msgspec.Struct, omit_defaults=True):
    """A body. `size` is that of the bytes on the wire.

    `text` is the decoded text with what is secret replaced, and `coding` what it was coded in. A body without a text
    says `why`: it was too long, is of a kind that is not kept, or could not be read. `digest`, of a body of such a
    kind, is keyed: equal ones in one recording are equal bodies. `same` is a body that went on as it came.
    """

    size: int
    text: str | None = None
    coding: str | None = None
    digest: str | None = None
    why: str | None = None
    same: bool = False


class RequestRecord(msgspec.Struct, omit_defaults=True):
    """A request: `target` is the path and the query."""

    method: str
    target: str
    headers: Lines
    body: Body | None = None


class ResponseRecord(msgspec.Struct, omit_defaults=True):
    """An answer."""

    status: int
    headers: Lines
    reason: str | None = None
    body: Body | None = None


class VerdictRecord(msgspec.Struct, omit_defaults=True):
    """Why the exchange ended as it did; `by` is who answered: upstream, rule or proxy, None where nobody did."""

    by: str | None
    rule: str | None = None
    step: str | None = None
    action: str | None = None
    denied: bool = False
    code: str | None = None
    reason: str | None = None
    detail: str | None = None
    cause: str | None = None


class NoteRecord(msgspec.Struct, omit_defaults=True):
    """What a rule logged, or what a rule in shadow would have done."""

    kind: str
    rule: str
    level: str
    message: str


class EffectRecord(msgspec.Struct, omit_defaults=True):
    """What a rule got from outside: the answer of a lookup, the public keys of a set, or whether the store knew a key.

    `rule` is the rule that ran when it was asked for. `failed` is how it failed, `late` that it was too late.
    """

    kind: Literal["lookup", "keys", "stored"]
    rule: str
    method: str | None = None
    url: str | None = None
    status: int | None = None
    headers: Lines = msgspec.field(default_factory=list)
    body: str | None = None
    keys: list[dict[str, str | list[str]]] | None = None
    found: bool | None = None
    failed: str | None = None
    late: bool = False


class Record(msgspec.Struct, omit_defaults=True):
    """An exchange. `time` is in seconds since the epoch, when its head had been read; durations are in milliseconds.

    `recording` names the run: what was replaced is equal where it was equal within one, and never over two. `rules` is
    the version of the rules. The four messages: `request` from the client, `forwarded` to the upstream, `upstream` from
    it, `answer` to the client; those that there was none of are missing.
    """

    id: str
    recording: str
    time: float
    client: str
    scheme: str
    host: str
    rules: str
    ran: list[str]
    verdict: VerdictRecord
    own_ms: float
    request: RequestRecord
    version: int = VERSION
    pid: int = 0
    operation: str | None = None
    status: int | None = None
    ips: list[str] = msgspec.field(default_factory=list)
    http: str = "1.1"
    upstream_ms: float | None = None
    forwarded: RequestRecord | None = None
    upstream: ResponseRecord | None = None
    answer: ResponseRecord | None = None
    effects: list[EffectRecord] = msgspec.field(default_factory=list)
    notes: list[NoteRecord] = msgspec.field(default_factory=list)
    # The id of the exchange that was suspended, where this one is a return to it.
    returned: str | None = None
    hung_up: bool = False
    error: str | None = None

    def bodies(self) -> Iterator[Body]:
        """Give the bodies of the four messages."""
        for message in (self.request, self.forwarded, self.upstream, self.answer):
            if message is not None and message.body is not None:
                yield message.body


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """Write a record as one line, without its end."""
    return _encoder.encode(record)


def decode(line: bytes | str) -> Record:
    """Read a line; raises ValueError for what is no record, or one of a version that this reader does not know."""
    record = _decoder.decode(line)
    if record.version != VERSION:
        raise ValueError(f"it is a record of version {record.version}; this reads version {VERSION}")
    return record


def shorten(record: Record, most: int) -> bytes:
    """Write a record in at most so many bytes, leaving out the longest texts of its bodies first."""
    line = encode(record)
    if len(line) <= most:
        return line
    # The one that is given may be written elsewhere as it is.
    record = _decoder.decode(line)
    for body in sorted(record.bodies(), key=lambda body: -len(body.text or "")):
        if body.text is None:
            break
        body.text, body.why = None, "the record would be too long"
        line = encode(record)
        if len(line) <= most:
            break
    return line
