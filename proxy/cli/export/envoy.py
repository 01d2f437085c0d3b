"""`vestibule export envoy`: a bootstrap of Envoy that asks Vestibule about each exchange, with what its rules need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ...engine.message import Limits
from ...engine.ruleset import Ruleset
from ...language.compile import Draft
from .asking import built_or_exit, of_ruleset, options, run_of, shown
from .envoy_bootstrap import Needs, bootstrap, ext_authz, ext_authz_http, ext_proc
from .writing import write as write_document

_WAYS = ("ext_proc", "ext_authz", "ext_authz_http")
# Actions that wait for a store or a service.
_WAITING = frozenset(
    {"cache_delete", "cache_get", "cache_set", "challenge", "limit", "lookup", "once", "redirect", "verify_token"}
)
# How long rules may take over a message in any case, and at most, in seconds.
_LEAST, _MOST = 5.0, 60.0


@click.command("envoy")
@options
@click.option("--by", type=click.Choice(_WAYS), default="ext_proc", show_default=True, help="How Envoy asks.")
@click.option("--admin", metavar="ADDRESS", help="Where Envoy's own admin port is; without it there is none.")
def command(rules: tuple[Path, ...], listen: str, upstream: str, vestibule: str, by: str, admin: str | None) -> None:
    """Print a bootstrap of Envoy that asks Vestibule about each exchange.

    \b
    vestibule export envoy rules > envoy.yaml
    vestibule run --serve ext_proc=127.0.0.1:9001 --rules rules
    envoy -c envoy.yaml

    Bodies are held only where a rule reads them; print it again when other rules do.
    """
    ruleset, drafts = built_or_exit(rules, by)
    document = bootstrap(
        filter_of(by, ruleset, drafts), listen=listen, vestibule=vestibule, upstream=upstream, longest=Limits().body,
        admin=admin,
    )  # fmt: skip
    above = (
        f"What Vestibule decides for Envoy: {run_of(rules, by, vestibule=vestibule, upstream=upstream)}\n"
        f"Printed by `vestibule export envoy{'' if by == 'ext_proc' else f' --by {by}'} {shown(rules)}`."
    )
    click.echo(write_document(document, above), nl=False)


def filter_of(by: str, ruleset: Ruleset, drafts: list[Draft]) -> dict[str, Any]:
    """Write the filter by which Envoy asks about rules."""
    needs = needs_of(drafts)
    if by == "ext_authz_http":
        return ext_authz_http(needs, of_ruleset(ruleset, drafts).requests)
    return ext_proc(needs) if by == "ext_proc" else ext_authz(needs)


def needs_of(drafts: Sequence[Draft]) -> Needs:
    """Say what rules need of Envoy."""
    served = [draft for draft in drafts if draft.model.mode != "off"]
    steps = [(step, action, data[action]) for draft in served for step, action, data in draft.steps]
    # Who comes back to a suspended exchange may send a form.
    suspends = any(draft.model.continue_ for draft in served) or any(action == "challenge" for _, action, _ in steps)
    shares = any(action == "once" or (action == "limit" and "failed" in settings) for _, action, settings in steps)
    waiting = sum(draft.rule.timeout for draft in served if any(action in _WAITING for _, action, _ in draft.steps))
    return Needs(
        request_body=suspends or any(draft.rule.needs_request for draft in served),
        response_body=shares or any(draft.rule.needs_response for draft in served),
        seconds=min(max(waiting + _LEAST if waiting else _LEAST, _LEAST), _MOST),
        longest=Limits().body,
    )
