"""The proxy as a whole under attack, on the loop that it is served with."""

from tests.gateways import pytest_asyncio_loop_factories, start, upstream

__all__ = ["pytest_asyncio_loop_factories", "start", "upstream"]
