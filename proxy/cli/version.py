"""`vestibule version`: which version this is, of which revision, and of what it is made."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, requires, version

import click

from .. import __revision__, __version__

# A requirement of those who serve, not of those who test.
_SERVES = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?!.*extra == '(?:test|fuzz)')")


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the versions of what it is made of.")
def command(*, as_json: bool) -> None:
    """Print the version."""
    if not as_json:
        click.echo(f"vestibule {__version__}")
        return
    from ..engine import phase

    found = {
        "vestibule": __version__,
        "revision": _revision(),
        "compiled": not str(phase.__file__).endswith(".py"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": dict(_libraries()),
    }
    click.echo(json.dumps(found, indent=2))


def _revision() -> str | None:
    """Give the commit that this was built from, or that pip was told to install, where that is known."""
    if not __revision__.startswith("$"):
        return __revision__
    with suppress(PackageNotFoundError):
        origin = json.loads(distribution("vestibule").read_text("direct_url.json") or "{}")
        commit = origin.get("vcs_info", {}).get("commit_id")
        return None if commit is None else str(commit)
    return None


def _libraries() -> Iterator[tuple[str, str]]:
    """Give what this was made to be used with, as far as it is installed."""
    with suppress(PackageNotFoundError):
        for line in requires("vestibule") or ():
            if found := _SERVES.match(line):
                # An extra need not be there.
                with suppress(PackageNotFoundError):
                    yield found["name"], version(found["name"])
