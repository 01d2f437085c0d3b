"""Recorded traffic as it is read: lines of a recording, or an archive of HTTP (HAR 1.2), in the order of their time."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from .har import read_har
from .record import Record, decode


class TrafficError(Exception):
    """A file that holds no traffic, in words for who gave it."""


def read_traffic(path: str | Path) -> list[Record]:
    """Read a recording; raise TrafficError, also for a single line that is none."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise TrafficError(f"{path}: this cannot be read: {error.strerror}") from None
    records = _archive(path, content)
    if records is None:
        records = []
        for number, line in enumerate(content.splitlines(), start=1):
            if line.strip():
                try:
                    records.append(decode(line))
                except (ValueError, msgspec.DecodeError) as error:
                    raise TrafficError(f"{path}:{number}: this is no record of an exchange: {error}") from None
    if not records:
        raise TrafficError(f"{path}: there is no exchange in it")
    return sorted(records, key=lambda record: record.time)


def _archive(path: str | Path, content: bytes) -> list[Record] | None:
    """Read an archive; None when the file is none."""
    if b'"log"' not in content[:4096] and not str(path).endswith(".har"):
        return None
    try:
        data = json.loads(content)
        entries = data["log"]["entries"]
    except (ValueError, KeyError, TypeError):
        if str(path).endswith(".har"):
            raise TrafficError(f"{path}: this is no archive of HTTP (HAR)") from None
        return None
    try:
        return read_har(entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrafficError(f"{path}: this is no archive of HTTP (HAR): {error}") from None
