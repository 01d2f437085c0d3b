"""What a run records, and how its workers are given the recorder of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..edge.gateway import Tell
from ..observe.record_file import RecordFile, open_recording
from ..observe.recorder import Key, Recorder, Selection, Writer
from ..settings import RecordSettings

if TYPE_CHECKING:
    from ..services.secrets import Secrets


@dataclass(frozen=True, slots=True)
class Recording:
    """The recording of a run. The workers share its key; it is made before they are forked."""

    settings: RecordSettings
    secrets: Secrets = field(repr=False)
    key: Key = field(default_factory=Key)

    def prove(self) -> None:
        """Make the file, so that one that cannot be written keeps a run from starting; raise OSError."""
        if self.settings.file is not None:
            os.close(open_recording(self.settings.file))

    def open(self, tell: Tell, tokens: Callable[[], frozenset[str]], *writers: Writer) -> Recorder:
        """Make the recorder of a worker, which writes to the file, if there is one, and to these writers.

        `tokens` gives those that the worker has from a reload, and no record may hold either.
        """
        given = self.settings
        files = [RecordFile(given.file, given.size, tell=tell)] if given.file is not None else []
        selection = Selection(given.fraction, frozenset(given.operations), given.body)
        return Recorder(self.key, selection, [*files, *writers], secrets=lambda: self.secrets.values() | tokens())
