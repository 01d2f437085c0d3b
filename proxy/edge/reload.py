"""New rules for a running worker: checked in a process of their own, then swapped as one reference.

The check may be slow or die of a hostile file; the worker serves on. Rules that are broken in any way change nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..language.compile import Built
from .gateway import Gateway

CHECK_SECONDS = 60.0


class Reloader:
    """Reloads, one after the other; asked for while one runs, one more follows."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        check: Sequence[str],
        build: Callable[[], Built],
        tell: Callable[..., None],
    ) -> None:
        self.gateway = gateway
        self._check = check
        self._build = build
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def request(self) -> None:
        """Ask for a reload; returns at once."""
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = self.gateway.loop.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._again = False
            try:
                await self._reload()
            except Exception as error:
                self._tell("error", "reload-failed", cause=type(error).__name__)
            if not self._again:
                return

    async def _reload(self) -> None:
        if not await self._holds():
            return
        built = await asyncio.to_thread(self._build)
        for problem in built.problems:
            place = f"{problem.source}:{problem.line}:{problem.column}"
            self._tell(problem.severity, "rule-problem", place=place, code=problem.code, text=problem.text)
        if built.ruleset is None:
            self._tell(
                "error", "reload-failed", problems=len(built.problems.errors), kept=self.gateway.ruleset.revision
            )
            return
        before = self.gateway.ruleset.revision
        self.gateway.ruleset = built.ruleset
        self._tell("info", "reloaded", rules=len(built.ruleset.rules), revision=built.ruleset.revision, before=before)

    async def _holds(self) -> bool:
        """Check the rules in another process; False when even that does not end well."""
        process = await asyncio.create_subprocess_exec(
            *self._check,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            code = await asyncio.wait_for(process.wait(), CHECK_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            self._tell("error", "reload-failed", cause="the check of the rules took too long")
            return False
        # 0 and 1 are verdicts, which the build here repeats with its problems; anything else is a check that died.
        if code not in (0, 1):
            self._tell("error", "reload-failed", cause="the check of the rules ended badly", code=code)
            return False
        return True


async def watch(paths: Sequence[str], changed: Callable[[], None], tell: Callable[..., None]) -> None:
    """Call `changed` whenever something changes in the folders of these paths, until cancelled.

    Folders are watched, not files: a ConfigMap is swapped by renaming a link beside them. Plain files that are no YAML
    are passed over: a log that is written there would ask for a reload, which writes to the log.
    """
    from watchfiles import Change, awatch

    given = set(map(os.path.abspath, paths))
    folders = {str(path if path.is_dir() else path.parent) for path in map(Path, given)}

    def matters(_: Change, path: str) -> bool:
        plain = Path(path).is_file() and not Path(path).is_symlink()
        return not plain or path in given or path.endswith((".yaml", ".yml"))

    try:
        async for _ in awatch(*sorted(folders), debounce=200, recursive=True, watch_filter=matters):
            changed()
    except Exception as error:
        tell("error", "watch-failed", cause=type(error).__name__)
