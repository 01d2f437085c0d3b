"""What `vestibule explain` explains: an exchange from curl's flags, or one of a test file."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from ..engine.message import Limits
from ..engine.ruleset import Ruleset
from ..language.cases import Prepared, Results, prepare
from ..language.cases.model import Case, Given
from ..language.compile import Draft, Options, build
from ..language.explain import Trace, plans_of
from ..language.explain.explanation import trace_of
from ..language.explain.tracer import Tracer
from ..language.problems import nearest
from ..observe.playback import Playback, Unknown
from ..observe.traffic import TrafficError, read_traffic
from ..services.rehearsal import rehearse
from ..services.rulefiles import find_pack, read
from ..services.secrets import Secrets
from .casefiles import EXIT_CONFIGURATION, read_test_file, rules_beside, show_problems

_FAILS = ("down", "late")


class SecretsSeen:
    """Gives the operator's secrets, with a stand-in for one that is not there; `texts` are those that it gave."""

    def __init__(self, folder: Path | None) -> None:
        self._secrets = Secrets(folder)
        self.texts: set[str] = set()
        self.made: set[str] = set()

    def get(self, name: str) -> str:
        found = self._secrets.get(name)
        if found is None:
            self.made.add(name)
            found = f"stand-in for {name}, long enough for a key of any HMAC: {'0' * 32}"
        self.texts.add(found)
        return found


@dataclass(frozen=True, slots=True)
class Served:
    """Rules as they would be served."""

    rules: Sequence[Path]
    secrets: SecretsSeen
    public_origin: str | None = None
    allow_redirects: tuple[str, ...] = ()


def build_served(served: Served) -> tuple[Ruleset, list[Draft]]:
    """Build rules, and give what they were made from too; rules that cannot be read are the end."""
    results = Results()
    sources, results.problems = read(served.rules)
    results.texts = {source.name: source.text for source in sources}
    drafts: list[Draft] = []
    options = Options(
        served.secrets.get,
        lambda name: find_pack(name, served.rules, results.problems),
        public_origin=served.public_origin,
        allow_redirects=served.allow_redirects,
    )
    built = build(sources, options, results.problems, keep=drafts)
    if built.ruleset is None:
        show_problems(results)
        sys.exit(EXIT_CONFIGURATION)
    return built.ruleset, drafts


def prepared(served: Served, case: dict[str, Any], now: datetime) -> Prepared:
    """Make a case of an exchange and the rules that are given."""
    ruleset, drafts = build_served(served)
    model = Case.model_validate({"name": "explain", **case})
    operation = case["request"].get("operation")
    if operation is not None:
        known = [one.name for one in ruleset.operations]
        if operation not in known:
            hint = nearest(operation, known)
            raise click.UsageError(
                f"{operation!r} is no path (it would begin with `/`) and no operation of a pack"
                + (f"; did you mean {hint!r}?" if hint else "")
            )
    return Prepared(model, Given(now=now), "", 0, Limits(), ruleset, None, drafts)


def case_of_flags(
    served: Served,
    path: str,
    *,
    method: str | None,
    headers: Sequence[str],
    data: Sequence[str],
    ip: str,
    status: str | None,
    answer: str | None,
    answer_headers: Sequence[str],
) -> Prepared:
    """Make a case from curl's flags."""
    request: dict[str, Any] = {"path" if path.startswith("/") else "operation": path, "ip": ip}
    if method is not None or (data and path.startswith("/")):
        request["method"] = method or "POST"
    content = b"&".join(_read(one) for one in data) if data else None
    request |= _content(_lines(headers), content, form=True)
    upstream: dict[str, Any] = _content(_lines(answer_headers), None if answer is None else _read(answer), form=False)
    if status in _FAILS:
        upstream["fails"] = status
    elif status is not None:
        if not status.isascii() or not status.isdigit():
            raise click.UsageError("--status is a number from 200 to 599, `down` or `late`")
        upstream["status"] = int(status)
    try:
        return prepared(served, {"request": request, "upstream": upstream}, datetime.now(UTC))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise click.UsageError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def _lines(given: Sequence[str]) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for line in given:
        name, colon, value = line.partition(":")
        if not colon:
            raise click.UsageError(f"a header is written as 'name: value', not {line!r}")
        lines.setdefault(name.strip(), []).append(value.strip())
    return lines


def _read(given: str) -> bytes:
    """Give a body, or what is in the file of `@FILE`, as curl does."""
    if not given.startswith("@"):
        return given.encode()
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{given[1:]}: cannot be read: {error.strerror}") from None


def _content(headers: dict[str, list[str]], body: bytes | None, *, form: bool) -> dict[str, Any]:
    """Give the headers and the body of a message; without a type of its own, JSON has the type of JSON."""
    if body is None:
        return {"headers": headers}
    if not any(name.lower() == "content-type" for name in headers):
        is_json = body.lstrip()[:1] in (b"{", b"[")
        other = "application/x-www-form-urlencoded" if form else "text/plain; charset=utf-8"
        headers = {**headers, "content-type": ["application/json" if is_json else other]}
    return {"headers": headers, "base64": base64.b64encode(body).decode()}


def cases_of_file(given: str, rules: Sequence[Path]) -> Prepared:
    """Find a case of a test file by `FILE[:NAME]`; `rules` take the place of those that the file names."""
    file, name = _split(given)
    source = read_test_file(file)
    results = Results(texts={source.name: source.text})
    served = None
    if rules:
        served, results.problems = read(rules)
    find = partial(find_pack, near=rules or [file])
    cases = list(prepare(source, partial(rules_beside, file), find, results, served=served))
    if results.problems.errors:
        show_problems(results)
        sys.exit(EXIT_CONFIGURATION)
    playable = [one for one in cases if one.findings is None and one.ruleset is not None]
    names = [one.case.name for one in playable]
    found = [one for one in playable if name is None or name.lower() in one.case.name.lower()]
    exact = [one for one in found if one.case.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        hint = nearest(name or "", names)
        raise click.UsageError(f"no case here is called {name!r}" + (f"; did you mean {hint!r}?" if hint else ""))
    listed = "\n".join(f"  {one.case.name}" for one in found)
    raise click.UsageError(f"say which case: --case '{file}:NAME', NAME being one of, or a part of it:\n{listed}")


def _split(given: str) -> tuple[Path, str | None]:
    if Path(given).is_file():
        return Path(given), None
    at = given.find(":")
    while at >= 0:
        if Path(given[:at]).is_file():
            return Path(given[:at]), given[at + 1 :].strip()
        at = given.find(":", at + 1)
    raise click.UsageError(f"there is no test file {given!r}")


def recorded(served: Served, file: Path, wanted: str | None, *, show: bool) -> tuple[Trace, str | None]:
    """Explain an exchange of a recording, and say why it cannot be known as a whole, where it cannot.

    Those before it are played too: what they leave in the store is as it was.
    """
    try:
        records = read_traffic(file)
    except TrafficError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIGURATION)
    ids = [record.id for record in records]
    found = [one for one in ids if one == wanted] or [one for one in ids if one.startswith(wanted or "")]
    if len(found) != 1:
        many = f"{len(found)} exchanges have an id that begins so" if wanted else f"{len(ids)} exchanges are in it"
        hint = nearest(wanted or "", ids)
        words = many if found else f"no exchange has this id; did you mean {hint!r}?" if hint else "no exchange has it"
        raise click.UsageError(f"say which exchange by --id: {words}")
    ruleset, drafts = build_served(served)
    tracer = Tracer(plans_of(drafts), ruleset, served.secrets.texts, show=show)
    playback = Playback(tracer.ruleset, rehearse, watch=tracer)
    unknown: str | None = None
    for record in records:
        tracer.recordings.clear()
        unknown = None
        try:
            playback.play(record)
        except Unknown as error:
            unknown = str(error)
        if record.id == found[0]:
            break
    return trace_of(list(tracer.plans), tracer.recordings[0]), unknown
