"""The log: lines that no value can break, and a sink that can hold up nobody."""

from __future__ import annotations

import fcntl
import json
import os

import pytest

from proxy.observe import redact
from proxy.observe.log import Log, Sink


def read_all(descriptor: int) -> bytes:
    found = b""
    while chunk := os.read(descriptor, 65_536):
        found += chunk
    return found


def test_what_is_written_is_one_line_of_json_whatever_the_values() -> None:
    read, write = os.pipe()
    log = Log(Sink(write), "info")
    log.event("info", "odd", text='a\nb\r"\x1b[31m\u2028\x85', nested={"k\n": ["\x00"]}, number=1)
    log.event("debug", "left-out")
    log.close()
    os.close(write)
    lines = read_all(read).splitlines()
    os.close(read)
    assert len(lines) == 1
    assert json.loads(lines[0])["event"] == "odd"
    assert not {byte for byte in lines[0] if byte < 0x20}
    assert "\u2028".encode() not in lines[0]


def test_a_sink_that_takes_nothing_drops_lines_and_counts_them() -> None:
    read, write = os.pipe()
    size = fcntl.fcntl(write, 1031, 4096)
    sink = Sink(write, most=10)
    line = b"x" * 999 + b"\n"
    for _ in range(size // 1000 + 5_000):
        sink.msg(line)
    assert sink.dropped > 1_000
    os.close(read)
    sink.close()
    os.close(write)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("a=1&refreshToken=x", "a=1&refreshToken=***"),
        ("PASSWORD=x&b=2", "PASSWORD=***&b=2"),
        ("own=x", "own=***"),
        ("%61ccess_token=x", "%61ccess_token=***"),
        ("a=eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.sig", "a=***"),
        ("flag", "flag"),
    ],
)
def test_secret_parameters_are_masked(query: str, shown: str) -> None:
    assert redact.query(query, frozenset({"own"})) == shown


def test_a_text_without_end_is_cut() -> None:
    assert len(redact.text("x" * 1_000_000)) < 5_000
