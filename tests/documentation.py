"""The blocks of a page, and what becomes of each: run as a reader would, in a copy of the project, in the page's order.

- `sh` is run by bash, in the folder where the block before it ended. A line that serves is waited for and left running
  for the blocks that follow; a target of make is named to `make --dry-run`, as each of them has its own tests.
- `yaml` is a file: of rules, of cases or of settings; it is checked, played or read. Where its first line is a comment
  with a name, a reader saves it under that name, and so does the page. Steps, or a rule's phases, stand in a rule.
- `text` after a command is what it prints, and so is what follows a `$ command` in it; `…` stands for any text, as a
  line of its own for any lines. Elsewhere it is a picture.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import yaml

from tests.running import PATIENCE, Lines

PROJECT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
# Lines that no test runs, by how they begin, and why.
NOT_RUN = {
    "make test": "it is what runs this",
    "make figures": "it is what runs this",
    "apt-get install": "it changes the machine, and needs the network",
}
_SERVES = re.compile(r"(?:make run|vestibule run|vestibule record)\b")
_END = re.compile(r"(?<!\\)\n")
_MEASURES = re.compile(r"^vestibule (?:bench|explain)\b")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STRAY = re.compile(r"^([ \t>]*(?:```|~~~))", re.MULTILINE)
_NAMED = re.compile(r"# (\S+\.yaml)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a page, with the line on which it begins, and the kinds of the blocks right before and after it."""

    page: str
    line: int
    kind: str
    text: str
    before: str = ""
    after: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, text: str) -> Iterator[Block]:
    """Give the blocks of a page; right before and after are those with nothing but empty lines between."""
    found = list(_FENCE.finditer(text))
    gaps = [slice(*ends) for ends in pairwise((0, *(end for one in found for end in one.span()), len(text)))][::2]
    kinds = ["", *(one[1] for one in found), ""]
    for index, one in enumerate(found):
        _nothing_in(page, text, gaps[index])
        before, after = (not text[gap].strip() for gap in gaps[index : index + 2])
        line = text.count("\n", 0, one.start()) + 1
        yield Block(page, line, one[1], one[2], kinds[index] if before else "", kinds[index + 2] if after else "")
    _nothing_in(page, text, gaps[-1])


def _nothing_in(page: str, text: str, gap: slice) -> None:
    """Refuse a fence that is indented or of another kind: nobody would run what is in it."""
    if stray := _STRAY.search(text, gap.start, gap.stop):
        block = Block(page, text.count("\n", 0, stray.start(1)) + 1, "", "")
        raise Unrun(block, "nothing runs this block; begin and end it with ``` at the start of a line")


class Unrun(AssertionError):
    """A block that nothing runs, or that does not do what the page says."""

    def __init__(self, block: Block, text: str) -> None:
        super().__init__(f"{block.place}: {text}")


class Reader:
    """Somebody who reads a page and does what it says, in a copy of the project."""

    def __init__(self, page: str, folder: Path) -> None:
        self.page = page
        self._root = self._cwd = folder
        self._beside = folder / Path(page).parent
        self._number = 0
        self._printed = ""
        self._serving: subprocess.Popen[str] | None = None
        self._port = _free_port()
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VESTIBULE_")},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "NO_COLOR": "1",
            "VESTIBULE_LISTEN": f"127.0.0.1:{self._port}",
        }
        shutil.copytree(PROJECT / "rules", folder / "rules")
        shutil.copytree(PROJECT / "tests" / "secrets", folder / "tests" / "secrets")
        shutil.copy(PROJECT / "pyproject.toml", folder)
        (folder / "Makefile").write_text(self._here((PROJECT / "Makefile").read_text(encoding="utf-8")))
        (folder / ".venv").symlink_to(BIN.parent)

    def read(self, block: Block) -> None:
        """Do what a block says, or say why that is not possible."""
        act = {"sh": self._commands, "yaml": self._file, "text": self._text}.get(block.kind)
        if act is None:
            raise Unrun(block, f"nothing runs a block of `{block.kind}`; write sh, yaml or text")
        act(block)

    def close(self) -> None:
        """Stop what serves."""
        if self._serving is not None:
            os.killpg(self._serving.pid, signal.SIGTERM)
            self._serving.wait(PATIENCE)
            self._told.rest()
            assert self._serving.stderr is not None
            self._serving.stderr.close()
            self._serving = None

    def _here(self, text: str) -> str:
        """Put a port that is free in the place of the one that readers have free."""
        return text.replace("127.0.0.1:8080", f"127.0.0.1:{self._port}")

    def _commands(self, block: Block) -> None:
        lines, served = [], ""
        for line in self._here(block.text).splitlines():
            if any(line.startswith(start) for start in NOT_RUN):
                continue
            if served:
                raise Unrun(block, f"{served!r} does not end: it must be the last line")
            if _SERVES.match(line):
                served = line
            else:
                lines.append(re.sub(r"^make (?!run)", "make --dry-run ", line))
        self._run(block, "\n".join(lines), findings=block.after == "text")
        if served:
            self._serve(block, served)

    def _script(self, script: str) -> list[str]:
        make = f'make() {{ command make --old-file .venv/.installed BIN="{BIN}" "$@"; }}'
        return ["bash", "-euo", "pipefail", "-c", f"{make}\ntrap 'pwd > {self._root}/.cwd' EXIT\n{script}"]

    def _run(self, block: Block, script: str, *, findings: bool) -> None:
        done = subprocess.run(
            self._script(script),
            check=False,
            cwd=self._cwd,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        # 1 is a finding, which a page may want to show.
        if done.returncode not in ((0, 1) if findings else (0,)):
            raise Unrun(block, f"exit {done.returncode}\n{script}\n{done.stdout}{done.stderr}")
        self._cwd = Path((self._root / ".cwd").read_text().strip())
        self._printed = done.stdout

    def _serve(self, block: Block, line: str) -> None:
        self.close()
        self._serving = subprocess.Popen(
            self._script(line),
            cwd=self._cwd,
            env=self._env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._told = Lines(self._serving.stderr)
        greeting = [""]
        try:
            # The sockets listen before it is written.
            while not greeting[-1].startswith("  rules"):
                greeting.append(self._told.next(f"the greeting of {line!r}"))
        except AssertionError as error:
            raise Unrun(block, f"{error}{''.join(greeting)}") from None

    def _file(self, block: Block) -> None:
        text, data = block.text, yaml.safe_load(block.text)
        if isinstance(data, list):
            data, text = {"before": data}, "before:\n" + block.text
        if isinstance(data, dict) and {"before", "after"} & data.keys() and "rules" not in data:
            rule = "version: 1\nrules:\n  - name: example\n"
            text, data = rule + textwrap.indent(text, "    "), {"version": 1}
        self._number += 1
        if not isinstance(data, dict):
            raise Unrun(block, "this is no file of rules, of cases or of settings, and no steps of a rule")
        if "version" in data:
            self._try(block, text, ".yaml", "vestibule check --strict --secrets {root}/tests/secrets {file}")
        elif "cases" in data:
            self._try(block, text, ".test.yaml", "vestibule test {file}")
        else:
            self._try(block, text, ".yaml", "vestibule config --config {file}")

    def _try(self, block: Block, text: str, end: str, command: str) -> None:
        named = _NAMED.match(block.text)
        file = self._cwd / named[1] if named else self._beside / f"example-{self._number}{end}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._here(text), encoding="utf-8")
        self._run(block, command.format(root=self._root, file=file), findings=False)

    def _text(self, block: Block) -> None:
        if block.text.startswith("$ "):
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                # A line that ends with a backslash goes on in the next one.
                command, shown = _END.split(part + "\n", maxsplit=1)
                self._run(block, self._here(command), findings=True)
                self._compare(block, shown, measured=_MEASURES.search(command) is not None)
        elif block.before == "sh":
            self._compare(block, block.text, measured=False)

    def _compare(self, block: Block, shown: str, *, measured: bool) -> None:
        found, wanted = _lines(self._printed, measured), _lines(self._here(shown), measured)
        pattern = "".join(
            r"(?:.*\n)*?" if line == "…" else ".*?".join(map(re.escape, line.split("…"))) + r"\n" for line in wanted
        )
        if not re.fullmatch(pattern, "".join(line + "\n" for line in found)):
            raise Unrun(block, "the page shows another output than\n" + "\n".join(found))


def _free_port() -> int:
    """Give a port that nobody has, of those that the system gives to nobody who does not ask for them."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _lines(text: str, measured: bool) -> list[str]:
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    # What is measured differs from time to time; what it is called does not.
    return [" ".join(re.sub(r"\d+(?:\.\d+)?", "#", line).split()) for line in lines] if measured else lines
