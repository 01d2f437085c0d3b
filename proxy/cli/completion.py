"""`vestibule completion`: what a shell needs to complete commands, options and file names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
# Where click looks for what a shell asks.
_VARIABLE = "_VESTIBULE_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion of a shell.

    To have it in every new shell:

    \b
      vestibule completion bash > ~/.local/share/bash-completion/completions/vestibule
      vestibule completion zsh > "${fpath[1]}/_vestibule"
      vestibule completion fish > ~/.config/fish/completions/vestibule.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"there is no completion for {shell}")
    completion = made(context.find_root().command, {}, "vestibule", _VARIABLE)
    # What `source()` adds is a look at the version of the shell that is installed here.
    click.echo(completion.source_template % completion.source_vars())
