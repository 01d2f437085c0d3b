"""`vestibule version`: which version this is, and of what it is made."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version

import click

from .. import __version__

# What decides how HTTP, YAML and tokens are read.
_PARTS = ("aiohttp", "cryptography", "msgspec", "pydantic", "PyJWT", "PyYAML")


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the versions of what it is made of.")
def command(*, as_json: bool) -> None:
    """Print the version."""
    if not as_json:
        click.echo(f"vestibule {__version__}")
        return
    parts = {name: version(name) for name in _PARTS}
    python = f"{platform.python_implementation()} {platform.python_version()}"
    click.echo(json.dumps({"vestibule": __version__, "python": python, "parts": parts}, indent=2))
