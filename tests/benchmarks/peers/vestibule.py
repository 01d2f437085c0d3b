"""Vestibule as it is installed: `vestibule run` with its rules, its access log, its metrics and one worker."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import proxy

from .peer import Peer, Place

PROGRAM = Path(sys.executable).with_name("vestibule")


def words(place: Place, rules: Path, *more: str) -> list[str]:
    """Give the command with a rule file or folder."""
    return [
        str(PROGRAM), "run", "--listen", f"127.0.0.1:{place.port}", "--upstream", f"http://127.0.0.1:{place.upstream}",
        "--rules", str(rules), "--workers", "1", "--admin", f"unix:{place.folder}/admin", "--log-to",
        f"{place.folder}/access.log", *more,
    ]  # fmt: skip


def _command(place: Place) -> Sequence[str]:
    return words(place, place.fill("rules.yaml"))


PEER = Peer(
    name="vestibule",
    title="Vestibule",
    install="make .venv/.installed",
    version=lambda: f"Vestibule {proxy.__version__}" if PROGRAM.is_file() else None,
    command=_command,
)
