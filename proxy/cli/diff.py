"""`vestibule diff`: which recorded exchanges end otherwise under other rules."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..observe.changes import RAN, rules_gone_and_come
from .casefiles import EXIT_CONFIGURATION
from .output import stdout_has_color
from .reports import FORMATS, Report, annotation

if TYPE_CHECKING:
    from ..engine.ruleset import Ruleset
    from ..observe.changes import Change, Changed, Comparison
    from ..services.secrets import Secrets

# So many exchanges of a group are named in text; JSON names all.
_NAMED = 10
# What is told in place of an answer's fields when it is another one altogether.
_WHOLE = ("answer header", "answer body", "reason phrase")


@click.command("diff")
@click.argument("old", type=click.Path(exists=True, path_type=Path))
@click.argument("new", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--traffic",
    multiple=True,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A recording of `vestibule record`, or an archive of HTTP (HAR); may be given several times.",
)
@click.option(
    "--secrets",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of the secrets; a secret that is not there has a stand-in, the same for both.",
)
@click.option("--public-origin", help="The address that clients know, as `run` has it.")
@click.option("--allow-redirects", multiple=True, help="Hosts that redirects may lead to, as `run` has them.")
@click.option("--strict", is_flag=True, help="Exit 1 for an exchange whose outcome is unknown, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every field of every exchange.")
@click.option(
    "--format", "shape", type=click.Choice(["text", "json", "github"]), default="text", help="How changes are printed."
)
def command(
    old: Path,
    new: Path,
    traffic: tuple[Path, ...],
    secrets: Path | None,
    public_origin: str | None,
    allow_redirects: tuple[str, ...],
    shape: str,
    *,
    strict: bool,
    as_json: bool,
) -> None:
    """Play recorded exchanges through two rule sets, offline, and list those that end otherwise.

    OLD and NEW are rule files, or folders with everything below them. The engine is the one that serves; clock, answers
    of the upstream and of other services are those of the recording. Exits 0 when nothing changes, 1 when something
    does, 3 when rules or traffic cannot be read.
    """
    from ..observe.changes import compare
    from ..observe.traffic import TrafficError, read_traffic
    from ..services.rehearsal import rehearse
    from ..services.secrets import Secrets

    given = _StandIns(Secrets(str(secrets) if secrets is not None else None))
    one, other = (_load(path, given, public_origin, allow_redirects) for path in (old, new))
    try:
        records = sorted((one for path in traffic for one in read_traffic(path)), key=lambda record: record.time)
    except TrafficError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIGURATION)
    if one is None or other is None:
        sys.exit(EXIT_CONFIGURATION)
    found = compare(records, one, other, rehearse, given.values())
    if given.made:
        click.echo(f"note: stand-ins for secrets that are not there: {', '.join(sorted(given.made))}", err=True)
    shape = "json" if as_json else shape
    if shape == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    elif shape == "github":
        click.echo(_github(found, str(new)), nl=False)
    else:
        click.echo(_text(found), nl=False, color=stdout_has_color())
    click.echo(_summary(found), err=True)
    sys.exit(1 if found.changed or (strict and found.unknown) else 0)


class _StandIns:
    """The secrets of both rule sets: a rule whose secret is not here does the same in both with another one."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self.made: dict[str, str] = {}

    def get(self, name: str) -> str:
        found = self._secrets.get(name)
        if found is None:
            found = self.made.setdefault(name, f"stand-in for {name}, long enough for a key of any HMAC: " + "0" * 32)
        return found

    def values(self) -> frozenset[str]:
        return self._secrets.values() | frozenset(self.made.values())


def _load(path: Path, secrets: _StandIns, public_origin: str | None, redirects: tuple[str, ...]) -> Ruleset | None:
    """Build a rule set; print its errors and give None when it has any."""
    from ..language.compile import Options, build
    from ..language.document import Source
    from ..language.problems import Problems
    from ..services.rulefiles import find_pack, read

    sources, problems = read([path])
    texts = {source.name: source.text for source in sources}

    def packs(name: str) -> Source | None:
        pack = find_pack(name, [path], problems)
        if pack is not None:
            texts[pack.name] = pack.text
        return pack

    options = Options(secrets.get, packs, public_origin=public_origin, allow_redirects=redirects)
    built = build(sources, options, problems)
    if built.ruleset is None:
        errors = Problems()
        for problem in built.problems.errors:
            errors.add(problem)
        click.echo(FORMATS["text"](Report(errors, texts, len(sources)), False), err=True, nl=False)
        click.echo(f"{path}: these rules do not load", err=True)
    return built.ruleset


def _summary(found: Comparison) -> str:
    changed, unknown = len(found.changed), len(found.unknown)
    told = f"{changed} of {found.total} {'exchange' if found.total == 1 else 'exchanges'} {_verb(changed, 'change')}"
    told += f"; {len(found.other_rules)} end as they did after other rules" if found.other_rules else ""
    return told + (f"; of {unknown} the outcome is unknown" if unknown else "")


def _verb(count: int, verb: str) -> str:
    return f"{verb}s" if count == 1 else verb


def _text(found: Comparison) -> str:
    lines: list[str] = []
    for group in found.groups():
        first = group[0]
        lines.append(click.style(_title(group), bold=True))
        lines += [_line(change) for change in _shown(first.changes)]
        if len(group) > 1 and any(one.changes != first.changes for one in group):
            lines.append("  (the values are those of the first)")
        lines += [f"  {_named(one)}" for one in group[:_NAMED]]
        if len(group) > _NAMED:
            lines.append(f"  and {len(group) - _NAMED} more; --json names all")
        doubts = {one.doubt for one in group if one.doubt is not None}
        lines += [f"  note: {doubt}" for doubt in sorted(doubts)]
        lines.append("")
    reasons: dict[str, list[str]] = {}
    for unsure in found.unknown:
        reasons.setdefault(unsure.why, []).append(f"{unsure.id}  {unsure.method} {unsure.target}")
    if reasons:
        lines.append(click.style("unknown", bold=True))
        for why, ids in reasons.items():
            lines.append(f"  {len(ids)} × {why}")
            lines += [f"    {one}" for one in ids[:_NAMED]]
            if len(ids) > _NAMED:
                lines.append(f"    and {len(ids) - _NAMED} more; --json names all")
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def _title(group: list[Changed]) -> str:
    first = group[0]
    what = first.operation or f"{first.method} {first.target.partition('?')[0]}"
    return f"{len(group)} × {what}"


def _named(one: Changed) -> str:
    when = datetime.fromtimestamp(one.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{one.id}  {when}  {one.method} {one.target}"


def _shown(changes: tuple[Change, ...]) -> list[Change]:
    """Leave out the fields of an answer that is another one altogether."""
    if all(change.field != "answered by" for change in changes):
        return list(changes)
    return [change for change in changes if not change.field.startswith(_WHOLE)]


def _line(change: Change) -> str:
    if change.field == RAN:
        gone, come = rules_gone_and_come(change)
        told = [f"{mark} {names}" for mark, names in (("-", gone), ("+", come)) if names]
        return f"  {change.field}: {'  '.join(told) or f'{change.old} → {change.new}'}"
    if change.old is None:
        return f"  {change.field}: + {change.new}"
    if change.new is None:
        return f"  {change.field}: - {change.old}"
    return f"  {change.field}: {change.old} → {change.new}"


def _github(found: Comparison, file: str) -> str:
    """Write workflow commands: a warning for each group, a notice for what is unknown."""
    lines = []
    for group in found.groups():
        told = [_line(change).strip() for change in _shown(group[0].changes)]
        told += [_named(one) for one in group[:_NAMED]]
        title = f"{_title(group)}: the outcome changes"
        lines.append(annotation("warning", "\n".join(told), file=file, title=title))
    for why in dict.fromkeys(one.why for one in found.unknown):
        count = sum(one.why == why for one in found.unknown)
        lines.append(annotation("notice", f"{count} × {why}", title="The outcome is unknown"))
    return "".join(lines)
