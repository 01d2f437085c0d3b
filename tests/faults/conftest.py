"""The data plane among peers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.figures import Figures
from tests.gateways import pytest_asyncio_loop_factories, start, upstream

from .stall import Stall

__all__ = ["pytest_asyncio_loop_factories", "stall", "start", "upstream"]


@pytest.fixture
async def stall(figures: Figures) -> AsyncIterator[Stall]:
    """Watch the event loop of a test; how long it stood still at most becomes a figure."""
    watch = Stall(asyncio.get_running_loop())
    yield watch
    figures.add("loop-stall", cases=watch.looks, found=round(watch.close(), 1))
