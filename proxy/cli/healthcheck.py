"""`vestibule healthcheck`: ask the admin port of a run whether it is ready, for who has no curl."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from pathlib import Path
from typing import Any

import click

from .run import EXIT_CONFIGURATION, load_or_exit, setting_options

_PATIENCE = 3.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


@click.command("healthcheck")
@click.option("-c", "--config", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(file: Path | None, **values: Any) -> None:
    """Exit 0 when the run with these settings is ready; say why not and exit 1 when it is not."""
    settings, _ = load_or_exit(file, values)
    address = settings.admin.listen
    if address is None:
        click.echo("no admin port: give --admin host:port", err=True)
        sys.exit(EXIT_CONFIGURATION)
    try:
        connection = _connect(address)
        connection.request("GET", "/readyz")
        reasons = json.loads(connection.getresponse().read())["reasons"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        reasons = [f"{address} does not answer as an admin port"]
    for reason in reasons:
        click.echo(reason, err=True)
    sys.exit(1 if reasons else 0)


def _connect(address: str) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return _UnixConnection(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_PATIENCE)


setting_options(command)
