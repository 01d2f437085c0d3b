"""`vestibule explain`: why one exchange went as it did."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from ..language.cases import Prepared
from ..language.cases.costs import measure
from ..language.explain import Trace, explain_case, plans_of, with_costs
from ..services.rehearsal import rehearse
from . import explaining
from .explained import as_data, as_text
from .explaining import SecretsSeen, Served, case_of_flags, cases_of_file
from .output import stdout_has_color


@click.command("explain")
@click.argument("rules", nargs=-1, metavar="RULES... PATH")
@click.option("-X", "--request", "method", metavar="METHOD", help="The method; POST with -d, else GET.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request.")
@click.option("-d", "--data", "data", multiple=True, metavar="BODY", help="The request's body, or @FILE.")
@click.option("--ip", default="192.0.2.1", show_default=True, help="The client's address.")
@click.option("--status", metavar="N", help="The auth service's answer: its status, or `down` or `late`; 200.")
@click.option("--response", "answer", metavar="BODY", help="The body of the auth service's answer, or @FILE.")
@click.option("--response-header", "answer_headers", multiple=True, metavar="'NAME: VALUE'", help="One of its headers.")
@click.option("--case", "case", metavar="FILE[:NAME]", help="Explain a case of a test file instead of a PATH.")
@click.option(
    "--recorded",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Explain an exchange of a recording, or of an archive of HTTP (HAR), instead of a PATH.",
)
@click.option("--id", "wanted", metavar="ID", help="With --recorded: the exchange's id, or how it begins.")
@click.option(
    "--secrets",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of the secrets; a secret that is not there has a stand-in.",
)
@click.option("--public-origin", help="The address that clients know, as `run` has it.")
@click.option("--allow-redirects", multiple=True, help="Hosts that redirects may lead to, as `run` has them.")
@click.option("--show-secrets", "show", is_flag=True, help="Show what is secret instead of ***.")
@click.option("-v", "--verbose", is_flag=True, help="Show all conditions and the four messages too.")
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3600),
    default=0.2,
    show_default=True,
    help="How long to measure what it costs; 0 for not at all.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    rules: tuple[str, ...],
    *,
    method: str | None,
    headers: tuple[str, ...],
    data: tuple[str, ...],
    ip: str,
    status: str | None,
    answer: str | None,
    answer_headers: tuple[str, ...],
    case: str | None,
    recorded: Path | None,
    wanted: str | None,
    secrets: Path | None,
    public_origin: str | None,
    allow_redirects: tuple[str, ...],
    show: bool,
    verbose: bool,
    seconds: float,
    as_json: bool,
) -> None:
    """Say why an exchange goes as it does: which rules match and which do not, and on which condition with which value.

    RULES are files, or folders with everything below them. PATH is that of the request, with or without a query, or the
    name of an operation of a pack. With --case, RULES take the place of those that the test file names.

    Nothing is sent: the auth service answers as --status, --response and --response-header say, the store is empty, and
    a call of another service fails unless the case gives its answer. What is secret is masked.

    With --recorded, what was answered then is answered again, and the exchanges before it are played too; what it costs
    is not measured.

    Exits 3 when the rules cannot be read.
    """
    seen = SecretsSeen(secrets)
    notes: tuple[str, ...] = ()
    if case is not None or recorded is not None:
        if method or headers or data or status or answer or answer_headers or (case is not None and recorded):
            raise click.UsageError("a case and a recording have their own request and answer: give one of them alone")
        served = Served([Path(one) for one in rules], seen, public_origin, allow_redirects)
        if recorded is not None:
            if not rules:
                raise click.UsageError("say under which RULES")
            trace, unknown = explaining.recorded(served, recorded, wanted, show=show)
            traces = [trace]
            notes = (f"it cannot be known as a whole: {unknown}",) if unknown else ()
        else:
            traces, notes = explained(cases_of_file(str(case), served.rules), seen, show=show, seconds=seconds)
    else:
        if len(rules) < 2:
            raise click.UsageError("say which RULES, and the PATH of the request")
        one = case_of_flags(
            Served([Path(one) for one in rules[:-1]], seen, public_origin, allow_redirects),
            rules[-1],
            method=method,
            headers=headers,
            data=data,
            ip=ip,
            status=status,
            answer=answer,
            answer_headers=answer_headers,
        )
        # Nothing is expected of it, and what nobody answered is told at its step.
        traces, _ = explained(one, seen, show=show, seconds=seconds)
    if as_json:
        click.echo(json.dumps(as_data(traces), indent=2, ensure_ascii=False))
    else:
        click.echo(as_text(traces, verbose=verbose), nl=False, color=stdout_has_color())
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if seen.made:
        click.echo(f"note: stand-ins for secrets that are not there: {', '.join(sorted(seen.made))}", err=True)


def explained(one: Prepared, seen: SecretsSeen, *, show: bool, seconds: float) -> tuple[list[Trace], tuple[str, ...]]:
    """Explain a case, and measure it for so many seconds."""
    traces, findings = explain_case(one, plans_of(one.drafts), rehearse, secrets=seen.texts, show=show)
    if seconds > 0:
        (cost,) = measure([one], rehearse, clock=time.perf_counter_ns, seconds=seconds)
        with_costs(traces, cost)
    return traces, findings
