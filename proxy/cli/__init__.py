"""The command line: one module per command, imported when the command is used.

Results go to stdout, notes to stderr. Exit codes: 0 fine, 1 findings, 2 usage, 3 configuration, 4 upstream.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from importlib import import_module

import click
from click.shell_completion import CompletionItem

# name -> (module, help in one line); each module has the click command as `command`.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Serve: apply the rules to everything on its way to the upstream and back."),
    "check": ("check", "Report every problem of rule files."),
    "test": ("test", "Run the test files beside the rules."),
    "fmt": ("fmt", "Lay out rule and test files in one way."),
    "explain": ("explain", "Say why an exchange goes as it does: which rules match, and why others do not."),
    "record": ("record", "Serve, and record exchanges with what is secret replaced."),
    "replay": ("replay", "Send recorded requests again, and compare the outcomes."),
    "diff": ("diff", "List the recorded exchanges that end otherwise under other rules."),
    "har": ("har", "Write a recording as an archive of HTTP (HAR)."),
    "bench": ("bench", "Say what each rule and step costs."),
    "export": ("export", "Print what another system needs to run rules: a compose file, manifests for Kubernetes."),
    "doctor": ("doctor", "Look at everything that a run needs, and say what is wrong with it."),
    "healthcheck": ("healthcheck", "Ask the admin port of a run whether it is ready."),
    "sandbox": ("sandbox", "Serve an auth service with made-up customers, to try rules against."),
    "init": ("init", "Make a working folder: settings, rules, tests, secrets."),
    "schema": ("schema", "Print the JSON Schema of rule files, test files or the settings, for editors."),
    "reference": ("reference", "Print the reference of the rule language."),
    "config": ("config", "Print the settings, and where each comes from."),
    "jwt": ("jwt", "Decode, verify and sign tokens."),
    "completion": ("completion", "Print what a shell needs to complete commands and options."),
    "version": ("version", "Print the version."),
}


class _Commands(click.Group):
    """The commands by name; only the one that is used is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # What is imported stays: to look for garbage in it, again and again, is a sixth of the time that it takes.
        gc.disable()
        command: click.Command = import_module(f".{COMMANDS[cmd_name][0]}", __name__).command
        gc.freeze()
        gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # What click does itself looks into every command, which imports them all.
        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Vestibule: rules before and after an auth endpoint."""


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A file name or a terminal that is not UTF-8 must not end a report with a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # What else is installed has no say in how settings and rules are read, and is not searched for who would have one.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "1"
    cli(prog_name="vestibule")
