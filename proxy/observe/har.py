"""Recordings as HTTP archives (HAR 1.2), which browsers and other tools read.

An entry shows what client and proxy said to one another. The whole record goes along as `_vestibule`, so that reading
the archive again loses nothing. In an archive of somebody else's the answers are taken for those of the upstream.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from .record import Body, Lines, Record, RequestRecord, ResponseRecord, VerdictRecord


def write_har(records: Iterable[Record], version: str) -> bytes:
    """Write an archive."""
    creator = {"name": "vestibule", "version": version}
    log = {"version": "1.2", "creator": creator, "entries": [_entry(record) for record in records]}
    return msgspec.json.format(msgspec.json.encode({"log": log}), indent=1)


def _entry(record: Record) -> dict[str, Any]:
    began = datetime.datetime.fromtimestamp(record.time, datetime.UTC)
    wait = record.upstream_ms or 0.0
    return {
        "startedDateTime": began.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "time": record.own_ms + wait,
        "request": _request(record),
        "response": _response(record),
        "cache": {},
        "timings": {"send": 0, "wait": wait, "receive": record.own_ms},
        "_vestibule": msgspec.to_builtins(record),
    }


def _request(record: Record) -> dict[str, Any]:
    request = record.request
    url = f"{record.scheme}://{record.host or 'localhost'}{request.target}"
    found: dict[str, Any] = {
        "method": request.method,
        "url": url,
        "httpVersion": f"HTTP/{record.http}",
        "cookies": list(_cookies(request.headers, "cookie")),
        "headers": _headers(request.headers),
        "queryString": [
            {"name": name, "value": value}
            for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True)
        ],
        "headersSize": -1,
        "bodySize": request.body.size if request.body is not None else 0,
    }  # fmt: skip
    if request.body is not None:
        found["postData"] = {"mimeType": _kind(request.headers), "text": request.body.text or ""}
    return found


def _response(record: Record) -> dict[str, Any]:
    answer = record.answer or ResponseRecord(0, [])
    body = answer.body
    if body is not None and body.same and record.upstream is not None:
        body = record.upstream.body
    content: dict[str, Any] = {"size": body.size if body is not None else 0, "mimeType": _kind(answer.headers)}
    if body is not None and body.text is not None:
        content["text"] = body.text
    return {
        "status": answer.status,
        "statusText": answer.reason or "",
        "httpVersion": "HTTP/1.1",
        "cookies": list(_cookies(answer.headers, "set-cookie")),
        "headers": _headers(answer.headers),
        "content": content,
        "redirectURL": _value(answer.headers, "location") or "",
        "headersSize": -1,
        "bodySize": body.size if body is not None else 0,
    }


def _headers(lines: Lines) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in lines]


def _cookies(lines: Lines, key: str) -> Iterator[dict[str, str]]:
    for name, value in lines:
        if name.lower() == key:
            pairs = value.split(";")
            for pair in pairs if key == "cookie" else pairs[:1]:
                cookie, _, content = pair.strip().partition("=")
                yield {"name": cookie, "value": content}


def _value(lines: Lines, key: str) -> str | None:
    return next((value for name, value in lines if name.lower() == key), None)


def _kind(lines: Lines) -> str:
    return _value(lines, "content-type") or "application/octet-stream"


def read_har(entries: Iterable[dict[str, Any]]) -> list[Record]:
    """Read the entries of an archive; raise ValueError, KeyError or TypeError for what are none."""
    return [_read(entry, number) for number, entry in enumerate(entries, start=1)]


def _read(entry: dict[str, Any], number: int) -> Record:
    if "_vestibule" in entry:
        return msgspec.convert(entry["_vestibule"], Record)
    request, response = entry["request"], entry["response"]
    parts = urlsplit(request["url"])
    posted = request.get("postData")
    content = response.get("content", {})
    text = content.get("text")
    if text is not None and content.get("encoding") == "base64":
        text = base64.b64decode(text).decode("utf-8")
    status = int(response["status"])
    # Browsers tell the body decoded, whatever the head says of its coding.
    lines = _lines(response["headers"], "content-encoding", "transfer-encoding")
    asked = _lines(request["headers"], "content-encoding", "transfer-encoding", "connection")
    if parts.netloc and _value(asked, "host") is None:
        asked.insert(0, ("Host", parts.netloc))
    answer = ResponseRecord(status, lines, response.get("statusText") or None, _body(text))
    return Record(
        id=str(entry.get("_id") or f"har-{number}"),
        recording="har",
        time=datetime.datetime.fromisoformat(entry["startedDateTime"]).timestamp(),
        client="192.0.2.1",
        ips=["192.0.2.1"],
        scheme=parts.scheme or "http",
        host=parts.netloc,
        rules="",
        ran=[],
        verdict=VerdictRecord("upstream" if status else None),
        own_ms=0.0,
        upstream_ms=float(entry.get("time") or 0.0),
        request=RequestRecord(
            request["method"],
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            asked,
            _body(posted.get("text")) if posted else None,
        ),
        status=status or None,
        upstream=answer if status else None,
        answer=answer if status else None,
    )


def _lines(headers: Iterable[dict[str, str]], *without: str) -> Lines:
    # Pseudo headers of HTTP/2 are no lines.
    pairs = [(str(line["name"]), str(line["value"])) for line in headers]
    return [(name, value) for name, value in pairs if not name.startswith(":") and name.lower() not in without]


def _body(text: str | None) -> Body | None:
    return Body(len(text.encode()), text=text) if text else None
