"""The action `once`: one upstream call for exchanges that ask for the same."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ...engine import obligations
from ...engine.exchange import Exchange, Note
from ...engine.obligations import Sharing
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..fields import Duration, Text


class Once(Action):
    """Let concurrent and repeated exchanges with one key have one upstream call, and the same answer of it.

    It acts when the request would be forwarded: later `before` rules still run, and each exchange runs its own `after`
    rules. Alike must also be method, path, query, the Authorization header and the body. An answer that is no 2xx goes
    only to those who already wait. An exchange waits for at most the rule's `timeout`.
    """

    phases: ClassVar[frozenset[str]] = frozenset({"before"})

    key: Text = Field(description="What the exchanges have in common: a session cookie, a refresh token.")
    ttl: Duration = Field(description="For how long a 2xx answer is given again, such as `30s`.")

    def compile(self, env: StepEnvironment) -> Run:
        if not self.ttl > 0:
            env.problem("bad-setting", "an answer is kept for some time: `ttl` is more than nothing", "ttl")
        env.collects("request")
        key, ttl = env.text(self.key, "key", place="text").read, self.ttl

        def once(x: Exchange) -> None:
            rule = x.rule
            mine = key(x)
            if rule is None:
                raise RuntimeError("a step runs in a rule")
            if rule.shadow:
                x.notes.append(Note("shadow", rule.name, "info", "once was not done"))
                return
            owed = obligations.of(x)
            other = owed.sharing
            if other is not None:
                # Alike in both: the answer is right for whoever asks for either.
                owed.sharing = Sharing(rule, "once", f"{other.key}\0{mine}", min(other.ttl, ttl))
            else:
                owed.sharing = Sharing(rule, "once", mine, ttl)

        return once
