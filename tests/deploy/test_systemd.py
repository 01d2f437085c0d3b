"""The unit of systemd: systemd takes it, what it starts serves within its bounds, and it says what it should."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli.run import EXIT_CONFIGURATION
from proxy.settings import Settings
from tests.running import PATIENCE, ROOT, running
from tests.serving import answering

UNIT = ROOT / "deploy" / "systemd" / "vestibule.service"
PROGRAM = "/opt/vestibule/bin/vestibule"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed (Debian: systemd)")


def said(name: str) -> list[str]:
    """Give what the unit says under a name."""
    return re.findall(rf"(?m)^{name}=(.*)$", UNIT.read_text("utf-8"))


def analyze(*words: str | Path) -> str:
    assert ANALYZE is not None
    done = subprocess.run([ANALYZE, *words], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Give the unit with a program that is there, and a type that the systemd of this machine has."""
    assert ANALYZE is not None
    [version] = re.findall(r"\Asystemd (\d+)", analyze("--version"))
    text = UNIT.read_text("utf-8").replace(PROGRAM, str(Path(sys.executable).parent / "vestibule"))
    if int(version) < 253:
        text = text.replace("Type=notify-reload", "Type=notify")
    file = tmp_path / "vestibule.service"
    file.write_text(text)
    return file


@needs_systemd
def test_systemd_takes_it(unit: Path) -> None:
    assert analyze("verify", unit) == ""


@needs_systemd
def test_systemd_finds_it_shut(unit: Path) -> None:
    """At most 2 of 10: it needs the network, and nothing else of the machine."""
    assert "Overall exposure level" in analyze("security", "--offline=yes", "--threshold=20", "--no-pager", unit)


def test_a_stop_has_longer_than_exchanges_may_take_to_end() -> None:
    settings = Settings()
    assert float(said("TimeoutStopSec")[0]) > settings.drain_delay + settings.drain + 5


def test_what_cannot_get_better_is_not_tried_again() -> None:
    assert str(EXIT_CONFIGURATION) in said("RestartPreventExitStatus")[0].split()


_BOUND = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
if libc.prctl(65, 1, 0, 0, 0):
    sys.exit(9)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_what_it_starts_needs_no_memory_that_is_written_and_run(tmp_path: Path) -> None:
    """The kernel forbids it here as it does for MemoryDenyWriteExecute, and with it new privileges."""
    under = (sys.executable, "-c", _BOUND)
    if subprocess.run([*under, shutil.which("true") or "/bin/true"], check=False).returncode:
        pytest.skip("this kernel cannot forbid it (Linux 6.3 can)")
    program, name, *words = shlex.split(said("ExecStart")[0])
    assert program == PROGRAM
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(PATIENCE)
    with manager, answering() as upstream:
        (tmp_path / "vestibule.yaml").write_text(f"upstream: {upstream}\n")
        # With a bound, memory is given back by a function of the C library.
        env = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "VESTIBULE_SECRETS": str(tmp_path),
            "VESTIBULE_LIMITS_MEMORY": "512MiB",
        }
        with running(*words, command_name=name, cwd=tmp_path, env=env, under=under) as proxy:
            assert manager.recv(4096).startswith(b"READY=1\n")
            assert proxy.call("GET", "/").status == 200
            assert proxy.stop() == 0
