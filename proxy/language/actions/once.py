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

# Whoever reads these for a key says whose the answer is; the rest of the Cookie header may then differ, as it does
# from one tab of a browser to the next.
_WHOSE = frozenset({"request.cookies", "request.body"})


class Once(Action):
    """Let concurrent and repeated exchanges with one key have one upstream call, and the same answer of it.

    It acts when the request would be forwarded: later `before` rules still run, and each exchange runs its own `after`
    rules. Alike must also be method, host, path, query, the Authorization header and the body; and all cookies, unless
    the key reads a cookie or the body, and so says whose the answer is. An answer that is no 2xx goes only to those who
    already wait. An exchange waits for at most the rule's `timeout`.
    """

    phases: ClassVar[frozenset[str]] = frozenset({"before"})

    key: Text = Field(description="What the exchanges have in common: a session cookie, a refresh token.")
    ttl: Duration = Field(description="For how long a 2xx answer is given again, such as `30s`.")

    def compile(self, env: StepEnvironment) -> Run:
        if not self.ttl > 0:
            env.problem("bad-setting", "an answer is kept for some time: `ttl` is more than nothing", "ttl")
        env.collects("request")
        value, ttl = env.text(self.key, "key", place="text"), self.ttl
        key = value.read
        cookies = not any(read.footprint in _WHOSE for program in value.programs for read in program.reads)

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
                both = f"{other.key}\0{mine}"
                owed.sharing = Sharing(rule, "once", both, min(other.ttl, ttl), cookies or other.cookies)
            else:
                owed.sharing = Sharing(rule, "once", mine, ttl, cookies)

        return once
