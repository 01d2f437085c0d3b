"""`vestibule healthcheck`: whether a run is ready, asked every few seconds by who has no curl."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.settings import leaves
from tests.running import Proxy, run_command, running


@pytest.fixture(scope="module")
def run() -> Iterator[Proxy]:
    flags = ("--upstream", "http://127.0.0.1:1", "--admin", "127.0.0.1:0", "--admin-ready", "workers")
    with running(*flags) as proxy:
        proxy.event("admin-ready")
        yield proxy


def test_who_is_no_admin_port_is_not_ready(run: Proxy) -> None:
    """The port beside it, where the proxy itself answers."""
    told = (1, "", f"127.0.0.1:{run.port} does not answer as an admin port\n")
    assert run_command("healthcheck", "--admin", f"127.0.0.1:{run.port}") == told


@pytest.mark.parametrize("text", ["admin: {}", "admin: {{listen: {}}}", "admin:\n  listen: {}\n  ready: workers\n"])
def test_it_finds_the_admin_port_in_the_settings(run: Proxy, text: str, tmp_path: Path) -> None:
    (tmp_path / "vestibule.yaml").write_text(text.format(run.admin.removeprefix("http://")))
    assert run_command("healthcheck", cwd=tmp_path) == (0, "", "")
    assert run_command("healthcheck", "--config", tmp_path / "vestibule.yaml") == (0, "", "")


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_file(run: Proxy, tmp_path: Path) -> None:
    address = run.admin.removeprefix("http://")
    (tmp_path / "vestibule.yaml").write_text("admin: 127.0.0.1:1")
    assert run_command("healthcheck", cwd=tmp_path, env={"VESTIBULE_ADMIN": address})[0] == 0
    assert run_command("healthcheck", "--admin", address, cwd=tmp_path, env={"VESTIBULE_ADMIN": "127.0.0.1:1"})[0] == 0
    told = (1, "", "127.0.0.1:1 does not answer as an admin port\n")
    assert run_command("healthcheck", cwd=tmp_path) == told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("upstream: https://auth.example", "no admin port: give --admin host:port"),
        ("admin: 9090", "vestibule.yaml:1:8: error[wrong-type]"),
        ("admin: [127.0.0.1:9090]", "vestibule.yaml:1:8: error"),
        ("admin: {", "vestibule.yaml:2:1: error[syntax]"),
        ("admni: 127.0.0.1:9090", "did you mean 'admin'"),
    ],
)
def test_settings_without_an_admin_port_are_told_as_a_run_tells_them(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "vestibule.yaml").write_text(text)
    code, out, err = run_command("healthcheck", cwd=tmp_path)
    assert (code, out) == (3, "")
    assert said in err


def test_it_knows_the_variable_of_the_admin_port_and_imports_little_for_it() -> None:
    assert "VESTIBULE_ADMIN" in {leaf.variable for leaf in leaves()}
    code = (
        "import sys, proxy.cli.healthcheck\n"
        "heavy = {'aiohttp', 'asyncio', 'email', 'pydantic', 'ssl', 'yaml', 'structlog', 'rich', 'proxy.settings'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
