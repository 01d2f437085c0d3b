"""Watching the folders of rule files: what asks for a reload, and what must not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from watchfiles import awatch

from proxy.edge.watching import watch
from tests.wire import PATIENCE


async def test_a_log_beside_the_rules_asks_for_no_reload(tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    rules, log = folder / "rules.yaml", folder / "proxy.log"
    found: list[str] = []
    logged, began = asyncio.Event(), asyncio.Event()

    def changed() -> None:
        found.append(rules.read_text())
        log.write_text(f"reloaded {len(found)} times")

    async def witness() -> None:
        async for changes in awatch(folder, watch_filter=None, debounce=200):
            if any(path.endswith("proxy.log") for _, path in changes):
                logged.set()

    def write(text: str) -> None:
        # Moved into place, so that it is one change.
        (tmp_path / "aside").write_text(text)
        (tmp_path / "aside").rename(rules)

    watch_rules = watch([str(rules)], changed, print, began.set)
    watching = [asyncio.ensure_future(witness()), asyncio.ensure_future(watch_rules)]
    await began.wait()
    for text in ("one", "two"):
        logged.clear()
        write(text)
        await asyncio.wait_for(logged.wait(), PATIENCE)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    assert found == ["one", "two"]


async def test_a_folder_that_cannot_be_watched_is_said(tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []
    await watch([str(tmp_path / "gone" / "rules.yaml")], lambda: None, lambda *what, **more: told.append((*what, more)))
    assert told == [("error", "watch-failed", {"cause": "FileNotFoundError"})]
