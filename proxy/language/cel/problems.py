"""What is wrong with an expression: problems with their place in its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CelProblem:
    """One mistake. `start` and `end` are offsets into the expression's source."""

    code: str
    text: str
    start: int
    end: int
    suggestion: str | None = None


class CelProblems(Exception):
    """Everything that is wrong with an expression, in the order of its source."""

    def __init__(self, problems: Sequence[CelProblem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.start, problem.end))
        super().__init__("; ".join(problem.text for problem in self.problems))
