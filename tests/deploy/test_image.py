"""The image: what it is built of is there, and what it runs runs, as process 1 of a file system that is read-only."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.deploy.dockerfile import DOCKERFILE, ROOT, last, stages
from tests.running import PATIENCE, run_command, running
from tests.serving import answering

HADOLINT = Path(sys.executable).parent / "hadolint"
SETTINGS = ROOT / "deploy" / "docker" / "vestibule.yaml"


@pytest.mark.skipif(not HADOLINT.exists(), reason="there is no wheel of hadolint for this system")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_nothing_that_is_run_needs_a_shell() -> None:
    assert last("ENTRYPOINT").words == ["vestibule"]
    assert last("CMD").words == ["run"]
    assert last("HEALTHCHECK").words == ["vestibule", "healthcheck"]
    assert [one.rest for one in stages()[-1] if one.word == "RUN"] == []


def test_it_is_run_by_nobody_in_particular() -> None:
    user, group = last("USER").rest.split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_what_it_is_built_of_is_there_and_is_sent_along() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        name
        for stage in stages()
        for one in stage
        if one.word == "COPY" and "--from" not in one.rest
        for name in one.rest.split()[:-1]
    }
    assert "*" in ignored
    assert copied == sent
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_what_the_wheel_is_built_with_is_pinned_with_hashes() -> None:
    lock = (ROOT / "deploy" / "docker" / "build.lock").read_text("utf-8")
    pinned = dict(re.findall(r"(?m)^([a-z-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", lock))
    assert set(re.findall(r"(?m)^[a-z-]+(?===)", lock)) == pinned.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for text in project["build-system"]["requires"]:
        asked = Requirement(text)
        assert pinned[asked.name] in asked.specifier


# Mounts everything read-only but what the kernel makes, in a process tree of its own.
_ALONE = """
mount -t proc proc /proc && mount --rbind / "$0" && mount -o remount,bind,ro "$0" || exit 9
exec unshare --root "$0" --wd "$PWD" "$@"
"""


def alone(folder: Path) -> Sequence[str]:
    """Give the command under which a process is the first one, and can write nothing."""
    under = (
        "unshare",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        _ALONE,
        str(folder),
    )
    try:
        tried = subprocess.run([*under, "touch", str(Path.home() / "x")], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here, so nothing can be mounted read-only")
    if "Read-only file system" not in tried.stderr:
        pytest.skip(f"this machine lets nobody mount a file system read-only: {tried.stderr.strip()}")
    return under


def test_what_it_runs_is_healthy_and_stops_as_process_1_of_a_read_only_root(tmp_path: Path) -> None:
    """With the settings of the image, but for its ports, which may be taken here."""
    home, root = tmp_path / "home", tmp_path / "root"
    home.mkdir()
    root.mkdir()
    text = SETTINGS.read_text("utf-8")
    (home / SETTINGS.name).write_text(text)
    [port] = re.findall(r"(?m)^listen: 0\.0\.0\.0:(\d+)$", text)
    assert last("EXPOSE").rest == port
    with answering() as upstream:
        env = {"VESTIBULE_UPSTREAM": upstream, "VESTIBULE_ADMIN": "127.0.0.1:0", "PYTHONDONTWRITEBYTECODE": "1"}
        [name] = last("CMD").words
        with running(command_name=name, env=env, cwd=home, under=alone(root)) as proxy:
            assert proxy.call("GET", "/").status == 200
            proxy.event("upstream-reached")
            check = last("HEALTHCHECK").words[1:]
            there = {"VESTIBULE_ADMIN": proxy.admin.removeprefix("http://")}
            assert run_command(*check, cwd=home, env=there) == (0, "", "")
            first = _child(proxy.process.pid)
            subprocess.run(["kill", "-TERM", str(first)], check=True)
            assert proxy.process.wait(PATIENCE) == 0
            assert run_command(*check, cwd=home, env=there)[0] == 1


def _child(pid: int) -> int:
    """Give the process that `unshare` started in its own tree."""
    assert shutil.which("unshare")
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
