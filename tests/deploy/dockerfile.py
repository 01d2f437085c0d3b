"""The Dockerfile as its tests read it: its stages, and what each of their instructions says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, in one line."""

    word: str
    rest: str

    @property
    def words(self) -> Any:
        """Give the words of the exec form; ValueError for the form that needs a shell."""
        return json.loads(self.rest[self.rest.index("[") :])


def stages() -> list[list[Instruction]]:
    """Give the instructions of each stage, which begins with FROM; what is before the first is left out."""
    text = "\n".join(line for line in DOCKERFILE.read_text("utf-8").splitlines() if not line.startswith("#"))
    found: list[list[Instruction]] = []
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        if found and word:
            found[-1].append(Instruction(word, rest.strip()))
    return found


def last(word: str) -> Instruction:
    """Give the last instruction of a kind in the image that is run."""
    return [one for one in stages()[-1] if one.word == word][-1]
