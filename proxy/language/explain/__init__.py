"""Why an exchange went as it did: every rule and condition, what each step saw and changed, and who decided.

Pure: rules, a request and answers in, a Trace out. Serving knows nothing of it and pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from ...engine import returns, run
from ...engine.effects import Effect
from ...engine.errors import EffectFailed, Unreadable
from ...engine.message import Request, Response
from ...engine.ruleset import Ruleset
from ..cases import Prepared
from ..cases.costs import CaseCost
from ..cases.playing import Stage
from ..cases.rehearsing import Rehearse
from .explanation import trace_of
from .plan import Plan, plans_of
from .trace import Trace
from .tracer import Tracer

__all__ = ["Plan", "Trace", "explain", "explain_case", "plans_of", "with_costs"]


def explain_case(
    one: Prepared, plans: Iterable[Plan], rehearse: Rehearse, *, secrets: Collection[str] = (), show: bool = False
) -> tuple[list[Trace], tuple[str, ...]]:
    """Play a case and explain its exchanges, in its order; the findings say how it went otherwise than it expects.

    `secrets` are texts that are hidden wherever they stand, as those of the case are; `show` shows all that is secret.
    """
    if one.ruleset is None:
        raise ValueError("a case without rules has nothing to explain")
    hidden = (*secrets, *(secret for secret in one.given.secrets.values() if isinstance(secret, str)))
    tracer = Tracer(plans, one.ruleset, hidden, show=show)
    played = Stage(tracer.ruleset, one.given, one.case, rehearse, one.limits, tracer).play()
    return [trace_of(list(tracer.plans), one) for one in tracer.recordings], played.findings


def explain(
    ruleset: Ruleset,
    plans: Iterable[Plan],
    request: Request,
    answer: Response | None,
    *,
    perform: Callable[[Effect], Any],
    clock: Callable[[], float],
    entropy: Callable[[int], bytes],
    secrets: Collection[str] = (),
    show: bool = False,
) -> Trace:
    """Explain one exchange. `answer` is the upstream's, should it be asked, and None where it cannot be reached.

    `perform` gives what an effect comes to, or raises EffectFailed.
    """
    tracer = Tracer(plans, ruleset, secrets, show=show)
    call = tracer.exchange()

    def settle(result: run.Result | run.Pending) -> Response | None:
        while isinstance(result, run.Pending):
            try:
                value = perform(result.effect)
            except EffectFailed as error:
                result = call(result.fail, error, 0.0)
            else:
                result = call(result.resume, value, 0.0)
        return result

    exchange = call(run.begin, tracer.ruleset, request, clock=clock, entropy=entropy)
    try:
        if returns.is_reserved(request.path):
            answered = settle(call(returns.resume, exchange))
        else:
            call(tracer.ruleset.choose, exchange)
            answered = settle(call(run.before, exchange))
        if answered is None and answer is not None:
            settle(call(run.after, exchange, answer))
        elif answered is None:
            settle(call(run.refuse, exchange, 502, "the upstream cannot be reached"))
    except Unreadable as error:
        settle(call(run.refuse, exchange, error.status, error.cause))
    return trace_of(list(tracer.plans), tracer.recordings[0])


def with_costs(traces: Sequence[Trace], cost: CaseCost) -> None:
    """Write into the explanations of a case what its rules and steps cost."""
    for trace, whole in zip(traces, cost.exchanges, strict=True):
        trace.us = whole.us
        for rule in trace.rules:
            found = next((one for one in cost.rules if one.name == rule.name), None)
            if found is None:
                continue
            rule.us = found.figure.us
            steps = {(step.phase, step.name): step.figure.us for step in found.steps}
            for step in rule.steps:
                if step.order is not None:
                    step.us = steps.get((step.phase, step.name))
