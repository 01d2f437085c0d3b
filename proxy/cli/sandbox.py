"""`vestibule sandbox`: an auth service with made-up customers, by itself; for trying only."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import sys
from typing import Any

import click

from ..sandbox import NAMES, serve
from ..settings import parse_address


def _address(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        address = parse_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    if address.startswith("unix:"):
        raise click.BadParameter("a sandbox listens on host:port", ctx, param)
    return address


@click.command("sandbox")
@click.argument("name", type=click.Choice(list(NAMES)))
@click.option(
    "--listen", default="127.0.0.1:8081", show_default=True, callback=_address, help="Its address, host:port."
)
@click.option("--data", type=click.Path(dir_okay=False), help="Its SQLite file; without one its data go with it.")
def command(name: str, listen: str, data: str | None) -> None:
    """Serve an auth service with made-up customers, to try rules against. It is not for production.

    `--upstream sandbox:kibo` starts one beside a run; this is for one that stands alone.
    """
    host, _, port = listen.rpartition(":")
    try:
        asyncio.run(_serve(name, host.strip("[]"), int(port), data))
    except (OSError, sqlite3.Error) as error:
        click.echo(f"sandbox:{name} cannot be served on {listen}: {error}", err=True)
        sys.exit(1)


async def _serve(name: str, host: str, port: int, data: str | None) -> None:
    def ready(address: str) -> None:
        click.echo(f"sandbox:{name} has made-up customers. It is not for production.", err=True)
        click.echo(address)
        sys.stdout.flush()

    task: asyncio.Task[Any] = asyncio.create_task(serve(name, host=host, port=port, data=data, ready=ready))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
