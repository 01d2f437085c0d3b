"""Watching the files that a run was made from: rules, certificates, keys and secrets.

Folders are watched, not files: a ConfigMap or a Secret is swapped by renaming a link beside them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path

from watchfiles import Change, awatch

# Milliseconds. What is written together counts as one change.
_TOGETHER = 200
# Enough for every path that the kernel follows.
_STEPS = 1000
_Changes = AsyncGenerator[set[tuple[Change, str]], None]


async def watch(
    rules: Sequence[str],
    changed: Callable[[], None],
    tell: Callable[..., None],
    began: Callable[[], None] = lambda: None,
    *,
    files: Sequence[str] = (),
    folder: str | None = None,
) -> None:
    """Call `changed` whenever something changes in rules, in these files or in this folder, until cancelled.

    `began` is called once, when no change can be missed any more.
    """
    watched = []
    if rules:
        watched.append(_watch_rules(rules))
    if files or folder is not None:
        watched.append(_watch_files(files, folder))

    async def follow(changes: _Changes) -> None:
        try:
            async for _ in changes:
                changed()
        except Exception as error:
            tell("error", "watch-failed", cause=type(error).__name__)

    async with asyncio.TaskGroup() as group:
        for changes in watched:
            group.create_task(follow(changes))
        # They watch from their first step on.
        await asyncio.sleep(0)
        began()


def _watch_rules(paths: Sequence[str]) -> _Changes:
    """Watch the folders of rules with all below them.

    Plain files that are no YAML are passed over: a log that is written there would ask for a reload, which writes to
    the log.
    """
    given = set(map(os.path.abspath, paths))
    folders = {str(path if path.is_dir() else path.parent) for path in map(Path, given)}

    def matters(_: Change, path: str) -> bool:
        plain = Path(path).is_file() and not Path(path).is_symlink()
        return not plain or path in given or path.endswith((".yaml", ".yml"))

    return awatch(*sorted(folders), debounce=_TOGETHER, recursive=True, watch_filter=matters)


def _watch_files(paths: Sequence[str], folder: str | None) -> _Changes:
    """Watch files, and what comes into a folder or goes from it.

    A file of that folder that is only written to is passed over unless it is one of `paths`: a log that is written
    there would ask for a reload, which writes to the log.
    """
    given = {link for path in (*paths, *([folder] if folder is not None else [])) for link in _links(path)}
    whole = Path(folder).resolve() if folder is not None else None
    folders = {link.parent for link in given} | ({whole} if whole is not None and whole.is_dir() else set())

    def matters(change: Change, path: str) -> bool:
        return Path(path) in given or (Path(path).parent == whole and change is not Change.modified)

    return awatch(*sorted(folders), debounce=_TOGETHER, recursive=False, watch_filter=matters)


def _links(path: str) -> Iterator[Path]:
    """Give every link on the way to a file, and the file itself: each of them may be exchanged."""
    at, *rest = [Path("/"), *reversed(Path(path).absolute().parts[1:])]
    for _ in range(_STEPS):
        if not rest:
            return
        step = rest.pop()
        at = at.parent if step == ".." else at / step
        if at.is_symlink():
            yield at
            leads = at.readlink()
            at = Path("/") if leads.is_absolute() else at.parent
            rest += reversed(leads.parts[1:] if leads.is_absolute() else leads.parts)
        elif not rest:
            yield at
