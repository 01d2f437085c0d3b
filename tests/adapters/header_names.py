"""The headers that the rules of all case files name, read from their YAML alone: building them all takes too long."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import yaml

from proxy.cli.export.asking import Asked, of_rules
from proxy.edge import fields
from proxy.engine.dialects import DIALECTS
from tests.casefiles import FILES, ROOT

_RULES = [path for path in sorted((ROOT / "rules").glob("*/*.yaml")) if not path.name.endswith(".test.yaml")]
# Names that no message may have are in the rules of cases about mistakes.
_PLAIN = (fields.PLAIN, fields.SINGLE, fields.CLAIM, fields.TRACE, fields.VIA)


@cache
def asked() -> Asked:
    """Say what a proxy that asks copies for all of them."""
    drafts = [draft for path in (*FILES, *_RULES) for draft in _drafts(yaml.load(path.read_bytes(), yaml.CSafeLoader))]
    found = of_rules(drafts, set(DIALECTS))
    return Asked(tuple(filter(_is_plain, found.requests)), tuple(filter(_is_plain, found.answers)))


def _is_plain(name: str) -> bool:
    return name.isascii() and "*" not in name and fields.classify(name.encode())[1] in _PLAIN


def _drafts(data: Any) -> Iterator[Any]:
    """Find whatever looks like a rule."""
    if isinstance(data, dict):
        steps = [
            (SimpleNamespace(phase=phase), action, step)
            for phase in ("before", "continue", "after")
            for step in data.get(phase) or ()
            if isinstance(step, dict)
            for action in step
        ]
        if steps:
            yield SimpleNamespace(steps=steps)
        data = list(data.values())
    if isinstance(data, list):
        for one in data:
            yield from _drafts(one)
