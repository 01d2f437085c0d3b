"""The watch over an event loop sees what holds it up, whether that computes or sleeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from .stall import Stall

HELD_UP = 0.08


def compute() -> None:
    begun = time.thread_time()
    while time.thread_time() - begun < HELD_UP:
        pass


def sleep() -> None:
    time.sleep(HELD_UP)


@pytest.mark.parametrize("hold_up", [compute, sleep])
async def test_a_loop_that_is_held_up_is_seen(hold_up: Callable[[], None]) -> None:
    stall = Stall(asyncio.get_running_loop())
    looked = stall.looks
    while stall.looks < looked + 3:
        await asyncio.sleep(0.001)
    hold_up()
    while stall.looks < looked + 4:
        await asyncio.sleep(0.001)
    assert stall.close() > HELD_UP * 1000 / 2
