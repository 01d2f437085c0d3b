"""Coverage-guided fuzzing: `python -m tests.fuzz MINUTES [TARGET…]`, each target in a process of its own.

It begins with the corpus that is kept and what earlier runs found new; what makes a target fail is written into the
corpus, where `make test` replays it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import atheris

CORPUS = Path(__file__).parent / "corpus"
# What only widens the search is not kept with the sources.
FOUND = Path(__file__).resolve().parents[2] / ".fuzz"


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target in this process; a finding ends it."""
    with atheris.instrument_imports(include=["proxy", "tests.fuzz.targets"]):
        from tests.fuzz.targets import TARGETS
    kept, found = CORPUS / name, FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-close_fd_mask=0",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={kept}/", str(found), str(kept)], TARGETS[name])
    atheris.Fuzz()


def main(minutes: str, *names: str) -> int:
    """Fuzz all targets, or the ones that are named, for so many minutes altogether."""
    chosen = list(names) or sorted(path.name for path in CORPUS.iterdir() if path.is_dir())
    seconds = max(int(float(minutes) * 60 / len(chosen)), 1)
    failed = []
    for name in chosen:
        print(f"fuzz: {name} for {seconds} seconds", flush=True)
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", "--one", name, str(seconds)], check=False)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"fuzz: found something in {', '.join(failed)}; see tests/fuzz/corpus")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        fuzz(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main(*sys.argv[1:]))
