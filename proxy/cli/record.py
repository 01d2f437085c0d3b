"""`vestibule record`: serve as `run` does, and record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import click

from ..settings import leaves
from .run import serve, setting_options

# How often the count is shown, in seconds.
_SHOWN = 0.5


@click.command("record")
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The settings' file; ./vestibule.yaml when it is there.",
)
@click.option("--out", required=True, help="The file that exchanges are recorded to, one a line.")
@click.option("--watch", is_flag=True, help="Reload the rules whenever their files change.")
def command(file: Path | None, out: str, *, watch: bool, **values: Any) -> None:
    """Serve as `vestibule run` does, and record every exchange with what is secret replaced.

    It is `vestibule run --record OUT`: all of its settings are flags here, too. On a terminal the log goes to nobody
    and the count of what is recorded is shown, unless --log-to says where the log goes. Ends with SIGINT or SIGTERM.
    """
    values["record__file"] = out
    if sys.stderr.isatty():
        sys.exit(_serve_beside(file, out, values, watch=watch))
    serve(file, values, watch=watch)


setting_options(command, without="record.file")


def _serve_beside(file: Path | None, out: str, values: dict[str, Any], *, watch: bool) -> int:
    """Serve in another process, which forks and so cannot have the thread of a terminal; show what is recorded."""
    if values.get("log__level") is None and values.get("log__to") is None:
        values["log__level"] = "off"
    words = [sys.executable, "-m", "proxy", "run", *(["-c", str(file)] if file is not None else [])]
    words += ["--watch"] if watch else []
    for leaf in leaves():
        given = values.get(leaf.name.replace(".", "__"))
        for value in given if isinstance(given, tuple) else () if given is None else (given,):
            words += [leaf.flag, str(value)]
    tally = Tally(Path(out))
    with subprocess.Popen(words) as process:
        # A terminal's Ctrl-C reaches both; what is shown stays until the other has ended.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            try:
                code = process.wait(_SHOWN)
            except subprocess.TimeoutExpired:
                click.echo(f"\r  {tally.told()}\x1b[K", nl=False, err=True)
            else:
                click.echo(f"\r  {tally.told()}\x1b[K", err=True)
                return code


class Tally:
    """Counts the exchanges that come into a recording, whichever file it is in by now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._count = 0
        if path.exists():
            # What was recorded before is not of this run.
            self._file = path.open("rb")
            self._file.seek(0, os.SEEK_END)

    def told(self) -> str:
        """Say how many exchanges came since the beginning."""
        self._read()
        if self._is_renamed():
            if self._file is not None:
                self._file.close()
            self._file = self._path.open("rb")
            self._read()
        return f"recorded {self._count} {'exchange' if self._count == 1 else 'exchanges'}"

    def _is_renamed(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or not os.path.samestat(found, os.fstat(self._file.fileno()))

    def _read(self) -> None:
        while self._file is not None and (part := self._file.read(1 << 20)):
            self._count += part.count(b"\n")
