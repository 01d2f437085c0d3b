"""`vestibule completion`: the shells complete commands, options and the names of files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT, run_command

# A shell asks the command that it finds by its name.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def ask(shell: str, script: str, folder: Path) -> list[str]:
    """Run a script in a shell that knows nothing else, and give the lines that it prints."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    code, out, err = run_command("completion", shell)
    assert code == 0, err
    (folder / "completion").write_text(out)
    env = {"PATH": PATH, "HOME": str(folder), "TERM": "dumb"}
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *quiet, "-c", script], check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


BASH = """
source ./completion
COMP_WORDS=({words}); COMP_CWORD={last}
_vestibule_completion vestibule "${{COMP_WORDS[{last}]}}" "${{COMP_WORDS[{last}-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["vestibule", "che"], ["check"]),
        (["vestibule", "check", "--str"], ["--strict"]),
        (["vestibule", "check", "--format", "s"], ["sarif"]),
        (["vestibule", "completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes_commands_options_and_their_values(words: list[str], found: list[str], tmp_path: Path) -> None:
    assert ask("bash", BASH.format(words=" ".join(words), last=len(words) - 1), tmp_path) == found


def test_bash_itself_takes_it_for_the_command(tmp_path: Path) -> None:
    (line,) = ask("bash", "source ./completion; complete -p vestibule", tmp_path)
    assert "_vestibule_completion" in line


def test_zsh_takes_it_for_the_command(tmp_path: Path) -> None:
    script = "autoload -U compinit; compinit -u -D; source ./completion; print -r -- $_comps[vestibule]"
    assert ask("zsh", script, tmp_path) == ["_vestibule_completion"]


def test_fish_completes_commands_with_what_they_do(tmp_path: Path) -> None:
    found = ask("fish", "source ./completion; complete -C 'vestibule che'", tmp_path)
    assert found == ["check\tReport every problem of rule files."]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_answered_by_the_command(shell: str) -> None:
    words = {"COMP_WORDS": "vestibule che", "COMP_CWORD": "che" if shell == "fish" else "1"}
    env = {**os.environ, **words, "_VESTIBULE_COMPLETE": f"{shell}_complete"}
    command = [sys.executable, "-m", "proxy"]
    done = subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert "check" in done.stdout
    assert "version" not in done.stdout


def test_completing_a_command_imports_none() -> None:
    code = (
        "import sys; from proxy.cli import cli, _Commands; import click\n"
        "names = [item.value for item in cli.shell_complete(click.Context(cli), 'b')]\n"
        "sys.exit(str([names, [name for name in sys.modules if name.startswith('proxy.cli.')]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.strip() == "[['bench'], []]"
