"""What commands have in common about where they write."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def stdout_has_color() -> bool:
    """Say whether results may have colours: on a terminal, unless NO_COLOR is set (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def write_over(file: Path, text: str) -> None:
    """Write a file anew in one move, with the rights that it has."""
    real = Path(os.path.realpath(file))
    descriptor, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as new:
            new.write(text)
        Path(name).chmod(real.stat().st_mode & 0o7777)
        Path(name).replace(real)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
