"""What processes of one run tell one another: pages of shared memory, each written by one process and read by all.

A page outlives the process that wrote it, so nothing that was counted goes with a worker that was killed. A reader
never sees half of what was written.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import TypeVar

import msgspec

_TURN = struct.Struct("=Q")
_HEAD = struct.Struct("=II")
_BEAT = struct.Struct("=d")
_TRIES = 100
_State = TypeVar("_State", bound=msgspec.Struct)

PAGE = 4 << 20
RULES = 32 << 20


class Page:
    """Bytes that one process writes and others read, at most `size`; memory is used only as it is filled."""

    def __init__(self, size: int = PAGE) -> None:
        self._size = size
        self._half = _HEAD.size + size
        self._memory = mmap.mmap(-1, _TURN.size + 2 * self._half)

    def write(self, data: bytes) -> bool:
        """Replace what is there; False, and nothing changes, when it is too much."""
        if len(data) > self._size:
            return False
        (turn,) = _TURN.unpack_from(self._memory)
        start = _TURN.size + (turn + 1) % 2 * self._half
        self._memory[start + _HEAD.size : start + _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._memory, start, len(data), zlib.crc32(data))
        # Readers look at the other half until here; a writer that is killed before leaves that one as it was.
        _TURN.pack_into(self._memory, 0, turn + 1)
        return True

    def read(self) -> bytes:
        """Give what was written last, b"" when nothing was."""
        for _ in range(_TRIES):
            (turn,) = _TURN.unpack_from(self._memory)
            start = _TURN.size + turn % 2 * self._half
            size, check = _HEAD.unpack_from(self._memory, start)
            data = self._memory[start + _HEAD.size : start + _HEAD.size + min(size, self._size)]
            if zlib.crc32(data) == check:
                return data
        return b""


class Series(msgspec.Struct):
    """The counts of one worker: by the name of a family, and by the values of its labels."""

    counters: dict[str, dict[tuple[str, ...], float]] = {}
    # For each bucket how many, then the sum.
    histograms: dict[str, dict[tuple[str, ...], list[float]]] = {}


class WorkerState(msgspec.Struct):
    """What a worker tells of itself. Times are of the monotonic clock, which all processes of a machine share."""

    pid: int = 0
    ready: bool = False
    draining: bool = False
    revision: str = ""
    rules: int = 0
    generation: int = 0
    # The generation of the certificates and tokens that it uses, and when our certificates end.
    credentials: int = 0
    certificates: dict[str, float] = {}
    gauges: dict[str, float] = {}
    # When a connection to the upstream could not be made last.
    unreached: float = 0.0
    # Whether the last call to each service worked.
    services: dict[str, bool] = {}
    series: Series = msgspec.field(default_factory=Series)


class Slot(msgspec.Struct):
    """A worker's place, as the supervisor sees it: `pid` is 0 while it is empty, `young` died young in a row."""

    pid: int = 0
    born: float = 0.0
    young: int = 0
    deaths: int = 0


class RunState(msgspec.Struct):
    """What the supervisor tells."""

    started: float = 0.0
    stopping: bool = False
    # Whether another run has taken its place, at the same addresses.
    replaced: bool = False
    slots: list[Slot] = []
    # When the rules that are served were taken, in seconds since the epoch.
    taken: float = 0.0
    reloads: int = 0
    failed_reloads: int = 0
    # Whether the last reload took the rules, and whether it took certificates and tokens.
    holds: bool = True
    credentials_hold: bool = True


class Text(msgspec.Struct):
    """A file of rules: its name and what is in it."""

    name: str
    text: str


class RuleTexts(msgspec.Struct):
    """The files of rules that a reload found to hold: what every worker builds, also one that starts later."""

    generation: int = 0
    revision: str = ""
    sources: list[Text] = []
    packs: dict[str, Text] = {}


class Credentials(msgspec.Struct):
    """Certificates, keys and tokens that were found to hold, by the settings that name them: `tls.cert`, `admin.token`.

    The generation of those of the start is 0.
    """

    generation: int = 0
    contents: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return "Credentials(***)"

    def part(self, name: str) -> dict[str, bytes]:
        """Give what belongs together: a setting, or all below it."""
        return {key: content for key, content in self.contents.items() if key == name or key.startswith(f"{name}.")}

    def text(self, name: str) -> str | None:
        """Give a token."""
        content = self.contents.get(name)
        return None if content is None else content.decode()

    @property
    def tokens(self) -> frozenset[str]:
        return frozenset(content.decode() for name, content in self.contents.items() if name.endswith(".token"))


class Board:
    """The pages of a run: two for each worker, one for the supervisor, two for what the last reloads found to hold."""

    def __init__(self, workers: int) -> None:
        self._workers = [Page() for _ in range(workers)]
        self._beats = [Page(_BEAT.size) for _ in range(workers)]
        self._run = Page()
        self._rules = Page(RULES)
        self._credentials = Page()

    def worker(self, slot: int) -> WorkerState:
        return _read(self._workers[slot], WorkerState)

    def workers(self) -> list[WorkerState]:
        return [_read(page, WorkerState) for page in self._workers]

    def tell_worker(self, slot: int, state: WorkerState) -> bool:
        return self._workers[slot].write(_encode(state))

    def beat(self, slot: int, now: float) -> None:
        """Say that a worker's loop turned at this time."""
        self._beats[slot].write(_BEAT.pack(now))

    def beat_of(self, slot: int) -> float:
        """Give when a worker's loop turned last, 0 when it never did."""
        data = self._beats[slot].read()
        return float(_BEAT.unpack(data)[0]) if data else 0.0

    def run(self) -> RunState:
        return _read(self._run, RunState)

    def tell_run(self, state: RunState) -> None:
        self._run.write(_encode(state))

    def rules(self) -> RuleTexts:
        return _read(self._rules, RuleTexts)

    def tell_rules(self, texts: RuleTexts) -> bool:
        return self._rules.write(_encode(texts))

    def credentials(self) -> Credentials:
        return _read(self._credentials, Credentials)

    def tell_credentials(self, credentials: Credentials) -> bool:
        return self._credentials.write(_encode(credentials))


_encode = msgspec.msgpack.Encoder().encode


def _read(page: Page, kind: type[_State]) -> _State:
    data = page.read()
    return msgspec.msgpack.decode(data, type=kind) if data else kind()
