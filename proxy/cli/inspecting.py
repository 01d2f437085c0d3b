"""What the inspector of a run is made from, and how records come to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..observe.board import RuleTexts
from ..observe.record_pipe import open_pipe

if TYPE_CHECKING:
    from ..admin.inspector.api import Inspecting
    from ..services.secrets import Secrets
    from ..settings import Settings


@dataclass(frozen=True, slots=True)
class Inspection:
    """The inspector of a run: the rules of its start, and the ends of the way that records take to it.

    It is made before the fork, so that records outlive the process that shows them.
    """

    start: RuleTexts
    secrets: Secrets = field(repr=False)
    ends: tuple[socket.socket, socket.socket] = field(default_factory=open_pipe)

    def given(self, settings: Settings, *, store: str, upstream: str) -> Inspecting:
        """Give what the inspector is to know of the settings."""
        from ..admin.inspector.api import Inspecting

        limits = settings.limits
        return Inspecting(
            settings.admin.inspect,
            self.start,
            self.secrets.get,
            settings.public_origin,
            tuple(settings.allow_redirects),
            (limits.body_bytes, limits.decoded_bytes, limits.json_depth),
            *beside(settings.rules),
            store,
            upstream,
        )


def beside(rules: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Give the folder where a test file of rules stands, and what these are called there."""
    if not rules:
        return ".", ()
    first = Path(rules[0])
    folder = first if first.is_dir() else first.parent
    return str(folder), tuple(os.path.relpath(path, folder) for path in rules)
