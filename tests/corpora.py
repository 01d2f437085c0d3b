"""Public test vectors beside the project: read where they are, skipped with the reason where they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "corpora"

needs_corpora = pytest.mark.skipif(not FOLDER.is_dir(), reason="the public test vectors are not beside this checkout")


def load(name: str) -> Any:
    """Read one JSON file of vectors; an empty list when the folder is missing (the tests are skipped then)."""
    path = FOLDER / name
    return json.loads(path.read_text("utf-8")) if path.is_file() else []
