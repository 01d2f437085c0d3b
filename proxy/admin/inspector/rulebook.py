"""The rules that are served, as they are written: each with its place, its text and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ...language.document import Source, load
from ...language.problems import Problems
from ...observe.board import Board, RuleTexts, WorkerState
from .ring import Ring


class RuleTold(msgspec.Struct, omit_defaults=True):
    """A rule: where it stands, its text, how often it ran since the start and how that ended.

    `p99` is of the own time of the exchanges in which it ran, in milliseconds; `last` when it ran last. Both are of
    what the inspector was given.
    """

    name: str
    file: str
    line: int
    text: str
    mode: str
    description: str | None = None
    hits: int = 0
    outcomes: dict[str, int] = {}
    last: float | None = None
    last_n: int | None = None
    p99: float | None = None
    slow: bool = False


class Rulebook:
    """Reads the rules of the last reload from the board, or those of the start."""

    def __init__(self, board: Board, start: RuleTexts) -> None:
        self._board = board
        self._start = start
        self._read: tuple[str, list[RuleTold]] | None = None

    def texts(self) -> RuleTexts:
        texts = self._board.rules()
        return texts if texts.generation else self._start

    def rules(self, ring: Ring) -> list[RuleTold]:
        """Give the rules in their order, with what was counted."""
        texts = self.texts()
        if self._read is None or self._read[0] != texts.revision:
            found = [rule for source in texts.sources for rule in _rules_of(Source(source.name, source.text))]
            self._read = texts.revision, found
        workers = self._board.workers()
        return [self._counted(rule, workers, ring) for rule in self._read[1]]

    def _counted(self, rule: RuleTold, workers: list[WorkerState], ring: Ring) -> RuleTold:
        told = msgspec.structs.replace(rule, hits=0, outcomes={})
        for state in workers:
            counters = state.series.counters
            told.hits += int(counters.get("rule_runs", {}).get((rule.name,), 0))
            for (name, outcome), count in counters.get("rule_outcomes", {}).items():
                if name == rule.name:
                    told.outcomes[outcome] = told.outcomes.get(outcome, 0) + int(count)
        seen = ring.rules.get(rule.name)
        if seen is not None:
            told.last, told.last_n, told.p99 = seen.last, seen.last_n, seen.p99
            told.slow = told.p99 is None
        return told


def _rules_of(source: Source) -> list[RuleTold]:
    document = load(source, Problems())
    if document is None or not isinstance(document.data, dict):
        return []
    rules = document.data.get("rules")
    lines = source.text.splitlines()
    starts = [document.mark(("rules", index)).line for index in range(len(rules) if isinstance(rules, list) else 0)]
    found = []
    for index, start in enumerate(starts):
        rule: Any = rules[index] if isinstance(rules, list) else None
        if not isinstance(rule, dict):
            continue
        end = starts[index + 1] - 1 if index + 1 < len(starts) else len(lines)
        found.append(
            RuleTold(
                name=str(rule.get("name", "")),
                file=source.name,
                line=start,
                text=_excerpt(lines[start - 1 : end]),
                mode=str(rule.get("mode", "enforce")),
                description=str(rule["description"]) if rule.get("description") else None,
            )
        )
    return found


def _excerpt(lines: list[str]) -> str:
    """Leave out what stands below a rule and is not its own: empty lines, and comments on the next one."""
    depth = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    kept = list(lines)
    while kept and (not kept[-1].strip() or (kept[-1].lstrip().startswith("#") and _depth(kept[-1]) <= depth)):
        kept.pop()
    # What follows the list of rules is of the file.
    end = next((at for at, line in enumerate(kept) if at and line.strip() and _depth(line) < depth), len(kept))
    return "\n".join(line[depth:] for line in kept[:end])


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


Algorithm = Callable[[str], str | None]


def algorithm_of(secret: str | None) -> str | None:
    """Give the algorithm of a key in PEM form, with `public ` before that of a public one; None for what is no key."""
    if secret is None or "-----BEGIN" not in secret:
        return None
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    which = "" if "PRIVATE" in secret else "public "
    try:
        data = secret.encode()
        key = load_pem_private_key(data, None) if "PRIVATE" in secret else load_pem_public_key(data)
    except (ValueError, TypeError):
        return None
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return f"{which}RS256"
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return f"{which}EdDSA"
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return f"{which}{'ES384' if key.key_size == 384 else 'ES256'}"
    return None
