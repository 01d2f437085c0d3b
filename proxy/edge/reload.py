"""New rules for running workers: read and checked once, in a process of their own, then built by every worker.

The check may be slow or die of a hostile file; the workers serve on. Rules that are broken in any way change nothing.
What was checked is what every worker builds, also one that starts later, whatever became of the files meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..language.compile import Built, Options, build, revision
from ..language.document import Source
from ..language.problems import Problem
from ..observe.board import Board, RuleTexts, Text
from ..services.rulefiles import find_pack, read
from .gateway import Gateway
from .pulse import Pulse
from .renewal import Renewal

Tell = Callable[..., None]
MakeOptions = Callable[[Callable[[str], Source | None]], Options]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a run: where they are, and what they are compiled with, given how packs are found."""

    paths: Sequence[str]
    options: MakeOptions

    def build(self, packs: dict[str, Source | None] | None = None) -> tuple[Built, list[Source]]:
        """Read and compile the files; `packs` is filled with the packs that they name."""
        found = packs if packs is not None else {}
        sources, problems = read(self.paths)

        def find(name: str) -> Source | None:
            if name not in found:
                found[name] = find_pack(name, self.paths, problems)
            return found[name]

        return build(sources, self.options(find), problems), sources

    def revision(self) -> str:
        """Give the revision of the files as they are now, whether they hold or not."""
        return revision(read(self.paths)[0])

    def rebuild(self, texts: RuleTexts) -> Built:
        """Compile the files as they were when they were checked."""
        packs = {name: Source(text.name, text.text) for name, text in texts.packs.items()}

        def find(name: str) -> Source | None:
            return packs.get(name)

        return build([Source(text.name, text.text) for text in texts.sources], self.options(find))


def check(rules: Rules, board: Board, tell: Tell, revision: str) -> bool:
    """Put the files as they are now on the board if they hold, else tell what is wrong; say whether they do.

    `revision` is that of the rules that the run began with.
    """
    known = board.rules()
    packs: dict[str, Source | None] = {}
    built, sources = rules.build(packs)
    tell_problems(built.problems, tell)
    kept = known.revision or revision
    if built.ruleset is None:
        tell("error", "reload-failed", problems=len(built.problems.errors), kept=kept)
        return False
    texts = texts_of(known.generation + 1, built.ruleset.revision, sources, packs)
    if not board.tell_rules(texts):
        tell("error", "reload-failed", cause="the rules are too large", kept=kept)
        return False
    return True


def texts_of(
    generation: int, revision: str, sources: Iterable[Source], packs: Mapping[str, Source | None]
) -> RuleTexts:
    """Give the files of rules as the board has them."""
    return RuleTexts(
        generation,
        revision,
        [Text(source.name, source.text) for source in sources],
        {name: Text(pack.name, pack.text) for name, pack in packs.items() if pack is not None},
    )


def tell_problems(problems: Iterable[Problem], tell: Tell) -> None:
    """Log what is wrong with rules, each with its place."""
    for problem in problems:
        place = f"{problem.source}:{problem.line}:{problem.column}"
        tell(problem.severity, "rule-problem", place=place, code=problem.code, text=problem.text)


class Reloader:
    """The reloads of one worker, one after the other; asked for while one runs, one more follows.

    A change of certificates that cannot be taken keeps no rules from being taken, nor the other way round.
    """

    def __init__(
        self, gateway: Gateway, pulse: Pulse, renewal: Renewal, *, board: Board, rules: Rules, tell: Tell
    ) -> None:
        self._gateway = gateway
        self._pulse = pulse
        self._renewal = renewal
        self._board = board
        self._rules = rules
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def request(self) -> None:
        """Ask for a reload; returns at once."""
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = self._gateway.loop.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._again = False
            for reload in (self._renew, self._reload):
                try:
                    await reload()
                except Exception as error:
                    self._tell("error", "reload-failed", cause=type(error).__name__)
            if not self._again:
                return

    async def _renew(self) -> None:
        await self._renewal.take()
        self._pulse.tell()

    async def _reload(self) -> None:
        texts = self._board.rules()
        if texts.generation == self._pulse.generation:
            return
        built = await asyncio.to_thread(self._rules.rebuild, texts)
        if built.ruleset is None:
            # What held a moment ago can only miss what is not in the files: a secret that was taken away.
            tell_problems(built.problems, self._tell)
            self._tell(
                "error", "reload-failed", problems=len(built.problems.errors), kept=self._gateway.ruleset.revision
            )
            return
        before = self._gateway.ruleset.revision
        self._gateway.ruleset = built.ruleset
        self._pulse.generation = texts.generation
        self._pulse.tell()
        self._tell("info", "reloaded", rules=len(built.ruleset.rules), revision=built.ruleset.revision, before=before)
