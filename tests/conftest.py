"""What all tests have in common: how property tests run, and where measured figures go."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.figures import Figures

# A busy machine is no finding.
settings.register_profile("vestibule", deadline=None, print_blob=True)
settings.load_profile("vestibule")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", type=float, metavar="MINUTES", help="Run the long tests, and those alone, for so long.")
    parser.addoption("--figures", type=Path, help="Append the figures that tests measure to this file.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to `make soak`, which runs nothing else."""
    long = config.getoption("--soak") is not None
    left = [item for item in items if (item.get_closest_marker("soak") is not None) is not long]
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


@pytest.fixture
def soaking(request: pytest.FixtureRequest) -> Callable[[], bool]:
    """Say, each time it is asked, whether a long test is to go on."""
    end = time.monotonic() + 60 * float(request.config.getoption("--soak"))
    return lambda: time.monotonic() < end


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """Take the figures that a test measured; they stand in tests/README.md."""
    return Figures(request.config.getoption("--figures"))
