"""Several processes on the same sockets: forked from one that imported everything once, replaced when they die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LONGEST_PAUSE = 10.0
_SHORT_LIFE = 2.0


def supervise(count: int, work: Callable[[int], None], tell: Callable[..., None]) -> None:
    """Keep `count` workers running until told to stop; `work` gets a pipe's end that closes when this process goes.

    SIGTERM and SIGINT are passed on, a second one kills; SIGHUP is passed on. One that dies young is replaced after a
    pause that doubles.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    alive_read, alive_write = os.pipe()
    born: dict[int, float] = {}
    due: list[float] = [0.0] * count
    pause = 0.0
    stopping = False
    while born or not stopping:
        now = time.monotonic()
        for moment in [moment for moment in due if moment <= now] if not stopping else []:
            due.remove(moment)
            born[_fork(work, alive_read, alive_write)] = now
        wait = min(due, default=now + 60.0) - now if not stopping else 60.0
        got = signal.sigtimedwait(_WATCHED, max(wait, 0.01))
        if got is None:
            continue
        if got.si_signo in (signal.SIGTERM, signal.SIGINT):
            _send(born, signal.SIGKILL if stopping else signal.SIGTERM)
            stopping = True
        elif got.si_signo == signal.SIGHUP:
            _send(born, signal.SIGHUP)
        for pid, code in _reap(born):
            age = time.monotonic() - born.pop(pid)
            if stopping:
                continue
            pause = min(max(pause * 2, 0.1), _LONGEST_PAUSE) if age < _SHORT_LIFE else 0.0
            tell("error", "worker-died", worker=pid, code=code, again_in=pause)
            due.append(time.monotonic() + pause)
    os.close(alive_write)
    os.close(alive_read)


def _fork(work: Callable[[int], None], alive_read: int, alive_write: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.close(alive_write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        work(alive_read)
        code = 0
    finally:
        os._exit(code)


def _send(pids: dict[int, float], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _reap(pids: dict[int, float]) -> list[tuple[int, int]]:
    found = []
    for pid in pids:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            found.append((pid, os.waitstatus_to_exitcode(status)))
    return found
