"""The content of PEM files under paths of its own, for libraries that take nothing but paths.

What was checked is what they read, whatever becomes of the files that it came from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping


class PemFiles:
    """Content in memory: `paths` lead to it, for this process alone; `turn` counts how often it was replaced."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._descriptors = {name: os.memfd_create(name) for name in contents}
        self.paths = {name: f"/proc/self/fd/{descriptor}" for name, descriptor in self._descriptors.items()}
        self.turn = -1
        self.write(contents)

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Replace what is there, under the same names."""
        for name, content in contents.items():
            with open(self._descriptors[name], "wb", closefd=False) as file:
                file.seek(0)
                file.truncate()
                file.write(content)
        self.turn += 1

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
