"""What a peer is to the benchmark: its name, whether it is there, how it is started. No peer is started here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FILES = Path(__file__).parent
ROOT = FILES.parents[2]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer runs: a folder of its own for what it reads and writes, its port, that of the upstream."""

    folder: Path
    port: int
    upstream: int

    def fill(self, name: str, **more: str) -> Path:
        """Copy a file of this folder for the peer, `@NAME@` replaced by what it stands for."""
        text = (FILES / name).read_text()
        words = {"FOLDER": str(self.folder), "PORT": str(self.port), "UPSTREAM": str(self.upstream), **more}
        for word, meant in words.items():
            text = text.replace(f"@{word}@", meant)
        target = self.folder / name
        target.write_text(text)
        return target


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to do the jobs. `version` is None where it is not installed; `install` is the line that helps."""

    name: str
    title: str
    install: str
    version: Callable[[], str | None]
    command: Callable[[Place], Sequence[str]]
    # Jobs that it is not given, and why.
    cannot: Mapping[str, str] = field(default_factory=dict)


def said(*words: str) -> str | None:
    """Give what a program says of its version, in one line; None where there is no such program."""
    if shutil.which(words[0]) is None:
        return None
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    return (told.stdout + told.stderr).strip().splitlines()[0]
