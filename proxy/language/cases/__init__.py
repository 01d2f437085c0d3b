"""Test files of rule authors: each case is played by the production engine, with a fixed clock and no network."""

from .coverage import Branch, Coverage, branches_of
from .findings import Finding
from .runner import FindPack, FindRules, Outcome, Prepared, Results, prepare, run_cases
from .updating import Change, update

__all__ = [
    "Branch",
    "Change",
    "Coverage",
    "FindPack",
    "FindRules",
    "Finding",
    "Outcome",
    "Prepared",
    "Results",
    "branches_of",
    "prepare",
    "run_cases",
    "update",
]
