"""The files of rules as another machine is to have them: checked, and in a folder that is read in the same order."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import click
from pydantic import ValidationError

from ...language.compile import Options, build
from ...language.document import Source
from ...language.problems import render
from ...services.rulefiles import BUILT_IN, find_pack, read
from ...services.store.address import parse_store
from ...settings import Settings

# Where the image and everything that is exported have the files of a run.
HOME = "/etc/vestibule"
SETTINGS = f"{HOME}/settings/vestibule.yaml"
RULES = f"{HOME}/rules"
SECRETS = f"{HOME}/secrets"
TMP = "/tmp"  # noqa: S108, a file system of the container's own is mounted there
PORT = 8080
ADMIN_PORT = 9090
# Numeric, so that Kubernetes can see that it is not root.
USER = 65532

IMAGE_IS_BUILT = "The image is built of the project, by deploy/docker/Dockerfile; --image names another."

rules_argument = click.argument("rules", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))


@dataclass(frozen=True, slots=True)
class Bundle:
    """Rules by their paths in a folder of their own, each with where it was read; and the secrets that they name."""

    texts: dict[str, str]
    origins: dict[str, str]
    secrets: tuple[str, ...]


def bundle_or_exit(rules: tuple[Path, ...]) -> Bundle:
    """Check rule files and gather them with the packs beside them; with an error say so as `check` does and exit 1."""
    sources, problems = read(rules)
    packs: dict[str, Source] = {}
    secrets: dict[str, None] = {}

    def find(name: str) -> Source | None:
        pack = find_pack(name, rules, problems)
        if pack is not None and not any(_place(pack).is_relative_to(folder) for folder in BUILT_IN):
            packs[name] = pack
        return pack

    def note(name: str) -> str | None:
        secrets[name] = None
        return None

    build(sources, Options(secrets=note, packs=find), problems)
    texts = {source.name: source.text for source in (*sources, *packs.values())}
    # That a secret is not here says nothing about the machine that this is for.
    for problem in problems:
        if problem.code != "missing-secret":
            shown = render(problem, texts.get(problem.source), color=sys.stderr.isatty())
            click.echo(f"{shown}\n", err=True)
    if problems.errors:
        count = len(problems.errors)
        refuse(f"{count} {'error' if count == 1 else 'errors'} in the rules: nothing was exported")
    return _gather(sources, packs, tuple(secrets))


def _gather(sources: list[Source], packs: dict[str, Source], secrets: tuple[str, ...]) -> Bundle:
    files = [_place(source) for source in sources]
    base = Path(os.path.commonpath([file.parent for file in files]))
    placed = {file.relative_to(base).as_posix(): source for file, source in zip(files, sources, strict=True)}
    # Beside the rules a pack is found by the name of its folder.
    placed |= {f"{name}/pack.yaml": pack for name, pack in packs.items()}
    texts = {path: source.text for path, source in placed.items()}
    with TemporaryDirectory() as folder:
        for path, text in texts.items():
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="")
        same = [source.text for source in read([folder])[0]] == [source.text for source in sources]
        found = {name: find_pack(name, (folder,)) for name in packs}
        if not same or any(pack is None or pack.text != packs[name].text for name, pack in found.items()):
            refuse(
                "in a folder of their own these files would be read in another order, or not at all: give one folder, "
                "with names that end with .yaml"
            )
    return Bundle(texts, {path: source.name for path, source in placed.items()}, secrets)


def _place(source: Source) -> Path:
    """Give where a file was read, without following links: what it is called is what counts."""
    return Path(os.path.normpath(Path(source.name).absolute()))


def refuse(text: str) -> NoReturn:
    """Say why nothing is exported, and exit 1."""
    click.echo(text, err=True)
    sys.exit(1)


def setting(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Give what checks an option as the setting of this name is checked."""

    def check(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if value is not None:
            try:
                Settings.model_validate({name: value})
            except ValidationError as error:
                cause = error.errors(include_url=False, include_input=False)[0].get("ctx", {}).get("error", error)
                raise click.BadParameter(str(cause), ctx, param) from None
        return value

    return check


def store_option(more: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give the option that names a store; `more` says what happens without one."""
    return click.option(
        "--store", callback=_check_store, help=f"Where rules keep what they store: redis://host:port. {more}"
    )


def _check_store(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    setting("store")(ctx, param, value)
    if value is not None and parse_store(value).password is not None:
        raise click.BadParameter(
            "its password would be there for all to read: give the whole address as the variable VESTIBULE_STORE, "
            "from a secret",
            ctx,
            param,
        )
    return value


def is_shared(store: str | None) -> bool:
    """Say whether several machines can have what is in a store."""
    return store is not None and parse_store(store).kind == "redis"
