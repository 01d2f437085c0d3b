"""`vestibule healthcheck`: ask the admin port of a run whether it is ready, for who has no curl.

It is run every few seconds, so it imports little: the settings are read in full only when something is wrong with them.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

_PATIENCE = 3.0
_FILE = Path("vestibule.yaml")
_VARIABLE = "VESTIBULE_ADMIN"


@click.command("healthcheck")
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The settings' file of the run; ./vestibule.yaml when it is there.",
)
@click.option(
    "--admin", help="The address of the admin port, host:port or unix:/path; else $VESTIBULE_ADMIN, or the file's."
)
def command(file: Path | None, admin: str | None) -> None:
    """Exit 0 when the run with these settings is ready; say why not and exit 1 when it is not."""
    address = admin or os.environ.get(_VARIABLE) or _from_file(file)
    place = _place(address) if address is not None else None
    if place is None:
        _explain(file, admin)
    try:
        reasons = _ask(place)
    except (OSError, ValueError, KeyError, TypeError):
        reasons = [f"{address} does not answer as an admin port"]
    for reason in reasons:
        click.echo(reason, err=True)
    sys.exit(1 if reasons else 0)


def _from_file(file: Path | None) -> str | None:
    """Give the address that a file of settings has; None where it has none, or is not as it should be."""
    import yaml

    try:
        # Every scalar is the text that stands there.
        data: Any = yaml.load((file or _FILE).read_text("utf-8"), Loader=yaml.BaseLoader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return None
    admin = data.get("admin") if isinstance(data, dict) else None
    listen = admin.get("listen") if isinstance(admin, dict) else admin
    return listen if isinstance(listen, str) else None


def _place(address: str) -> str | tuple[str, int] | None:
    """Give a path or a host and its port; None for what is no address."""
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return None
    return host.strip("[]"), int(port)


def _ask(place: str | tuple[str, int]) -> list[str]:
    """Give the reasons against sending requests; raise for an answer that is none of an admin port.

    By hand, as half of what this command would import is for HTTP.
    """
    with _connect(place) as sock:
        sock.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        data = b"".join(iter(lambda: sock.recv(4096), b""))
    return [str(reason) for reason in json.loads(data.partition(b"\r\n\r\n")[2])["reasons"]]


def _connect(place: str | tuple[str, int]) -> socket.socket:
    if not isinstance(place, str):
        return socket.create_connection(place, _PATIENCE)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_PATIENCE)
    sock.connect(place)
    return sock


def _explain(file: Path | None, admin: str | None) -> NoReturn:
    """Say what is wrong with the settings, as a run would, and exit as it would."""
    from .run import EXIT_CONFIGURATION, load_or_exit

    load_or_exit(file, {"admin__listen": admin})
    click.echo("no admin port: give --admin host:port", err=True)
    sys.exit(EXIT_CONFIGURATION)
