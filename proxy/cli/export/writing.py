"""Documents as YAML that people read on: texts of several lines stay such, and each document says what it is."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def write(document: dict[str, Any], comment: str = "") -> str:
    """Write a document under a comment."""
    above = "".join(f"# {line}\n" for line in comment.splitlines())
    return above + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
