"""The parts of timestamps, in UTC or a time zone, and of durations."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

from ....engine.errors import EvaluationError
from ..environment import Function
from ..moments import Duration, Timestamp
from ..types import DURATION, INT, STRING, TIMESTAMP

_OFFSET = re.compile(r"([+-]?)(\d{1,2}):(\d{2})", re.ASCII)


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name or as an offset such as `-02:30`; raise EvaluationError."""
    if name == "UTC":
        return UTC
    if (found := _OFFSET.fullmatch(name)) is not None:
        minutes = int(found[2]) * 60 + int(found[3])
        if minutes >= 24 * 60 or int(found[3]) > 59:
            raise EvaluationError("a time zone's offset is out of range")
        return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))
    # Imported late: few expressions name a zone.
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise EvaluationError("no such time zone") from None


# What each function reads of a moment. Months, days of the year and of the month count from 0, getDate() from 1.
_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
}
_SPANS = {"getHours": 3_600_000_000_000, "getMinutes": 60_000_000_000, "getSeconds": 1_000_000_000}


def _whole(nanos: int, unit: int) -> int:
    return nanos // unit if nanos >= 0 else -(-nanos // unit)


def _part(name: str) -> Callable[..., int]:
    part, span = _PARTS[name], _SPANS.get(name, 1)

    def read(value: Any, zone_name: str | None = None) -> int:
        if type(value) is Duration:
            return _whole(value.nanos, span)
        moment = value.moment()
        try:
            return part(moment if zone_name is None else moment.astimezone(zone(zone_name)))
        except OverflowError:
            raise EvaluationError("a timestamp is out of range in this time zone") from None

    return read


def milliseconds(value: Timestamp | Duration, zone_name: str | None = None) -> int:
    """Return the milliseconds of the second, of a timestamp in any zone."""
    if zone_name is not None:
        zone(zone_name)
    if isinstance(value, Timestamp):
        return value.nanos % 1_000_000_000 // 1_000_000
    whole = _whole(value.nanos, 1_000_000)
    return whole % 1000 if whole >= 0 else -(-whole % 1000)


def _member(name: str, call: Callable[..., int]) -> Function:
    overloads: tuple[Any, ...] = (((TIMESTAMP,), INT), ((TIMESTAMP, STRING), INT))
    if name in _SPANS or name == "getMilliseconds":
        overloads += (((DURATION,), INT),)
    return Function(name=name, overloads=overloads, call=call, member=True)


FUNCTIONS = (
    *(_member(name, _part(name)) for name in _PARTS),
    _member("getMilliseconds", milliseconds),
)
