"""What commands have in common about where they write."""

from __future__ import annotations

import os
import sys


def stdout_has_color() -> bool:
    """Say whether results may have colours: on a terminal, unless NO_COLOR is set (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()
