"""A store of each kind for a proxy of a test: in its memory, in a file that workers share, in a Valkey server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services.store.valkey import serving

WORKERS = ("--workers", "2")

each_store = pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])


@contextmanager
def storing(kind: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the flags for a store; all but memory have two workers that share it."""
    if kind == "memory":
        yield ()
    elif kind == "sqlite":
        yield (*WORKERS, "--store", f"sqlite:{folder}/store.db")
    else:
        with serving(folder) as server:
            yield (*WORKERS, "--store", server.url)
