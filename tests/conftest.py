"""What all tests have in common: how property tests run, and where measured figures go."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.figures import Figures

# A busy machine is no finding.
settings.register_profile("vestibule", deadline=None, print_blob=True)
settings.load_profile("vestibule")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", type=Path, help="Append the figures that tests measure to this file.")


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """Take the figures that a test measured; they stand in tests/README.md."""
    return Figures(request.config.getoption("--figures"))
