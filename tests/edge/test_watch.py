"""Watching the folders of rule files: what asks for a reload, and what must not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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


class Changes(asyncio.Event):
    """What is set by a change, and how often it was."""

    count = 0

    def set(self) -> None:
        self.count += 1
        super().set()

    async def after(self, change: Callable[[], object]) -> None:
        """Make a change, and wait until it is seen."""
        self.clear()
        change()
        await asyncio.wait_for(self.wait(), PATIENCE)


@asynccontextmanager
async def watching(rules: list[str], **given: Any) -> AsyncIterator[Changes]:
    """Watch until the end of the block."""
    changed, began = Changes(), asyncio.Event()
    task = asyncio.ensure_future(watch(rules, changed.set, print, began.set, **given))
    await began.wait()
    yield changed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_certificate_is_followed_over_all_links_that_lead_to_it(tmp_path: Path) -> None:
    live, archive, aside = tmp_path / "live" / "shop", tmp_path / "archive" / "shop", tmp_path / "aside"
    for folder in (live, archive):
        folder.mkdir(parents=True)
    for number in (1, 2):
        (archive / f"cert{number}.pem").write_text("")
    (live / "cert.pem").symlink_to("../../archive/shop/cert1.pem")
    (tmp_path / "now").symlink_to(live)
    (tmp_path / "mine.pem").symlink_to("now/cert.pem")

    def swap(link: Path, leads: Path) -> None:
        aside.symlink_to(leads)
        aside.rename(link)

    async with watching([], files=[str(tmp_path / "mine.pem")]) as changed:
        await changed.after(lambda: swap(live / "cert.pem", archive / "cert2.pem"))
        await changed.after(lambda: (archive / "cert1.pem").write_text("written over"))
        await changed.after(lambda: swap(tmp_path / "now", archive))


async def test_a_log_beside_the_secrets_asks_for_no_reload_and_a_secret_that_comes_does(tmp_path: Path) -> None:
    log, known = tmp_path / "proxy.log", tmp_path / "known"
    for file in (log, known):
        file.write_text("")
    logged = asyncio.Event()

    async def witness() -> None:
        async for changes in awatch(tmp_path, watch_filter=None, debounce=200):
            if any(path.endswith("proxy.log") for _, path in changes):
                logged.set()

    seeing = asyncio.ensure_future(witness())
    async with watching([], files=[str(known)], folder=str(tmp_path)) as changed:
        # Each turn takes longer than a step of a watcher, and all together longer than changes are gathered.
        for number in range(6):
            logged.clear()
            log.write_text(f"reloaded {number} times")
            await asyncio.wait_for(logged.wait(), PATIENCE)
        assert changed.count == 0
        await changed.after(lambda: known.write_text("another"))
        await changed.after(lambda: (tmp_path / "new").write_text("one more"))
    seeing.cancel()
    await asyncio.gather(seeing, return_exceptions=True)


async def test_a_folder_of_secrets_that_is_not_there_keeps_no_rules_from_being_watched(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("")
    async with watching([str(rules)], folder=str(tmp_path / "gone")) as changed:
        await changed.after(lambda: rules.write_text("changed"))
