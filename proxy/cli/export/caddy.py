"""`vestibule export caddy`: a Caddyfile that asks Vestibule about each request, by `forward_auth`."""

from __future__ import annotations

from pathlib import Path

import click

from .asking import Asked, asked_or_exit, commented, options, run_of, shown

_BEHIND = "{upstream_hostport}"


@click.command("caddy")
@options
def command(rules: tuple[Path, ...], listen: str, upstream: str, vestibule: str) -> None:
    """Print a Caddyfile that asks Vestibule about each request (forward_auth).

    \b
    vestibule export caddy rules > Caddyfile
    vestibule run --serve forward_auth=127.0.0.1:9001 --rules rules

    Caddy passes on the headers that stand in it, so print it again when other headers stand in the rules. Requests
    are asked about without their bodies.
    """
    asked = asked_or_exit(rules, "forward_auth")
    run = run_of(rules, "forward_auth", vestibule=vestibule, upstream=upstream)
    above = f"What Vestibule decides for Caddy: {run}\nPrinted by `vestibule export caddy {shown(rules)}`."
    click.echo(write(asked, above, listen=listen, upstream=upstream, vestibule=vestibule), nl=False)


def write(asked: Asked, above: str, *, listen: str, upstream: str, vestibule: str) -> str:
    """Write the Caddyfile."""
    host, _, port = listen.rpartition(":")
    names = "\n\t\t\t".join(asked.copied)
    behind = upstream if not upstream.startswith("https:") else f"{upstream} {{\n\t\theader_up Host {_BEHIND}\n\t}}"
    return f"""\
{commented(above)}
# For Caddy 2.11 or newer: older ones leave a header that was to be dropped.

http://:{port} {{
	bind {host.strip("[]")}

	forward_auth {vestibule} {{
		uri /
		# The headers of the request as the rules leave them; one that they removed is dropped.
		copy_headers {{
			{names}
		}}
	}}

	reverse_proxy {behind}
}}
"""
