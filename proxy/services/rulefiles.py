"""Rule files and packs as texts: which files there are, in which order, and what cannot be read.

What the texts mean is the language's. A file that is there and cannot be read is a problem, never a file less.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..language.document import SIZE, Source
from ..language.problems import Mark, Problems

PACK = "pack.yaml"
# The operator's, in the folder that `vestibule init` makes.
SETTINGS = "vestibule.yaml"
_SUFFIXES = (".yaml", ".yml")
_NOT_RULES = (".test.yaml", ".test.yml")
_PACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PACKAGE = Path(__file__).resolve().parent.parent
# In a wheel the folder lies in the package, in a checkout beside it.
BUILT_IN = (_PACKAGE / "rules", _PACKAGE.parent / "rules")

_START = Mark(1, 1, 2)


def read(paths: Iterable[str | Path]) -> tuple[list[Source], Problems]:
    """Read rule files, in the order of their names, a folder with everything below it.

    Test files, packs, settings and hidden names are left out. A folder without a rule file is a problem: nobody means
    it.
    """
    problems = Problems()
    found: dict[str, Path] = {}
    for given in map(Path, paths):
        known = len(problems)
        files = list(_rule_files(given, problems))
        if not files and len(problems) == known:
            _report(given, "unreadable-file", "there is no rule file here", problems)
        for file in files:
            found.setdefault(_real(file), file)
    sources = [read_text(file, problems) for file in sorted(found.values(), key=lambda file: file.parts)]
    return [source for source in sources if source is not None], problems


def yaml_files(paths: Iterable[str | Path]) -> list[Path]:
    """Find all YAML files of rules: rules, their tests and packs, in folders with everything below them."""
    found: dict[str, Path] = {}
    for given in map(Path, paths):
        files = [given]
        if given.is_dir():
            files = sorted(
                file
                for suffix in _SUFFIXES
                for file in given.rglob(f"*{suffix}")
                if not any(part.startswith(".") or part == "node_modules" for part in file.relative_to(given).parts)
            )
        for file in files:
            found.setdefault(_real(file), file)
    return list(found.values())


def settings_files(paths: Iterable[str | Path]) -> list[Path]:
    """Find the settings that lie in folders of rules, at the top of them."""
    return [file for given in map(Path, paths) if (file := given / SETTINGS).is_file()]


def find_pack(name: str, near: Iterable[str | Path], problems: Problems | None = None) -> Source | None:
    """Find the pack of a name: beside the rule files at `near`, else the built-in one.

    None when there is none, or when it cannot be read, which is then one of `problems`.
    """
    if not _PACK_NAME.fullmatch(name):
        return None
    for folder in (*_folders(near), *BUILT_IN):
        file = folder / name / PACK
        if file.is_file():
            return read_text(file, problems if problems is not None else Problems())
    return None


def _folders(near: Iterable[str | Path]) -> Iterator[Path]:
    """Give the folders that may hold the folder of a pack: that of a rule file, or the one above."""
    for path in [Path(near)] if isinstance(near, str | Path) else map(Path, near):
        folder = path if path.is_dir() else path.parent
        yield folder
        yield folder.parent if folder.name not in ("", "..") else folder / ".."


def _real(path: Path) -> str:
    """Follow links; unlike Path.resolve this never raises, and opening the file says what is wrong with it."""
    return os.path.realpath(path)


def _rule_files(path: Path, problems: Problems) -> Iterator[Path]:
    """Give the rule files at or below a path; one that was given by name needs no suffix."""
    if not path.is_dir():
        if path.name != PACK and not path.name.endswith(_NOT_RULES):
            yield path
        return
    waiting, seen = [path], set[str]()
    while waiting:
        folder = waiting.pop()
        # A folder that links to one above it would never end.
        if _real(folder) in seen:
            continue
        seen.add(_real(folder))
        try:
            entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        except OSError as error:
            _report(folder, "unreadable-file", f"this cannot be read: {error.strerror}", problems)
            continue
        waiting += [entry for entry in entries if entry.is_dir()]
        yield from (entry for entry in entries if _is_rule_file(entry) and not entry.is_dir())


def _is_rule_file(path: Path) -> bool:
    return path.suffix in _SUFFIXES and path.name not in (PACK, SETTINGS) and not path.name.endswith(_NOT_RULES)


def read_text(path: Path, problems: Problems) -> Source | None:
    """Read a file; None when it cannot be read, which is then one of `problems`."""
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device could keep the caller waiting for ever.
            _report(path, "unreadable-file", "this is not a file", problems)
            return None
        with path.open("rb") as file:
            # No character of UTF-8 is longer than four bytes.
            content = file.read(4 * SIZE + 1)
    except OSError as error:
        _report(path, "unreadable-file", f"this cannot be read: {error.strerror}", problems)
        return None
    if len(content) > 4 * SIZE:
        _report(path, "too-large", f"a file has at most {SIZE} characters", problems)
        return None
    try:
        return Source(str(path), content.decode("utf-8"))
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8")) + 1
        _report(path, "syntax", "this is not UTF-8", problems, Mark(line, column, column + 1))
        return None


def _report(path: Path, code: str, text: str, problems: Problems, mark: Mark = _START) -> None:
    problems.error(code, text, str(path), mark)
