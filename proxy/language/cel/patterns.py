"""Regular expressions by RE2: linear in time. Simple patterns become plain string tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ...engine.errors import EvaluationError

# Characters that stand for themselves everywhere in a pattern, escaped ones included.
_LITERAL = r"(?:[^\\.+*?()|\[\]{}^$\n]|\\[^\w\s])*"
_SIMPLE = re.compile(rf"(?P<start>\^)?(?P<text>{_LITERAL})(?P<end>\$)?", re.ASCII)
_CHOICE = re.compile(rf"\^\((?:\?:)?(?P<texts>{_LITERAL}(?:\|{_LITERAL})*)\)\$", re.ASCII)
_CHOSEN = re.compile(rf"({_LITERAL})\|", re.ASCII)
_ESCAPED = re.compile(r"\\(.)")


def compile_pattern(pattern: str) -> Any:
    """Compile a pattern by RE2; raise EvaluationError with what is wrong."""
    # Imported late: few rule sets have patterns that need it.
    import re2

    try:
        return re2.compile(pattern, _options())
    except re2.error as error:
        cause = error.args[0] if error.args else ""
        raise EvaluationError(f"no valid pattern: {cause.decode() if isinstance(cause, bytes) else cause}") from None


@lru_cache(maxsize=1)
def _options() -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    return options


@lru_cache(maxsize=64)
def _cached(pattern: str) -> Any:
    return compile_pattern(pattern)


def search(text: str, pattern: str) -> bool:
    """Say whether a pattern that is not known at load is found in a text."""
    return _cached(pattern).search(text) is not None


def simple(pattern: str) -> tuple[str, Any] | None:
    """Return the string test that does what a pattern does: its kind and its text or texts, or None."""
    found = _SIMPLE.fullmatch(pattern)
    if found is not None:
        text = _ESCAPED.sub(r"\1", found["text"])
        start, end = found["start"] is not None, found["end"] is not None
        return {
            (False, False): "contains", (True, False): "startsWith", (False, True): "endsWith", (True, True): "equals",
        }[start, end], text  # fmt: skip
    choice = _CHOICE.fullmatch(pattern)
    if choice is not None:
        return "among", frozenset(_ESCAPED.sub(r"\1", text) for text in _CHOSEN.findall(choice["texts"] + "|"))
    return None


def finder(pattern: str) -> Callable[[str], bool]:
    """Return the test of a pattern that is known at load; raise EvaluationError when it is none."""
    search = compile_pattern(pattern).search
    return lambda text: search(text) is not None
