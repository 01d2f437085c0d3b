"""Where records go: a file that is bounded and its owner's alone, and a pipe to another process. Neither ever waits."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from proxy.observe.record import Body, Record, RequestRecord, VerdictRecord, decode, encode
from proxy.observe.record_file import RecordFile
from proxy.observe.record_pipe import LONGEST, RecordPipe, RecordReader, open_pipe
from tests.wire import eventually


def record(number: int, text: str = "") -> bytes:
    body = Body(len(text), text=text) if text else None
    request = RequestRecord("GET", f"/{number}", [("Host", "a")], body)
    verdict = VerdictRecord("upstream")
    return encode(Record(str(number), "r", 1.0, "127.0.0.1", "http", "a", "v", [], verdict, 0.1, request))


def ids(*files: Path) -> list[int]:
    return [int(decode(line).id) for file in files for line in file.read_bytes().splitlines()]


class Told:
    """What the operator heard."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, level: str, event: str, **fields: Any) -> None:
        self.lines.append((level, event, fields))


def test_a_recording_is_its_owners_alone_and_is_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "login.ndjson"
    for turn in range(2):
        writer = RecordFile(str(file), 1 << 20, tell=Told())
        for number in range(3):
            writer.write(record(turn * 3 + number))
        writer.close()
    assert ids(file) == list(range(6))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_full_file_is_renamed_and_the_one_before_it_goes(tmp_path: Path) -> None:
    file, before = tmp_path / "a", tmp_path / "a.1"
    size = len(record(100)) + 1
    told = Told()
    for number in range(100, 110):
        # One at a time, as they come on a day.
        writer = RecordFile(str(file), 3 * size, tell=told)
        writer.write(record(number))
        writer.close()
    assert ids(before, file) == [106, 107, 108, 109]
    assert told.lines == []


def test_two_workers_fill_one_file_and_lose_nothing_in_its_turn(tmp_path: Path) -> None:
    file, before = tmp_path / "a", tmp_path / "a.1"
    size = len(record(100)) + 1
    one, other = (RecordFile(str(file), 30 * size, tell=Told()) for _ in range(2))
    for number in range(100, 140):
        (one if number % 2 else other).write(record(number))
    one.close()
    other.close()
    assert sorted(ids(before, file)) == list(range(100, 140))
    assert file.stat().st_size <= 30 * size


def test_what_is_no_plain_file_is_not_written_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (link, pipe, Path("/dev/full")):
        with pytest.raises(OSError):  # noqa: PT011
            RecordFile(str(path), 1 << 20, tell=Told())
    assert not (tmp_path / "elsewhere").exists()


def test_more_than_may_wait_is_dropped_counted_and_told(tmp_path: Path) -> None:
    told = Told()
    size = len(record(0))
    writer = RecordFile(str(tmp_path / "a"), 1 << 20, tell=told, waiting=size - 1)
    for number in range(5):
        writer.write(record(number))
    writer.close()
    assert writer.lost == 5
    assert sum(fields["count"] for _, event, fields in told.lines if event == "records-dropped") == 5


async def test_records_of_all_workers_come_out_of_the_pipe_whole() -> None:
    loop = asyncio.get_running_loop()
    reading, writing = open_pipe()
    taken: list[bytes] = []
    reader = RecordReader(reading, loop, taken.append)
    ends = [writing, writing.dup()]
    workers = [RecordPipe(end, loop) for end in ends]
    for number in range(2000):
        workers[number % 2].write(record(number))
    await eventually(lambda: len(taken) == 2000)
    assert sorted(int(decode(line).id) for line in taken) == list(range(2000))
    assert [worker.lost for worker in workers] == [0, 0]
    reader.close()
    for end in (reading, *ends):
        end.close()


async def test_a_reader_that_sleeps_costs_records_and_nothing_else() -> None:
    loop = asyncio.get_running_loop()
    reading, writing = open_pipe()
    worker = RecordPipe(writing, loop, waiting=50_000)
    for number in range(10_000):
        worker.write(record(number))
    assert worker.lost > 0
    taken: list[bytes] = []
    reader = RecordReader(reading, loop, taken.append)
    await eventually(lambda: len(taken) + worker.lost == 10_000)
    # It goes on where it can.
    worker.write(record(10_000))
    await eventually(lambda: taken[-1] == record(10_000))
    assert [int(decode(line).id) for line in taken[:100]] == list(range(100))
    reader.close()
    worker.close()
    reading.close()
    writing.close()


async def test_a_reader_that_is_gone_costs_records_and_nothing_else() -> None:
    reading, writing = open_pipe()
    reading.close()
    worker = RecordPipe(writing, asyncio.get_running_loop())
    worker.write(record(1))
    assert worker.lost == 1
    writing.close()


async def test_a_record_that_is_too_long_for_the_pipe_comes_without_its_text() -> None:
    loop = asyncio.get_running_loop()
    reading, writing = open_pipe()
    taken: list[bytes] = []
    reader = RecordReader(reading, loop, taken.append)
    worker = RecordPipe(writing, loop)
    worker.write(record(1, "x" * (2 * LONGEST)))
    await eventually(lambda: bool(taken))
    body = decode(taken[0]).request.body
    assert body is not None
    assert (body.size, body.text, body.why) == (2 * LONGEST, None, "the record would be too long")
    reader.close()
    reading.close()
    writing.close()
