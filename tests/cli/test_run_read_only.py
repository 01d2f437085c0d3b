"""A run in a file system of which a part, or all, cannot be written: it serves, or says at once what it cannot do."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.figures import Figures
from tests.running import PATIENCE, command, running
from tests.serving import answering

_REMOUNT = 'for d in "$0"; do mount --bind "$d" "$d" && mount -o remount,bind,ro "$d" || exit 9; done; exec "$@"'
# The same for the folders that Python tries for what is temporary.
_NOWHERE = """
for d in /tmp /var/tmp /usr/tmp; do
  [ ! -d $d ] || { mount --bind $d $d && mount -o remount,bind,ro $d; } || exit 9
done
exec "$@"
"""
RULES = "version: 1\nrules: [{{name: tag, after: [{{headers: {{set: {{X-Tag: {}}}}}}}]}}]\n"


def read_only(folder: Path) -> Sequence[str]:
    """Give the command under which a process sees a folder, and all below it, as one that cannot be written."""
    under = ("unshare", "--map-root-user", "--mount", "sh", "-c", _REMOUNT, str(folder))
    try:
        tried = subprocess.run([*under, "touch", str(folder / "tried")], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here, so nothing can be mounted read-only")
    if "Read-only file system" not in tried.stderr:
        pytest.skip(f"this machine lets nobody mount a folder read-only: {tried.stderr.strip()}")
    return under


@pytest.fixture
def upstream() -> Iterator[str]:
    with answering() as address:
        yield address


@pytest.fixture
def shut(tmp_path: Path) -> Path:
    """A folder that is to be read-only for the run, and not for the test."""
    folder = tmp_path / "shut"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("how", ["watched", "asked"])
def test_rules_that_cannot_be_written_are_served_and_reloaded(how: str, upstream: str, shut: Path) -> None:
    rules = shut / "rules.yaml"
    rules.write_text(RULES.format("one"))
    flags = ("--watch",) if how == "watched" else ()
    with running("--upstream", upstream, "--rules", rules, *flags, under=read_only(shut)) as proxy:
        assert proxy.call("GET", "/").headers["X-Tag"] == "one"
        rules.write_text(RULES.format("two"))
        if how == "asked":
            proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reloaded")
        assert proxy.call("GET", "/").headers["X-Tag"] == "two"
        assert proxy.stop() == 0


def test_one_worker_needs_nothing_that_can_be_written(upstream: str, tmp_path: Path, shut: Path) -> None:
    with running("--upstream", upstream, under=read_only(tmp_path), cwd=shut, env={"TMPDIR": str(shut)}) as proxy:
        assert proxy.call("GET", "/").status == 200
        assert proxy.stop() == 0


def test_what_must_be_written_and_cannot_is_said_in_words_and_nothing_starts(
    upstream: str, shut: Path, figures: Figures
) -> None:
    known = shut / "known.db"
    known.touch()
    under = read_only(shut)
    cases = {
        ("--store", f"sqlite:{shut}/store.db"): f"the store {shut}/store.db cannot be used: Read-only file system",
        ("--store", f"sqlite:{known}"): f"the store {known} cannot be used: Read-only file system",
        ("--log-to", f"{shut}/log"): f"a file of the settings cannot be used: {shut}/log Read-only file system",
        ("--handover", f"{shut}/handover"): f"handover: nothing can be made in {shut}",
        ("--admin", f"unix:{shut}/admin"): f"cannot listen on unix:{shut}/admin: Read-only file system",
    }
    wrong = []
    for flags, said in cases.items():
        words = ("run", "--listen", "127.0.0.1:0", "--upstream", upstream, *flags)
        with command(*words, under=under) as process:
            _, err = process.communicate(timeout=PATIENCE)
        if process.returncode != 3 or said not in err or "Traceback" in err:
            wrong.append(f"{' '.join(flags)}: exit {process.returncode}, {err}")
    figures.add("faults", cases=len(cases), found=len(wrong))
    assert wrong == []


def test_workers_that_have_no_place_for_a_store_of_their_own_are_told_so(upstream: str) -> None:
    words = ("run", "--listen", "127.0.0.1:0", "--upstream", upstream, "--workers", "2")
    under = ("unshare", "--map-root-user", "--mount", "sh", "-c", _NOWHERE, "sh")
    read_only(Path("/tmp"))
    with command(*words, under=under, env={"TMPDIR": "/proc"}, cwd=Path("/proc")) as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, err
    assert "the store `sqlite` has no folder to be in" in err
    assert "Traceback" not in err
