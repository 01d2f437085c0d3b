"""`vestibule export`: what another system needs to run rules, printed for given rule files; one module per target.

The rules are checked first: with an error in them nothing is printed.
"""

from __future__ import annotations

from importlib import import_module

import click

# name -> (module, help in one line); each module has the click command as `command`.
TARGETS: dict[str, tuple[str, str]] = {
    "caddy": ("caddy", "A Caddyfile that asks Vestibule about each request."),
    "compose": ("compose", "A compose file: the proxy and a Valkey."),
    "envoy": ("envoy", "A bootstrap of Envoy that asks Vestibule about each exchange."),
    "k8s": ("k8s", "Manifests for Kubernetes: a Deployment with its Service, settings and rules."),
    "nginx": ("nginx", "A server of nginx that asks Vestibule about each request."),
    "traefik": ("traefik", "A dynamic configuration of Traefik that asks Vestibule about each request."),
}


class _Targets(click.Group):
    """The targets by name; only the one that is asked for is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(TARGETS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in TARGETS:
            return None
        command: click.Command = import_module(f".{TARGETS[cmd_name][0]}", __name__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Targets"):
            formatter.write_dl([(name, text) for name, (_, text) in TARGETS.items()])


@click.command("export", cls=_Targets, subcommand_metavar="TARGET RULES...")
def command() -> None:
    """Print what another system needs to run these rules.

    The rules are checked first; with an error in them nothing is printed, and the exit code is 1.
    """
