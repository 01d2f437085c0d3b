"""The command line as a whole: what it lists, what it imports, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from proxy import __version__
from proxy.cli import COMMANDS, cli
from proxy.engine import phase


def vestibule(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_is_there_and_has_help_under_its_name(name: str) -> None:
    module = import_module(f"proxy.cli.{COMMANDS[name][0]}")
    assert isinstance(module.command, click.Command)
    done = CliRunner().invoke(cli, [name, "--help"], prog_name="vestibule")
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: vestibule {name}")


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys\n"
        "from proxy.cli import main\n"
        "sys.argv = ['vestibule', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    heavy = {'aiohttp', 'pydantic', 'yaml', 'structlog', 'rich', 'proxy.language'} & set(sys.modules)\n"
        "    sys.exit(f'{end.code} {heavy}' if end.code or heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for name, (_, text) in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert text.split()[0] in done.stdout


def test_a_run_imports_nothing_that_only_some_settings_and_other_commands_need() -> None:
    code = (
        "import sys\n"
        "import proxy.cli.run, proxy.cli.serving, proxy.services.perform, proxy.services.store.opening\n"
        "heavy = {'aiohttp.web', 'cryptography', 'jwt', 'redis', 'sqlite3', 'watchfiles'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_no_command_shows_the_help_and_is_a_mistake() -> None:
    done = vestibule()
    assert done.returncode == 2
    assert "Commands:" in done.stderr + done.stdout


def test_a_misspelt_command_is_a_mistake_and_gets_the_one_that_was_meant() -> None:
    done = vestibule("chek")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "check" in done.stderr


def test_version_is_one_line() -> None:
    done = vestibule("version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"vestibule {__version__}\n", "")


def test_version_as_json_says_of_what_it_is_made() -> None:
    found = json.loads(vestibule("version", "--json").stdout)
    assert found["vestibule"] == __version__
    assert found["python"].split()[1] == ".".join(map(str, sys.version_info[:3]))
    # A checkout is not a revision: files of it may have been edited.
    assert found["revision"] is None
    assert found["compiled"] is not str(phase.__file__).endswith(".py")
    assert found["libraries"]["aiohttp"] == version("aiohttp")
    assert {"cryptography", "hiredis", "msgspec", "opentelemetry-sdk", "pydantic", "pyjwt", "pyyaml"} <= found[
        "libraries"
    ].keys()
    assert not {"pytest", "vestibule"} & found["libraries"].keys()


def test_the_version_is_that_of_the_distribution() -> None:
    project = Path(__file__).parent.parent.parent / "pyproject.toml"
    assert f'version = "{__version__}"' in project.read_text(encoding="utf-8")
