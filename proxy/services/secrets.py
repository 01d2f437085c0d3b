"""The operator's secrets: files of a folder, or variables of the environment; read only when a rule asks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_PREFIX = "VESTIBULE_SECRET_"


class Secrets:
    """Secrets by name. A file is read again when it changes; a missing one is looked for again each time."""

    def __init__(self, folder: str | Path | None, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._folder = Path(folder) if folder is not None else None
        self._environ = {name: value for name, value in environ.items() if name.startswith(_PREFIX)}
        self._read: dict[str, tuple[tuple[int, int, int], str]] = {}

    def __repr__(self) -> str:
        return "Secrets(***)"

    def get(self, name: str) -> str | None:
        """Return a secret, or None; a file's last line break is not part of it."""
        if not _NAME.fullmatch(name):
            return None
        found = self._from_file(name)
        if found is None:
            found = self._environ.get(_PREFIX + re.sub(r"[.-]", "_", name).upper())
        return found

    @property
    def files(self) -> list[str]:
        """Give the files that were read so far."""
        return [str(self._folder / name) for name in self._read] if self._folder is not None else []

    def values(self) -> frozenset[str]:
        """Give the secrets that were read so far, and those of the environment: what nobody may be shown."""
        return frozenset(text for _, text in self._read.values()) | frozenset(self._environ.values())

    def _from_file(self, name: str) -> str | None:
        if self._folder is None:
            return None
        path = self._folder / name
        try:
            state = path.stat()
            mark = (state.st_mtime_ns, state.st_size, state.st_ino)
            known = self._read.get(name)
            if known is not None and known[0] == mark:
                return known[1]
            text = path.read_text("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError):
            return None
        self._read[name] = (mark, text)
        return text
