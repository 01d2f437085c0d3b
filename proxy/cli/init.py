"""`vestibule init`: a folder to work in, made from the rules that ship.

It serves at once, against a sandbox with made-up customers. Nothing that is there is ever written over.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

RULES = "rules"
SECRETS = "secrets"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a folder begins with: files of the pack's rules, by their names, and the sandbox that plays the vendor."""

    sandbox: str
    files: tuple[str, ...]


KINDS = {
    "kibo": Kind("kibo", ("refuse-disposable-mail", "short-tickets", "ticket-to-bearer")),
    "sfcc": Kind("sfcc", ("client-id", "refuse-disposable-login", "session-cookies")),
    "auth0": Kind("oauth", ("deny", "redirect", "result-url")),
    "oauth": Kind("oauth", ("deny", "lock-out", "refresh-cookie", "single-flight")),
}

_SETTINGS = """\
# yaml-language-server: $schema=./settings-schema.json
# The settings. `vestibule config` prints all of them, with where each comes from.
listen: 127.0.0.1:8080
upstream: sandbox:{sandbox}  # made-up customers; put your own endpoint here: https://auth.example
rules: {rules}
secrets: {secrets}
"""

_README = """\
# Vestibule in front of {description}

- `vestibule.yaml` has the settings: where it listens, where it leads.
- `rules/` has the rules, and beside each file its test cases.
- `vestibule check --strict --secrets secrets rules` names every mistake, `vestibule test rules` runs the cases.
- `vestibule run --watch`, in this folder, serves them, says what to try, and takes changes as you save them.
- `secrets/` has one file for each `${{secret:NAME}}` of a rule. What is there is random, for tests only, kept out of
  git by the folder's `.gitignore`.
- `vestibule doctor` looks at everything that a run needs: the upstream, its certificate and clock, the store, files.
- `schema.json`, `test-schema.json` and `settings-schema.json` let an editor complete and check the files, which
  name them in their first lines; `vestibule schema rules > schema.json` (or `tests`, `settings`) brings one up to date.
"""

_SECRETS_IGNORE = """\
# No secret belongs in a repository.
*
!.gitignore
"""


_NEXT = [
    "vestibule check --strict --secrets secrets rules   # every mistake, with its place",
    "vestibule test --watch rules                       # the cases, again whenever something changes",
    "vestibule run --watch                              # serve, and say what to try",
]


@click.command("init")
@click.argument("kind", type=click.Choice(list(KINDS)), required=False)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--list", "listing", is_flag=True, help="Say what a folder can be made for, and write nothing.")
def command(kind: str | None, folder: Path, *, listing: bool) -> None:
    """Make a working folder: settings, first rules with their tests, secrets, a page on how to go on.

    FOLDER is the current one when it is not given. A file that is there already is never written over: then nothing is
    written at all. `vestibule export compose` prints a compose file for it.
    """
    if listing:
        for name in KINDS:
            click.echo(f"{name:<6}  {_describe(name)}")
        return
    if kind is None:
        raise click.UsageError(f"say what the folder is for: {', '.join(KINDS)}")
    files = dict(_files(kind))
    there = [str(folder / name) for name in files if os.path.lexists(folder / name)]
    if there:
        click.echo(f"nothing was written, for this is there already: {', '.join(there)}", err=True)
        sys.exit(1)
    try:
        for name, text in files.items():
            _write(folder / name, text, secret=name.startswith(f"{SECRETS}/"))
    except OSError as error:
        click.echo(f"{error.filename}: cannot be written: {error.strerror}", err=True)
        sys.exit(1)
    for name in files:
        click.echo(str(folder / name))
    click.echo("\nNext:\n", err=True)
    for line in ([] if folder == Path() else [f"cd {folder}"]) + _NEXT:
        click.echo(f"  {line}", err=True)


def _describe(kind: str) -> str:
    """Return what the pack of a kind says of itself."""
    from ..language.document import load
    from ..language.problems import Problems
    from ..services.rulefiles import find_pack

    pack = find_pack(kind, ())
    document = load(pack, Problems()) if pack is not None else None
    if document is None:
        raise click.ClickException(f"the pack {kind} does not lie where it was installed")
    return str(document.data["description"])


def _files(kind: str) -> Iterator[tuple[str, str]]:
    """Give the files of a folder: their names in it, and their texts."""
    from .schema import SCHEMAS, write

    chosen = KINDS[kind]
    yield "vestibule.yaml", _SETTINGS.format(sandbox=chosen.sandbox, rules=RULES, secrets=SECRETS)
    yield "README.md", _README.format(description=_describe(kind))
    for name, what in (("schema.json", "rules"), ("test-schema.json", "tests"), ("settings-schema.json", "settings")):
        yield name, write(SCHEMAS[what]())
    texts = {f"{file}{end}": _shipped(kind, f"{file}{end}") for file in chosen.files for end in (".yaml", ".test.yaml")}
    for name, text in texts.items():
        yield f"{RULES}/{name}", text
    yield f"{SECRETS}/.gitignore", _SECRETS_IGNORE
    for name in _named_secrets({name: text for name, text in texts.items() if not name.endswith(".test.yaml")}):
        yield f"{SECRETS}/{name}", f"test-only-{secrets.token_urlsafe(32)}\n"


def _shipped(kind: str, name: str) -> str:
    from ..services.rulefiles import BUILT_IN

    for folder in BUILT_IN:
        if (file := folder / kind / name).is_file():
            return file.read_text("utf-8")
    raise click.ClickException(f"the rule file {kind}/{name} does not lie where it was installed")


def _named_secrets(texts: dict[str, str]) -> list[str]:
    """Return the secrets that rules name, by asking for them as serving the rules would."""
    from ..language.compile import Options, build
    from ..language.document import Source
    from ..services.rulefiles import find_pack

    asked: dict[str, None] = {}

    def note(name: str) -> str | None:
        asked[name] = None
        return None

    options = Options(secrets=note, packs=lambda name: find_pack(name, ()))
    build([Source(name, text) for name, text in texts.items()], options)
    return list(asked)


def _write(path: Path, text: str, *, secret: bool) -> None:
    """Write a new file, and the folders above it; what holds secrets is the owner's alone."""
    path.parent.mkdir(mode=0o700 if secret else 0o777, parents=True, exist_ok=True)
    # O_EXCL: neither a file nor a link that came meanwhile is followed or written over.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o666)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
