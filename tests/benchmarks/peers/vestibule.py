"""Vestibule as it is installed: `vestibule run` with its rules, its access log, its metrics and one worker.

Once as Python runs it, and once with the hot path compiled.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import proxy

from .peer import ROOT, Peer, Place

_PROGRAM = Path(sys.executable).with_name("vestibule")
_COMPILED = ROOT / ".venv-compiled/bin/vestibule"


def words(place: Place, rules: Path, *more: str, program: Path = _PROGRAM) -> list[str]:
    """Give the command with a rule file or folder."""
    return [
        str(program), "run", "--listen", f"127.0.0.1:{place.port}", "--upstream", f"http://127.0.0.1:{place.upstream}",
        "--rules", str(rules), "--workers", "1", "--admin", f"unix:{place.folder}/admin", "--log-to",
        f"{place.folder}/access.log", *more,
    ]  # fmt: skip


def _command(program: Path) -> Callable[[Place], Sequence[str]]:
    return lambda place: words(place, place.fill("rules.yaml"), program=program)


PEER = Peer(
    name="vestibule",
    title="Vestibule",
    install="make .venv/.installed",
    version=lambda: f"Vestibule {proxy.__version__}" if _PROGRAM.is_file() else None,
    command=_command(_PROGRAM),
)
COMPILED = Peer(
    name="vestibule-compiled",
    title="Vestibule, compiled",
    install="make compiled",
    version=lambda: f"Vestibule {proxy.__version__}" if _COMPILED.is_file() else None,
    command=_command(_COMPILED),
)
