"""`vestibule har`: a recording as an archive of HTTP, for browsers and other tools."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .. import __version__
from .casefiles import EXIT_CONFIGURATION


@click.command("har")
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The file; stdout when not given.")
def command(recording: Path, out: Path | None) -> None:
    """Write a recording as an archive of HTTP (HAR 1.2): what client and proxy said to one another.

    Browsers and other tools read it, and so do `replay` and `diff`, which lose nothing by it. What was replaced in the
    recording is replaced in the archive.
    """
    from ..observe.har import write_har
    from ..observe.traffic import TrafficError, read_traffic

    try:
        records = read_traffic(recording)
    except TrafficError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIGURATION)
    text = write_har(records, __version__).decode()
    if out is None:
        click.echo(text)
        return
    out.touch(mode=0o600)
    out.write_text(text + "\n", encoding="utf-8")
    click.echo(f"{len(records)} {'exchange' if len(records) == 1 else 'exchanges'} in {out}", err=True)
