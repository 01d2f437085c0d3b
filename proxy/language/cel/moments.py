"""Points in time and spans of it, to the nanosecond."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import total_ordering

from ...engine.errors import EvaluationError

_SECOND = 1_000_000_000
_EARLIEST, _LATEST = -62_135_596_800 * _SECOND, 253_402_300_800 * _SECOND - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS = {
    "ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 1_000_000,
    "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND,
}  # fmt: skip


@total_ordering
class Duration:
    """A span of time in nanoseconds, within 64 bits."""

    __slots__ = ("nanos",)

    def __init__(self, nanos: int) -> None:
        if not -(2**63) <= nanos < 2**63:
            raise EvaluationError("a duration is out of range")
        self.nanos = nanos

    @classmethod
    def from_seconds(cls, seconds: float) -> Duration:
        """Make a duration of seconds, to the microsecond."""
        return cls(round(seconds * 1_000_000) * 1000)

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read `1h30m`, `1.5s`, `-10ms`; raise EvaluationError."""
        rest = text[1:] if text[:1] in ("-", "+") else text
        nanos = 0
        if rest != "0":
            at = 0
            while found := _DURATION.match(rest, at):
                whole, _, fraction = found[1].partition(".")
                unit = _UNITS[found[2]]
                nanos += int(whole or "0") * unit
                if fraction:
                    nanos += int(fraction) * unit // 10 ** len(fraction)
                at = found.end()
            if at == 0 or at != len(rest):
                raise EvaluationError("duration(): a text such as 1h30m, 1.5s or -10ms is wanted")
        return cls(-nanos if text[:1] == "-" else nanos)

    @property
    def seconds(self) -> float:
        return self.nanos / _SECOND

    def __eq__(self, other: object) -> bool:
        return type(other) is Duration and self.nanos == other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __lt__(self, other: Duration) -> bool:
        return self.nanos < other.nanos

    def __str__(self) -> str:
        return f"{'-' if self.nanos < 0 else ''}{_decimal(abs(self.nanos))}s"

    def __repr__(self) -> str:
        return f"duration({str(self)!r})"


@total_ordering
class Timestamp:
    """A point in time in nanoseconds since 1970, in the years 1 to 9999."""

    __slots__ = ("nanos",)

    def __init__(self, nanos: int) -> None:
        if not _EARLIEST <= nanos <= _LATEST:
            raise EvaluationError("a timestamp is out of range")
        self.nanos = nanos

    @classmethod
    def from_seconds(cls, seconds: float) -> Timestamp:
        """Make a timestamp of seconds since 1970, to the microsecond: a double holds no more."""
        return cls(round(seconds * 1_000_000) * 1000)

    @classmethod
    def parse(cls, text: str) -> Timestamp:
        """Read RFC 3339 text; raise EvaluationError."""
        found = _RFC3339.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
            whole = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            raise EvaluationError("timestamp(): an RFC 3339 text such as 2026-01-31T12:00:00Z is wanted") from None
        seconds = (whole - _EPOCH) // timedelta(seconds=1)
        if found[8]:
            seconds -= (1 if found[8] == "+" else -1) * (int(found[9]) * 3600 + int(found[10]) * 60)
        return cls(seconds * _SECOND + int((found[7] or "0").ljust(9, "0")))

    @property
    def seconds(self) -> float:
        return self.nanos / _SECOND

    def moment(self) -> datetime:
        """Return the time in UTC, without what is below a second."""
        return _EPOCH + timedelta(seconds=self.nanos // _SECOND)

    def __eq__(self, other: object) -> bool:
        return type(other) is Timestamp and self.nanos == other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __lt__(self, other: Timestamp) -> bool:
        return self.nanos < other.nanos

    def __str__(self) -> str:
        _, dot, fraction = _decimal(self.nanos % _SECOND).partition(".")
        return f"{self.moment():%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + dot + fraction + "Z"

    def __repr__(self) -> str:
        return f"timestamp({str(self)!r})"


def _decimal(nanos: int) -> str:
    """Write nanoseconds as seconds, with as many digits as are needed."""
    whole, rest = divmod(nanos, _SECOND)
    return f"{whole}.{rest:09}".rstrip("0") if rest else str(whole)
