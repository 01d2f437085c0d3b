"""`vestibule jwt`: decode, verify and sign tokens as the actions do."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from ..engine.effects import FetchKeys
from ..engine.errors import EffectFailed, EvaluationError, Unreadable
from ..engine.json_body import JsonBody
from ..language.fields import parse_duration
from ..language.tokens import jws, minting
from ..language.tokens.jws import BadToken
from ..language.tokens.keys import ALGORITHMS, BadKey, Key, family, one_family, read_private, read_public, read_secret
from ..language.tokens.verification import Expected, Keyring, Verifier, check, fitting, open_token
from .output import stdout_has_color

EXIT_CONFIGURATION = 3
EXIT_UPSTREAM = 4
_LARGEST_FILE = 256 << 10
_TIMES = ("exp", "nbf", "iat", "auth_time")

_token = click.argument("token", metavar="TOKEN|-")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Claim(click.ParamType[tuple[str, Any]]):
    """`name=text`, or `name:=` and JSON."""

    name = "name=text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not equals or not name.removesuffix(":"):
            self.fail("write name=text, or name:=JSON", param, ctx)
        if not name.endswith(":"):
            return name, text
        try:
            return name[:-1], JsonBody(text.encode(), "request", 32).value()
        except (Unreadable, EvaluationError):
            self.fail(f"what follows {name}= is not JSON", param, ctx)


@click.group("jwt")
def command() -> None:
    """Decode, verify and sign tokens as the actions do.

    A token that is `-` is read from the standard input, which keeps it out of the list of processes.
    """


@command.command("decode")
@_token
@_json
def decode(token: str, *, as_json: bool) -> None:
    """Print what a token says. Nothing of it is verified.

    Exits 1 when it is no token.
    """
    try:
        found = jws.take_apart(_read_token(token))
        claims = found.claims()
    except BadToken as error:
        _fail(error, as_json=as_json)
    if as_json:
        _print_json({"verified": False, "header": found.header, "claims": claims})
        return
    _print(found.header, claims)
    click.echo("not verified: anybody can write this", err=True)


@command.command("verify")
@_token
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the public key in PEM or, for HS*, the shared secret.",
)
@click.option("--jwks", help="A key set: a file, or an https address.")
@click.option(
    "--alg",
    "algorithms",
    multiple=True,
    required=True,
    type=click.Choice(ALGORITHMS),
    help="What it may be signed with; may be given again.",
)
@click.option("--issuer", "issuers", multiple=True, help="What `iss` must be; one of several.")
@click.option("--audience", "audiences", multiple=True, help="What `aud` must name; one of several.")
@click.option("--typ", help="The type that its header must name.")
@click.option("--leeway", type=_Duration(), default="0s", help="How far the clocks may differ.")
@click.option("--require", multiple=True, default=["exp"], show_default=True, help="A claim that must be there.")
@_json
def verify(
    token: str,
    *,
    key_file: Path | None,
    jwks: str | None,
    algorithms: Sequence[str],
    issuers: Sequence[str],
    audiences: Sequence[str],
    typ: str | None,
    leeway: float,
    require: Sequence[str],
    as_json: bool,
) -> None:
    """Say whether a token holds, as the action verify_token does.

    Exits 1 when it does not, 3 when the key cannot be used, 4 when the keys cannot be fetched.
    """
    if (key_file is None) == (jwks is None):
        raise click.UsageError("give exactly one of --key and --jwks")
    if not one_family(list(algorithms)):
        raise click.UsageError("several --alg are all HS*, all RS* or PS*, all ES*, or EdDSA: one key is of one kind")
    shared = family(algorithms[0]) == "secret"
    if shared and jwks is not None:
        raise click.UsageError(f"{algorithms[0]} takes a shared secret, which no key set holds: give --key")
    now = time.time()
    try:
        found = open_token(_read_token(token), algorithms)
        if key_file is not None:
            keys = [_read_key(key_file, algorithms, private=False)]
        else:
            keys = fitting(found, _key_set(str(jwks), found.header.get("kid")), Keyring())
        claims = Verifier().verify(found, keys, now)
        check(found, claims, Expected(issuers, audiences, typ, leeway, require), now)
    except BadToken as error:
        _fail(error, as_json=as_json)
    if as_json:
        _print_json({"ok": True, "header": found.header, "claims": claims})
        return
    _print(found.header, claims)
    click.echo(click.style("it holds", fg="green"), color=stdout_has_color())


@command.command("mint")
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the private key in PEM or, for HS*, the shared secret.",
)
@click.option("--alg", "algorithm", required=True, type=click.Choice(ALGORITHMS), help="What it is signed with.")
@click.option("--claim", "claims", multiple=True, type=_Claim(), help="A claim: `name=text`, or `name:=` and JSON.")
@click.option("--expires-in", required=True, type=_Duration(), help="How long it holds, such as 15m.")
@click.option("--typ", default="JWT", show_default=True, help="The type that its header names.")
@click.option("--kid", help="The name of the key in the set that verifies it.")
@_json
def mint(
    *,
    key_file: Path,
    algorithm: str,
    claims: Sequence[tuple[str, Any]],
    expires_in: float,
    typ: str,
    kid: str | None,
    as_json: bool,
) -> None:
    """Sign a token and print it, as the action mint_token does. `iat` and `exp` are set by it.

    Exits 3 when the key cannot be used.
    """
    for name, _ in claims:
        if name in minting.OWN:
            raise click.UsageError(f"the claim {name} is set by --expires-in and the clock")
    if expires_in < 1:
        raise click.UsageError("a token holds for at least a second")
    key = _read_key(key_file, [algorithm], private=True)
    try:
        token = minting.mint(key, algorithm, dict(claims), now=time.time(), expires_in=expires_in, typ=typ, kid=kid)
    except EvaluationError as error:
        raise click.UsageError(error.cause) from None
    if as_json:
        made = jws.take_apart(token)
        _print_json({"token": token, "header": made.header, "claims": made.claims()})
        return
    click.echo(token)


def _read_token(token: str) -> str:
    if token != "-":
        return token
    # One line break is what an editor or echo adds; anything more is not of the token's one spelling.
    text = sys.stdin.buffer.read(jws.LONGEST + 3).decode("ascii", "replace")
    return text.removesuffix("\n").removesuffix("\r")


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        _stop(f"{path}: cannot be read: {error.strerror}", EXIT_CONFIGURATION)
    if len(data) > _LARGEST_FILE:
        _stop(f"{path}: is larger than {_LARGEST_FILE} bytes", EXIT_CONFIGURATION)
    return data


def _read_key(path: Path, algorithms: Sequence[str], *, private: bool) -> Key:
    # As a secret of the rules is read: a file's last line break is not part of it.
    data = _read_file(path).removesuffix(b"\n").removesuffix(b"\r")
    try:
        if family(algorithms[0]) == "secret":
            key = read_secret(data)
        else:
            key = read_private(data) if private else read_public(data)
    except BadKey as error:
        _stop(f"{path}: {error}", EXIT_CONFIGURATION)
    for algorithm in algorithms:
        wrong = key.misfit(algorithm)
        if wrong is not None:
            _stop(f"{path}: {wrong}", EXIT_CONFIGURATION)
    return key


def _key_set(place: str, kid: str | None) -> Sequence[Any]:
    """Give the keys of a set, from a file or an address."""
    if place.startswith(("https://", "http://")):
        return _fetch(place, kid)
    if not Path(place).is_file():
        raise click.UsageError(f"--jwks: {place} is neither a file nor an https address")
    try:
        found = JsonBody(_read_file(Path(place)), "request", 32).value()
        keys = found["keys"]
        if not isinstance(keys, list):
            raise TypeError
    except (Unreadable, EvaluationError, KeyError, TypeError):
        _stop(f"{place}: is no key set (RFC 7517 section 5)", EXIT_CONFIGURATION)
    return keys


def _fetch(url: str, kid: str | None) -> Sequence[Any]:
    from ..services.keys import KeySets

    async def fetch() -> Sequence[Any]:
        sets = KeySets(clock=time.monotonic)
        try:
            return await sets.fetch(FetchKeys(url, kid))
        finally:
            await sets.close()

    try:
        return asyncio.run(fetch())
    except EffectFailed as error:
        _stop(error.cause, EXIT_UPSTREAM)


def _stop(text: str, code: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(code)


def _fail(error: BadToken, *, as_json: bool) -> NoReturn:
    """Say why a token does not hold, and end."""
    if as_json:
        _print_json({"ok": False, "error": error.word, "cause": error.cause})
    else:
        click.echo(click.style(f"it does not hold: {error.word}: {error.cause}", fg="red"), color=stdout_has_color())
    sys.exit(1)


def _print_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2))


def _print(header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, highlight=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_column(style="dim")
    for title, members in (("header", header), ("claims", claims)):
        table.add_section()
        for name, value in members.items():
            table.add_row(_plain(f"{title}.{name}"), _plain(_shown(value)), _when(name, value))
    console = Console(no_color=not stdout_has_color(), highlight=False)
    if not console.is_terminal:
        # A file is as wide as its lines.
        console.width = 10_000
    console.print(table)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> Any:
    """Make text that a terminal shows and does not obey: a token is what somebody else wrote."""
    from rich.text import Text

    return Text("".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text))


def _when(name: str, value: Any) -> str:
    if name not in _TIMES or isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        moment = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    away = int(value - time.time())
    return f"{moment:%Y-%m-%d %H:%M:%S}Z, {_span(abs(away))} {'from now' if away > 0 else 'ago'}"


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
