"""How much memory the control groups (a container) of this process leave it; where it goes over, the kernel kills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# For the processes that do not serve, beyond what all of them share.
_OTHERS = 48 << 20
# For the kernel's buffers, and because a worker may run past its cap for a moment.
_SHARE = 4
# Version 1 says a number of this size for "no limit".
_NONE = 1 << 60
# By the type of the file system.
_FILES = {"cgroup2": ("memory.max", "memory.high"), "cgroup": ("memory.limit_in_bytes",)}


def memory_limit(root: Path = Path("/")) -> int | None:
    """Give the least memory limit of this process's groups and those above them, in bytes; None where there is none.

    `/proc` and what is mounted are looked for below `root`.
    """
    found: list[int] = []
    for kind, group in _groups(root):
        for inside, point in _mounts(root, kind):
            for folder in _upwards(root, inside, point, group):
                limits = (_read(folder / name) for name in _FILES[kind])
                found += [limit for limit in limits if limit is not None]
    return min(found, default=None)


def share_memory(limit: int, workers: int) -> int:
    """Give what each worker may have resident of a limit that is for all processes of a run; it may be too little."""
    return max(limit - limit // _SHARE - _OTHERS, 0) // workers


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    """Give the groups of this process that may limit its memory, each with the type of its file system."""
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield "cgroup2", path
        elif "memory" in controllers.split(","):
            yield "cgroup", path


def _mounts(root: Path, kind: str) -> Iterator[tuple[str, str]]:
    """Give which part of a hierarchy is mounted, and where (proc(5), mountinfo)."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(rest) < 3 or rest[0] != kind:
            continue
        if kind == "cgroup2" or "memory" in rest[2].split(","):
            yield fields[3], fields[4]


def _upwards(root: Path, inside: str, point: str, group: str) -> Iterator[Path]:
    """Give the folders of a group and of those above it, as far as they are mounted."""
    top = root / point.lstrip("/")
    within = Path(group).is_relative_to(inside) and ".." not in Path(group).parts
    # A container without a namespace of its own is told a path that it cannot see; what it sees is its own group.
    folder = top / Path(group).relative_to(inside) if within else top
    yield folder
    while folder != top:
        folder = folder.parent
        yield folder


def _read(file: Path) -> int | None:
    try:
        limit = int(file.read_text("ascii"))
    except (OSError, ValueError):
        return None
    return limit if 0 < limit < _NONE else None
