"""`vestibule check`: every problem of rule files, and of the settings beside them, before they are served."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from ..language.document import Source
from ..language.problems import Problems
from ..language.targets import ALIASES, TARGETS
from .output import stdout_has_color
from .reports import FORMATS, Report


@click.command("check")
@click.argument("rules", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--format", "shape", type=click.Choice(list(FORMATS)), default="text", help="How the problems are printed."
)
@click.option("--strict", is_flag=True, help="Exit 1 on warnings too.")
@click.option(
    "--secrets",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of the secrets that the rules name; one that is not there is a warning.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=click.Choice([*TARGETS, *ALIASES]),
    help="Where the rules are to run too, as `run --serve` names it; what cannot run there is an error.",
)
def command(
    rules: tuple[Path, ...], shape: str, *, strict: bool, secrets: Path | None, targets: tuple[str, ...]
) -> None:
    """Report every problem of rule files and of the packs they name.

    RULES are files, or folders with everything below them; a `vestibule.yaml` at the top of one is checked as settings,
    without variables and flags. Exits 1 when there is an error.
    """
    report = check(rules, secrets, targets)
    click.echo(FORMATS[shape](report, stdout_has_color()), nl=False)
    click.echo(report.summary(), err=True)
    sys.exit(1 if report.problems.errors or (strict and report.problems.warnings) else 0)


def check(rules: tuple[Path, ...], secrets: Path | None = None, targets: tuple[str, ...] = ()) -> Report:
    """Build the rules and keep what was found."""
    from ..language.compile import Options, build
    from ..services.rulefiles import find_pack, read, read_text, settings_files

    sources, problems = read(rules)
    texts = {source.name: source.text for source in sources}
    for file in settings_files(rules):
        if (settings := read_text(file, problems)) is not None:
            texts[settings.name] = _check_settings(settings, problems)
    files = len(texts)

    def packs(name: str) -> Source | None:
        pack = find_pack(name, rules, problems)
        if pack is not None:
            texts[pack.name] = pack.text
        return pack

    built = build(sources, Options(secrets=_secrets(secrets), packs=packs, targets=targets), problems)
    return Report(built.problems, texts, files)


def _check_settings(source: Source, problems: Problems) -> str:
    """Check settings; gives their text as it may be shown."""
    # Most checks are of rules alone.
    from ..services.store.address import hide_password
    from ..settings import check_file

    check_file(source, problems)
    return hide_password(source.text)


def _secrets(folder: Path | None) -> Callable[[str], str | None]:
    def get(name: str) -> str | None:
        # Most rules name no secret.
        from ..services.secrets import Secrets

        return Secrets(str(folder) if folder is not None else None, os.environ).get(name)

    return get
