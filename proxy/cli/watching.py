"""Running test files again when what they are about changes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event

import click

from .casefiles import test_files
from .outcomes import Run

_SUFFIXES = (".yaml", ".yml")
# Milliseconds.
_TURN = 200


def watch_files(run: Run, rules: tuple[Path, ...], go: Callable[[list[Path]], Run]) -> None:
    """Wait for changes, and run what they touch; Ctrl-C is the end of it, and no failure."""
    from watchfiles import watch

    about: dict[Path, set[str]] = {}
    _note(about, run)
    told = False
    over = Event()

    def end(*_: object) -> None:
        # Where an interrupt is not heard, as in what is being taken down, the next turn is the last.
        over.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, end)
    try:
        while not over.is_set():
            folders = _folders(about, rules)
            # It watches from its first turn on, and not before.
            for changes in watch(
                *folders, watch_filter=_is_yaml, yield_on_timeout=True, rust_timeout=_TURN, stop_event=over
            ):
                if not told:
                    click.echo("waiting for changes; Ctrl-C ends", err=True)
                    told = True
                changed = {os.path.realpath(name) for _, name in changes}
                touched = _touched(about, rules, changed) if changed else []
                if touched:
                    if sys.stdout.isatty():
                        click.clear()
                    _note(about, go(touched))
                    click.echo("waiting for changes; Ctrl-C ends", err=True)
                if _folders(about, rules) != folders:
                    break
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGINT, before)


def _is_yaml(_: object, name: str) -> bool:
    return name.endswith(_SUFFIXES)


def _note(about: dict[Path, set[str]], run: Run) -> None:
    """Keep which files each test file is about: itself, its rules and their packs."""
    for file, results in run.files:
        about[file] = {os.path.realpath(name) for name in (str(file), *results.texts)}


def _folders(about: dict[Path, set[str]], rules: Iterable[Path]) -> set[Path]:
    given = {path if path.is_dir() else path.parent for path in rules}
    return given | {Path(name).parent for names in about.values() for name in names if Path(name).parent.is_dir()}


def _touched(about: dict[Path, set[str]], rules: tuple[Path, ...], changed: set[str]) -> list[Path]:
    """Give the test files that a change touches: all of them where it is of a file that none was about yet."""
    files = test_files(rules)
    for gone in set(about) - set(files):
        del about[gone]
    fresh = [file for file in files if file not in about]
    known = {name for names in about.values() for name in names}
    if changed - known - {os.path.realpath(file) for file in fresh}:
        return files
    return [file for file in files if file in fresh or about[file] & changed]
