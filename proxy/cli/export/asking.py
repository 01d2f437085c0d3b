"""What a proxy that asks has to be told of rules: for forward-auth which headers it copies, and which it answers with.

The rules are checked for it first: with a step that cannot run there nothing is printed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from ...edge.fields import CLAIMS
from ...engine.ruleset import Ruleset
from ...language import named_headers
from ...language.compile import Draft, Options, build
from ...language.document import Source
from ...language.problems import Problems, render
from ...services.rulefiles import find_pack, read
from ...settings import parse_address
from .bundle import refuse, rules_argument, setting

# Where a run that has an upstream listens too; clients come to the proxy that asks.
BESIDE = "127.0.0.1:8082"


@dataclass(frozen=True, slots=True)
class Asked:
    """The headers that rules may change: of requests, and of answers that are not the upstream's."""

    requests: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def copied(self) -> tuple[str, ...]:
        """What is copied into a request: beside the rules' headers what a client says of itself, which no rule sees."""
        named = {name.lower() for name in self.requests}
        return (*self.requests, *(name.decode() for name in CLAIMS if name.decode() not in named))


def asked_or_exit(rules: tuple[Path, ...], target: str) -> Asked:
    """Check rule files for a target; with an error say so as `check` does and exit 1."""
    return of_ruleset(*built_or_exit(rules, target))


def built_or_exit(rules: tuple[Path, ...], target: str) -> tuple[Ruleset, list[Draft]]:
    """Compile rule files for a target; with an error say so as `check` does and exit 1."""
    sources, problems = read(rules)
    drafts: list[Draft] = []
    built = build(sources, _options(rules, problems, target), problems, keep=drafts)
    texts = {source.name: source.text for source in sources}
    for problem in problems:
        click.echo(f"{render(problem, texts.get(problem.source), color=sys.stderr.isatty())}\n", err=True)
    if built.ruleset is None:
        count = len(problems.errors)
        refuse(f"{count} {'error' if count == 1 else 'errors'} in the rules: nothing was exported")
    return built.ruleset, drafts


def call_the_upstream(rules: tuple[Path, ...], target: str) -> bool:
    """Say whether steps of rules that hold call the upstream themselves, so that a run has to know it."""
    sources, problems = read(rules)
    return build(sources, replace(_options(rules, problems, target), upstream=False), problems).ruleset is None


def _options(rules: tuple[Path, ...], problems: Problems, target: str) -> Options:
    def find(name: str) -> Source | None:
        return find_pack(name, rules, problems)

    # That a secret is not here says nothing about the machine that this is for.
    return Options(secrets=lambda _: "", packs=find, targets=(target,))


def of_ruleset(ruleset: Ruleset, drafts: list[Draft]) -> Asked:
    """Say what is to be copied for a rule set."""
    return of_rules(drafts, {ruleset.dialect, *(one.dialect for one in ruleset.operations)})


def of_rules(drafts: list[Draft], dialects: set[str]) -> Asked:
    """Say what is to be copied for rules."""
    return Asked(named_headers.of_requests(drafts, dialects), named_headers.of_answers(drafts, dialects))


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the addresses that every asking proxy has to know."""
    for option in (
        click.option("--listen", default="127.0.0.1:8080", show_default=True, callback=_address, help="For clients."),
        click.option(
            "--upstream", default="http://127.0.0.1:8081", show_default=True, callback=_upstream, help="Behind it."
        ),
        click.option(
            "--vestibule", default="127.0.0.1:9001", show_default=True, callback=_address, help="Where `--serve` is."
        ),
    ):
        command = option(command)
    return rules_argument(command)


def _address(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        return parse_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _upstream(ctx: click.Context, param: click.Parameter, value: str) -> str:
    setting("upstream")(ctx, param, value)
    if urlsplit(value).path not in ("", "/"):
        raise click.BadParameter("give it without a path", ctx, param)
    return value.rstrip("/")


def commented(text: str) -> str:
    return "\n".join(f"# {line}" for line in text.splitlines())


def run_of(rules: tuple[Path, ...], target: str, *, vestibule: str, upstream: str) -> str:
    """Write the run that answers for rules. One whose rules call the upstream has to know it, and so listens too."""
    calls = f" --upstream {upstream} --listen {BESIDE}" if call_the_upstream(rules, target) else ""
    return f"vestibule run --serve {target}={vestibule}{calls} --rules {shown(rules)}"


def shown(rules: tuple[Path, ...]) -> str:
    """Write the paths of rules as a command line has them."""
    return " ".join(os.fspath(path) for path in rules)
