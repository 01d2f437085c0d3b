"""`vestibule config`: the settings, and where each comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..services.store.address import parse_store
from ..settings import Settings, leaves
from .run import load_or_exit, setting_options


def value_of(settings: Settings, name: str) -> Any:
    """Give a setting by its dotted name."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


@click.command("config")
@click.option("-c", "--config", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text", help="How they are printed.")
def command(file: Path | None, shape: str, **values: Any) -> None:
    """Print the settings that hold, each with its origin: a flag, a variable, a line of the file, or the default."""
    settings, origins = load_or_exit(file, values)
    rows = [(leaf.name, value_of(settings, leaf.name), origins[leaf.name]) for leaf in leaves()]
    rows = [(name, str(parse_store(value)) if name == "store" else value, origin) for name, value, origin in rows]
    if shape == "json":
        click.echo(json.dumps({name: {"value": value, "origin": origin} for name, value, origin in rows}, indent=2))
        return
    width = max(len(name) for name, _, _ in rows)
    for name, value, origin in rows:
        shown = ", ".join(value) if isinstance(value, list) else "" if value is None else value
        click.echo(f"{name:<{width}}  {shown!s:<28}  {origin}")


setting_options(command)
