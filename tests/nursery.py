"""Starts the command line from a process that has imported it: to import it is most of what a command costs.

`start` asks a process of this module, which forks what `python -m proxy` would be. What loads with a process, such as a
library that is preloaded or a limit that another program sets, needs `python -m proxy` itself.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).resolve().parents[1]
# What a command imports only when somebody uses it, and what must not be there before a fork.
_LATER = ("proxy.adapters.", "proxy.sandbox.", "proxy.observe.spans", "proxy.services.store.redis", "proxy.__main__")
_LONGEST = 1 << 18


class Child:
    """A command that runs: what tests use of `subprocess.Popen`, whose words it has."""

    def __init__(self, words: Sequence[str], reply: socket.socket, out: int, err: int) -> None:
        self.args = words
        self._reply = reply
        self.returncode: int | None = None
        self.stdout: IO[str] = os.fdopen(out, "r", 1)
        self.stderr: IO[str] = os.fdopen(err, "r", 1)
        self.pid = int.from_bytes(self._take())

    def _take(self) -> bytes:
        data = self._reply.recv(4, socket.MSG_WAITALL)
        assert len(data) == 4, "the process that starts commands is gone"
        return data

    def poll(self) -> int | None:
        return self._end(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._end(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        return code

    def _end(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._reply], [], [], timeout)[0]:
            self.returncode = int.from_bytes(self._take(), signed=True)
            self._reply.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[str, str]:
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read()))
        reader.start()
        out = self.stdout.read()
        reader.join()
        self.wait(timeout)
        return out, errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()


class _Nursery:
    """The process that forks commands, started when the first is asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: socket.socket | None = None

    def start(self, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Child:
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        reply, reply_end = socket.socketpair()
        request = json.dumps([list(words), str(cwd), dict(env)]).encode()
        with self._lock, reply_end:
            socket.send_fds(self._open(), [request], [out_end, err_end, reply_end.fileno()])
        os.close(out_end)
        os.close(err_end)
        return Child(words, reply, out, err)

    def _open(self) -> socket.socket:
        if self._asked is None:
            self._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-m", __spec__.name if __spec__ else __name__, str(theirs.fileno())],
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            atexit.register(process.wait)
            atexit.register(self._asked.close)
        return self._asked


_nursery = _Nursery()
start = _nursery.start


def _import_all() -> None:
    import proxy

    for module in pkgutil.walk_packages(proxy.__path__, "proxy."):
        if not f"{module.name}.".startswith(_LATER):
            import_module(module.name)


def _serve(asked: socket.socket) -> None:
    """Fork a command for each request; returns in the command, and exits when nobody will ask any more."""
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, given, _, _ = socket.recv_fds(asked, _LONGEST, 3)
        if not request:
            sys.exit()
        if not os.fork():
            asked.close()
            words, cwd, env = json.loads(request)
            if _is_command(*given):
                os.chdir(cwd)
                os.environ.clear()
                os.environ.update(env)
                sys.argv = ["vestibule", *words]
                return
            os._exit(0)
        for descriptor in given:
            os.close(descriptor)


def _is_command(out: int, err: int, reply: int) -> bool:
    """Fork once more: True in the command; the process between waits for it, and tells its pid and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        os.dup2(out, 1)
        os.dup2(err, 2)
        for descriptor in (out, err, reply):
            os.close(descriptor)
        # Those that are there were made for what stood in their places.
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        return True
    os.closerange(0, 3)
    os.close(out)
    os.close(err)
    with socket.socket(fileno=reply) as told:
        told.send(pid.to_bytes(4))
        _, status = os.waitpid(pid, 0)
        told.send(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
    return False


if __name__ == "__main__":
    _import_all()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    from proxy.cli import main

    main()
