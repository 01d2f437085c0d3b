"""What all tests have in common: how property tests run, and where measured figures go."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.figures import Figures

# A busy machine is no finding.
settings.register_profile("vestibule", deadline=None, print_blob=True)
settings.load_profile("vestibule")


_cases = re.compile(r"\[.*?((?:tests/cases|rules/\w+)/[\w.-]+\.yaml)").search


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", type=float, metavar="MINUTES", help="Run the long tests, and those alone, for so long.")
    parser.addoption("--figures", type=Path, help="Append the figures that tests measure to this file.")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps the tests of a file in one process, for what they share; those about a file of cases follow that."""

    def _split_scope(self, nodeid: str) -> str:
        cases = _cases(nodeid)
        return cases[1] if cases is not None else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


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
