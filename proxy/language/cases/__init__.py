"""Test files of rule authors: each case is played by the production engine, with a fixed clock and no network."""

from .runner import FindPack, FindRules, Outcome, Prepared, Results, prepare, run_cases

__all__ = ["FindPack", "FindRules", "Outcome", "Prepared", "Results", "prepare", "run_cases"]
