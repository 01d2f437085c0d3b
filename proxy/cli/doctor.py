"""`vestibule doctor`: what an operator would look at before a run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..settings import load_settings
from .checkup import Finding, State
from .output import stdout_has_color
from .run import given_flags, setting_options

_COLORS: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor")
@click.option("-c", "--config", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(file: Path | None, *, as_json: bool, **values: Any) -> None:
    """Look at everything that a run with these settings needs, and say what is wrong with it.

    The settings, the rules, the upstream (its name, a connection, TLS, an answer, its clock), key sets, the store,
    files of secrets, limits of the system, ports. No secret is printed. What is tried leaves nothing behind.

    Exits 1 when something fails. Stop a run that listens on the same addresses first.
    """
    color = stdout_has_color()
    found = []
    for finding in _look(file, values):
        found.append(finding)
        if not as_json:
            click.echo(_line(finding, color=color), color=color)
    if as_json:
        click.echo(json.dumps([_data(finding) for finding in found], indent=2))
    failed, warned = (sum(one.state == state for one in found) for state in ("fail", "warn"))
    click.echo(f"{len(found)} looked at, {failed} failed, {warned} to mind", err=True)
    sys.exit(1 if failed else 0)


setting_options(command)


def _look(file: Path | None, values: dict[str, Any]) -> Iterator[Finding]:
    loaded = load_settings(file, os.environ, given_flags(values))
    if loaded.settings is None:
        for fault in loaded.faults:
            yield Finding("settings", "fail", fault, "vestibule config shows where each comes from")
        return
    from .checkup import look

    where = sorted({origin.partition(":")[0] for origin in loaded.origins.values()} - {"default"})
    yield Finding("settings", "ok", f"from {', '.join(where)}" if where else "all as they are when none is given")
    yield from look(loaded.settings)


def _line(finding: Finding, *, color: bool) -> str:
    state = f"{finding.state:<4}"
    shown = click.style(state, fg=_COLORS[finding.state], bold=finding.state != "ok") if color else state
    todo = f"; {finding.todo}" if finding.todo else ""
    return f"{shown}  {finding.name:<14}  {finding.text}{todo}"


def _data(finding: Finding) -> dict[str, str | None]:
    return {"name": finding.name, "state": finding.state, "text": finding.text, "todo": finding.todo}
