"""The processes of a run: forked from one that imported everything once, replaced when they die, ended with it.

The supervisor itself serves nothing, opens nothing and runs no rule, so that nothing can bring it down.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..observe.board import Board, RunState, Slot
from .heartbeat import LOOK, Heartbeats
from .notify import ServiceManager

WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2}
LONGEST_PAUSE = 10.0
# A process that lives less long died young.
SHORT_LIFE = 2.0
# How long the check of a reload may take.
CHECK_SECONDS = 60.0
# What a check refused: its exit code, added up.
RULES_REFUSED, CREDENTIALS_REFUSED = 1, 2
# How long what is told to end at once may take.
_AT_ONCE = 2.0
Tell = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Role:
    """What some processes of a run do: `work` gets its slot, and the end of a pipe that closes with the supervisor.

    It is called with the signals of WATCHED blocked, and must let them through with `hear`. `serves` are the workers;
    `last` are those that are told to stop only when the workers have ended.
    """

    name: str
    work: Callable[[int, int], None]
    count: int = 1
    serves: bool = False
    last: bool = False


@dataclass(slots=True)
class _Child:
    role: Role
    slot: int
    born: float


def hear(loop: asyncio.AbstractEventLoop, alive: int, stop: Callable[[], None], reload: Callable[[], None]) -> None:
    """Let the signals through in a child: SIGTERM and the end of the supervisor stop it, SIGHUP is a reload.

    An interrupt from the keyboard reaches all processes of a terminal; the supervisor passes it on as a stop.
    """
    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGHUP, reload)

    def read() -> None:
        if not os.read(alive, 1):
            loop.remove_reader(alive)
            stop()

    loop.add_reader(alive, read)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)


class Supervisor:
    """Keeps the processes of a run alive until it is told to stop.

    SIGHUP runs `check` in a process of its own, which puts on the board what holds, tells what is wrong with the rest,
    and gives what it refused; then all processes hear of it. SIGTERM and SIGINT stop the run: the workers have
    `grace` seconds, a second signal ends them at once. `sockets` are closed with the first. SIGUSR2 is a stop because
    another run has taken the place: nobody need hear of this one any more. A worker whose loop does not turn for `hang`
    seconds is killed, and so replaced; with 0 that is not looked at. `manager` is told of all this.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        *,
        board: Board,
        check: Callable[[], int],
        sockets: Sequence[socket.socket],
        grace: float,
        hang: float,
        tell: Tell,
        manager: ServiceManager | None = None,
    ) -> None:
        self._roles = roles
        self._board = board
        self._check = check
        self._sockets = sockets
        self._grace = grace
        self._heartbeats = Heartbeats(hang) if hang else None
        self._look_at = time.monotonic()
        self._tell = tell
        self._manager = manager
        self._children: dict[int, _Child] = {}
        # When a place is to be filled, and with what.
        self._due: list[tuple[float, Role, int]] = [(0.0, role, slot) for role in roles for slot in range(role.count)]
        self._young: dict[tuple[str, int], int] = {}
        workers = sum(role.count for role in roles if role.serves)
        now = time.time()
        self._state = RunState(started=now, taken=now, slots=[Slot() for _ in range(workers)])
        self._checking = 0
        self._check_until = 0.0
        self._again = False
        self._stops = 0
        self._kill_at: float | None = None
        self._alive_read, self._alive_write = os.pipe()

    def run(self) -> None:
        """Run until everything has ended."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        while not self._stops or self._children or self._checking:
            self._fill()
            got = signal.sigtimedwait(WATCHED, self._patience())
            if got is not None and got.si_signo in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif got is not None and got.si_signo == signal.SIGUSR2:
                self._state.replaced = True
                self._stop()
                self._send(signal.SIGTERM, lambda role: role.last)
            elif got is not None and got.si_signo == signal.SIGHUP:
                self._reload()
            self._reap()
            self._enforce()
            self._look()
            if self._manager is not None:
                self._manager.look(self._board)
        os.close(self._alive_write)
        os.close(self._alive_read)

    def _patience(self) -> float:
        moments = [moment for moment, _, _ in self._due]
        if self._checking:
            moments.append(self._check_until)
        if self._kill_at is not None:
            moments.append(self._kill_at)
        if self._heartbeats is not None and not self._stops:
            moments.append(self._look_at)
        if self._manager is not None:
            moments.append(self._manager.due())
        return max(min(moments, default=time.monotonic() + 60.0) - time.monotonic(), 0.01)

    # Life

    def _fill(self) -> None:
        now = time.monotonic()
        for one in [one for one in self._due if one[0] <= now]:
            self._due.remove(one)
            _, role, slot = one
            pid = self._fork(lambda: role.work(slot, self._alive_read))  # noqa: B023
            self._children[pid] = _Child(role, slot, now)
            if role.serves:
                place = self._state.slots[slot]
                place.pid, place.born, place.young = pid, now, self._young.get((role.name, slot), 0)
                self._board.tell_run(self._state)

    def _fork(self, work: Callable[[], object]) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.close(self._alive_write)
            result = work()
            code = result if isinstance(result, int) else 0
        except Exception as error:
            # Its words may hold anything; the type is enough to look for.
            self._tell("error", "process-failed", cause=type(error).__name__)
        finally:
            os._exit(code)

    def _reap(self) -> None:
        for pid in [*self._children, *([self._checking] if self._checking else [])]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                continue
            code = os.waitstatus_to_exitcode(status)
            if pid == self._checking:
                self._checked(code)
            else:
                self._bury(pid, self._children.pop(pid), code)

    def _bury(self, pid: int, child: _Child, code: int) -> None:
        now = time.monotonic()
        role, place = child.role, (child.role.name, child.slot)
        if role.serves:
            slot = self._state.slots[child.slot]
            slot.pid = 0
            slot.deaths += 0 if self._stops else 1
        if not self._stops:
            young = self._young[place] = self._young.get(place, 0) + 1 if now - child.born < SHORT_LIFE else 0
            pause = min(0.05 * 2**young, LONGEST_PAUSE) if young else 0.0
            self._due.append((now + pause, role, child.slot))
            self._tell("error", f"{role.name}-died", **{role.name: pid}, code=code, again_in=pause)
        elif not any(one.role.serves for one in self._children.values()):
            self._end_last()
        self._board.tell_run(self._state)

    # The rules

    def _reload(self) -> None:
        if self._stops:
            return
        if self._checking:
            self._again = True
            return
        if self._manager is not None:
            self._manager.reloading()
        self._checking = self._fork(self._check)
        self._check_until = time.monotonic() + CHECK_SECONDS

    def _checked(self, code: int) -> None:
        self._checking = 0
        state, ended = self._state, 0 <= code <= RULES_REFUSED | CREDENTIALS_REFUSED
        state.holds = ended and not code & RULES_REFUSED
        if ended:
            state.credentials_hold = not code & CREDENTIALS_REFUSED
        elif time.monotonic() >= self._check_until:
            self._tell("error", "reload-failed", cause="the check of the rules took too long")
        elif not self._stops:
            self._tell("error", "reload-failed", cause="the check of the rules ended badly", code=code)
        if code == 0:
            state.reloads += 1
        else:
            state.failed_reloads += 1
        if state.holds:
            state.taken = time.time()
        self._send(signal.SIGHUP, lambda _: True)
        self._board.tell_run(state)
        if self._manager is not None and not self._stops:
            rules = self._board.rules().generation if state.holds else 0
            self._manager.checked(rules, self._board.credentials().generation)
        if self._again:
            self._again = False
            self._reload()

    # The end

    def _stop(self) -> None:
        self._stops += 1
        now = time.monotonic()
        if self._stops == 1:
            if self._manager is not None:
                self._manager.stopping()
            self._due.clear()
            self._state.stopping = True
            self._board.tell_run(self._state)
            # Who holds a listening socket without accepting from it keeps clients waiting for nobody.
            for sock in self._sockets:
                sock.close()
            if self._checking:
                os.kill(self._checking, signal.SIGKILL)
            self._kill_at = now + self._grace
            self._send(signal.SIGTERM, lambda role: not role.last)
            if not any(child.role.serves for child in self._children.values()):
                self._end_last()
        elif self._stops == 2:
            self._kill_at = now + _AT_ONCE
            self._send(signal.SIGTERM, lambda role: not role.last)
        else:
            self._kill_at = now

    def _end_last(self) -> None:
        self._kill_at = time.monotonic() + _AT_ONCE
        self._send(signal.SIGTERM, lambda _: True)

    def _enforce(self) -> None:
        """Kill what does not end in time."""
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            for pid, child in self._children.items():
                self._tell("error", f"{child.role.name}-killed", **{child.role.name: pid})
            self._send(signal.SIGKILL, lambda _: True)
            self._kill_at = now + _AT_ONCE
        if self._checking and now >= self._check_until:
            os.kill(self._checking, signal.SIGKILL)

    def _look(self) -> None:
        """Kill what hangs; a stop has a time limit of its own."""
        now = time.monotonic()
        if self._heartbeats is None or self._stops or now < self._look_at:
            return
        self._look_at = now + LOOK
        serving = {pid: child.slot for pid, child in self._children.items() if child.role.serves}
        for pid in self._heartbeats.look(now, {pid: self._board.beat_of(slot) for pid, slot in serving.items()}):
            self._tell("error", "worker-hung", worker=pid)
            os.kill(pid, signal.SIGKILL)

    def _send(self, number: int, to: Callable[[Role], bool]) -> None:
        for pid, child in self._children.items():
            if to(child.role):
                os.kill(pid, number)
