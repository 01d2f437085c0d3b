"""`vestibule init`: what it makes holds, serves, and writes over nothing."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from proxy.cli.init import KINDS
from tests.running import Proxy, run_command, running

LOGINS = {
    "kibo": (
        "/api/commerce/customer/authtickets",
        {"username": "jane@example.com", "password": "correct-horse-1"},
        {"x-vol-site": "2"},
    ),
    "sfcc": (
        "/s/RefArch/dw/shop/v23_2/customers/auth",
        {"type": "credentials"},
        {"Authorization": "Basic amFuZUBleGFtcGxlLmNvbTpjb3JyZWN0LWhvcnNlLTE="},
    ),
    "oauth": (
        "/oauth/token",
        {
            "grant_type": "password",
            "client_id": "shop",
            "client_secret": "sandbox",
            "username": "jane@example.com",
            "password": "correct-horse-1",
        },
        {},
    ),
}


def make(kind: str, folder: Path) -> list[str]:
    code, out, err = run_command("init", kind, folder)
    assert code == 0, err
    return out.splitlines()


def log_in(proxy: Proxy, sandbox: str) -> int:
    path, body, headers = LOGINS[sandbox]
    return proxy.call("POST", path, body, headers).status


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_new_folder_holds_is_tested_and_serves(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    make(kind, folder)
    code, out, err = run_command("check", "--strict", "--secrets", "secrets", "rules", cwd=folder)
    assert (code, out) == (0, ""), out + err
    code, out, err = run_command("test", "--coverage", "rules", cwd=folder)
    assert code == 0, out + err
    assert "the rule never ran" not in out
    with running(cwd=folder) as proxy:
        assert any(f"sandbox:{KINDS[kind].sandbox}" in line for line in proxy.greeting)
        assert log_in(proxy, KINDS[kind].sandbox) == 200


@pytest.mark.parametrize("kind", list(KINDS))
def test_it_says_what_it_wrote_and_nothing_else_is_there(kind: str, tmp_path: Path) -> None:
    told = make(kind, tmp_path)
    assert sorted(told) == sorted(str(path) for path in tmp_path.rglob("*") if path.is_file())
    assert {"vestibule.yaml", "README.md", "schema.json"} <= {Path(line).name for line in told}


def test_it_ends_with_the_next_three_commands_and_they_work(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    code, _, err = run_command("init", "oauth", folder)
    assert code == 0
    lines = [line.partition("  #")[0].strip() for line in err.splitlines() if line.startswith("  ")]
    assert lines == [
        f"cd {folder}",
        "vestibule check --strict --secrets secrets rules",
        "vestibule test --watch rules",
        "vestibule run --watch",
    ]
    code, out, err = run_command("fmt", "--check", "rules", "vestibule.yaml", cwd=folder)
    assert code == 0, out + err
    code, out, err = run_command("doctor", "--listen", "127.0.0.1:0", cwd=folder)
    assert code == 0, out + err


def test_without_a_folder_it_is_made_where_one_stands(tmp_path: Path) -> None:
    code, out, err = run_command("init", "oauth", cwd=tmp_path)
    assert (code, out.splitlines()[0]) == (0, "vestibule.yaml"), err
    assert (tmp_path / "rules" / "deny.test.yaml").is_file()


@pytest.mark.parametrize("there", ["vestibule.yaml", "rules/deny.yaml", "secrets/.gitignore"])
def test_where_a_file_is_there_nothing_is_written(there: str, tmp_path: Path) -> None:
    mine = tmp_path / there
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    code, out, err = run_command("init", "oauth", tmp_path)
    assert (code, out) == (1, "")
    assert str(mine) in err
    assert mine.read_text() == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "README.md").symlink_to(tmp_path / "elsewhere")
    code, _, err = run_command("init", "oauth", tmp_path)
    assert (code, "README.md" in err) == (1, True)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, _, err = run_command("init", "oauth", tmp_path / "file" / "shop")
    assert (code, err) == (1, f"{tmp_path / 'file' / 'shop'}: cannot be written: Not a directory\n")


def test_each_secret_that_the_rules_name_is_a_random_one_of_its_own(tmp_path: Path) -> None:
    made = []
    for name in ("one", "other"):
        make("auth0", tmp_path / name)
        made.append(tmp_path / name / "secrets" / "mfa_hmac")
        assert stat.S_IMODE(made[-1].stat().st_mode) == 0o600
    one, other = (file.read_text() for file in made)
    assert one.startswith("test-only-")
    assert len(one) >= 32
    assert one != other


def test_secrets_are_the_owners_alone_and_stay_out_of_git(tmp_path: Path) -> None:
    make("oauth", tmp_path)
    folder = tmp_path / "secrets"
    (folder / "mine").write_text("test-only")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / ".gitignore").stat().st_mode) == 0o600
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True, env=env)
    status = subprocess.run(
        ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"],
        check=True,
        capture_output=True,
        text=True,
        env=env,
    ).stdout
    assert "secrets/.gitignore" in status
    assert "secrets/mine" not in status


def test_the_list_says_what_there_is_and_writes_nothing(tmp_path: Path) -> None:
    code, out, _ = run_command("init", "--list", cwd=tmp_path)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(KINDS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "said"), [((), "kibo"), (("kibbo",), "kibo")], ids=["nothing", "misspelt"])
def test_what_it_is_for_must_be_said(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    code, _, err = run_command("init", *words, cwd=tmp_path)
    assert (code, said in err) == (2, True)
    assert list(tmp_path.iterdir()) == []
