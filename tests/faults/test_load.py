"""Many requests through misbehaviour on both sides: no answer to another, no request twice."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.figures import Figures

from .load import NumberedUpstream, Report, load
from .process import serving

REQUESTS = 20_000
STOLEN = 3_000  # while a processor is shared


async def test_nobody_gets_anothers_answer_and_nothing_is_sent_twice(figures: Figures) -> None:
    report = Report()
    upstream = NumberedUpstream(report, seed=1)
    await upstream.start()
    async with serving(upstream.port, figures) as process:
        before = process.descriptors()
        await load(process.port, report, count=REQUESTS, shoppers=64, seed=1)
        assert process.descriptors() <= before + 64
    await upstream.stop()
    assert report.asked == REQUESTS
    # The test can fail: all that was meant to go wrong did, and most went right.
    assert report.right > 0.8 * REQUESTS
    assert report.hung_up > 0.03 * REQUESTS
    assert report.failed > 0.02 * REQUESTS
    assert report.wrong == 0
    assert len(report.misled) < 10  # those that crossed: rare, or they are no accident
    assert report.twice == 0
    figures.add("wrong-answers", cases=REQUESTS, found=report.wrong)
    figures.add("deliveries", cases=sum(report.delivered.values()), found=report.twice)


def waited(pid: int) -> int:
    """Give how long a process stood in the queue for a processor, in nanoseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])


async def test_with_half_of_the_processor_stolen_every_request_is_answered_and_none_is_cut(figures: Figures) -> None:
    report = Report()
    upstream = NumberedUpstream(report, seed=17, rate=0.0)
    await upstream.start()
    # Deadlines that a proxy which runs half of the time keeps easily, and one that counts wrongly does not.
    async with serving(upstream.port, figures, deadlines={"header": 5.0, "stall": 5.0, "total": 10.0}) as process:
        processor = min(os.sched_getaffinity(0))
        os.sched_setaffinity(process.pid, {processor})
        thief = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
        try:
            os.sched_setaffinity(thief.pid, {processor})
            before = waited(process.pid)
            await load(process.port, report, count=STOLEN, shoppers=32, seed=17, rate=0.0)
            # The test can fail: something was stolen.
            assert waited(process.pid) > before
        finally:
            thief.kill()
            await thief.wait()
    await upstream.stop()
    assert (report.asked, report.right, report.wrong, report.twice) == (STOLEN, STOLEN, 0, 0)
    figures.add("wrong-answers", cases=STOLEN, found=report.wrong)
    figures.add("deliveries", cases=STOLEN, found=report.twice)


@pytest.mark.soak
async def test_nobody_gets_anothers_answer_for_as_long_as_it_is_asked(
    figures: Figures, soaking: Callable[[], bool]
) -> None:
    begun = time.monotonic()
    total, wrong, twice, seed = 0, 0, 0, 0
    report = Report()
    upstream = NumberedUpstream(report, seed=0)
    await upstream.start()
    async with serving(upstream.port, figures) as process:
        await load(process.port, report, count=REQUESTS, shoppers=64, seed=-1)
        settled = process.resident()
        while soaking():
            report.forget()
            await load(process.port, report, count=REQUESTS, shoppers=64, seed=seed)
            seed += 1
            total += report.asked
            wrong += report.wrong
            twice += report.twice
            figures.add("wrong-answers", cases=report.asked, found=report.wrong)
            figures.add("deliveries", cases=sum(report.delivered.values()), found=report.twice)
            if seed % 5 == 1:
                rest = f"{wrong} wrong, {twice} twice, {process.resident() >> 20} MiB"
                print(f"{time.monotonic() - begun:.0f} s: {total:,} requests, {rest}", file=sys.__stderr__, flush=True)
        assert process.resident() < 1.2 * settled
    await upstream.stop()
    assert (wrong, twice) == (0, 0)
