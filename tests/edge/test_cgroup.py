"""The memory that a container leaves, read from the files of Linux as both versions of control groups write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.cli.serving import choose_memory
from proxy.edge.cgroup import memory_limit, share_memory
from proxy.settings import LEAST_MEMORY

MB = 1 << 20
V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
CPU = "33 31 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"
UNLIMITED = "9223372036854771712"

# What a machine's files say: (/proc/self/cgroup, /proc/self/mountinfo, files, the limit).
MACHINES: dict[str, tuple[str, str, dict[str, str], int | None]] = {
    "no control groups": ("", "", {}, None),
    "version 2 in a container with a namespace": (
        "0::/", V2, {"/sys/fs/cgroup/memory.max": "268435456"}, 256 * MB),
    "version 2 without a limit": ("0::/", V2, {"/sys/fs/cgroup/memory.max": "max"}, None),
    "version 2 in a service": (
        "0::/system.slice/vestibule.service", V2,
        {
            "/sys/fs/cgroup/system.slice/vestibule.service/memory.max": "536870912",
            "/sys/fs/cgroup/system.slice/memory.max": "max",
        }, 512 * MB),
    "version 2 where the group above has less": (
        "0::/pod/app", V2,
        {"/sys/fs/cgroup/pod/app/memory.max": "max", "/sys/fs/cgroup/pod/memory.max": "268435456"}, 256 * MB),
    "version 2 that slows down before it kills": (
        "0::/", V2,
        {"/sys/fs/cgroup/memory.max": "536870912", "/sys/fs/cgroup/memory.high": "402653184"}, 384 * MB),
    "version 2 seen from a namespace that it is not in": (
        "0::/../other", V2, {"/sys/fs/cgroup/memory.max": "268435456"}, 256 * MB),
    "version 1": (
        "5:cpu:/app\n4:memory:/app", f"{CPU}\n{V1}",
        {"/sys/fs/cgroup/memory/app/memory.limit_in_bytes": "268435456",
         "/sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED}, 256 * MB),
    "version 1 without a limit": (
        "4:memory:/", V1, {"/sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED}, None),
    "version 1 with several controllers in one": (
        "4:cpu,memory:/", V1.replace("rw,memory", "rw,cpu,memory"),
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456"}, 256 * MB),
    "version 1 in a container that is told its path outside": (
        "4:memory:/docker/0a1b", V1.replace("0:29 / ", "0:29 /docker/0a1b "),
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456"}, 256 * MB),
    "both, and version 1 limits": (
        "4:memory:/app\n0::/app", f"{V2}\n{V1}",
        {"/sys/fs/cgroup/memory/app/memory.limit_in_bytes": "268435456"}, 256 * MB),
    "files that say nothing": ("0::/\nnonsense", f"{V2}\nnonsense", {"/sys/fs/cgroup/memory.max": "a lot"}, None),
}  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
def test_the_least_limit_that_holds_is_found(machine: str, tmp_path: Path) -> None:
    groups, mounts, files, limit = MACHINES[machine]
    for name, text in {"/proc/self/cgroup": groups, "/proc/self/mountinfo": mounts, **files}.items():
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert memory_limit(tmp_path) == limit


def test_workers_share_what_the_others_leave() -> None:
    assert share_memory(256 * MB, 1) == 144 * MB
    assert share_memory(1024 * MB, 4) == 180 * MB
    assert share_memory(16 * MB, 1) == 0


def test_what_is_given_holds_and_a_limit_only_without_it() -> None:
    told: list[str] = []

    def tell(level: str, event: str, **_: object) -> None:
        told.append(event)

    assert choose_memory(200 * MB, 256 * MB, 1, tell) == 200 * MB
    assert choose_memory(0, 256 * MB, 1, tell) == 0
    assert choose_memory(None, None, 1, tell) == 0
    assert choose_memory(None, 256 * MB, 1, tell) == 144 * MB
    assert told == []
    # Too little to serve with: it serves, as it would without a cap, and says so.
    assert choose_memory(None, 256 * MB, 4, tell) == LEAST_MEMORY
    assert told == ["little-memory"]
