"""One exchange through its rules: phases, steps, outcomes, effects, errors, shadow.

This is the only place that knows about order, `when`, `on_error`, shadow and whose answer it is. A shell calls, in
this order: `begin`, `before`, then (unless that gave an answer) `after` with the upstream's answer, or at any point
`refuse` with an answer of the proxy's own. Each of the last three may return a Pending: the shell performs its effect
and calls `resume` or `fail`, which return what the first call would have.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Generator
from typing import Any

from . import dialects, widening
from .effects import Effect
from .errors import ABSORBED, EffectFailed, EvaluationError, Side, Unreadable
from .exchange import Exchange, Note, Verdict
from .message import Request, Response
from .ruleset import Chosen, Flow, Outcome, Rule, Ruleset, Step

_well_formed = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{7,127}").fullmatch

Result = Response | None


class Pending:
    """A phase that waits for an effect. `budget` is what is left of the rule's time, in seconds."""

    __slots__ = ("_phase", "budget", "effect")

    def __init__(self, phase: _Phase, effect: Effect, budget: float) -> None:
        self._phase = phase
        self.effect = effect
        self.budget = budget

    def resume(self, result: Any, spent: float) -> Result | Pending:
        """Go on with the effect's result; `spent` is how long it took, in seconds."""
        return self._phase.resume(result, None, spent)

    def fail(self, error: EffectFailed, spent: float) -> Result | Pending:
        """Go on with an effect that failed or was late."""
        return self._phase.resume(None, error, spent)


def begin(
    ruleset: Ruleset,
    request: Request,
    *,
    clock: Callable[[], float],
    entropy: Callable[[int], bytes],
) -> Exchange:
    """Begin an exchange; what `choose` finds unreadable is raised by it, not here."""
    exchange = Exchange(ruleset, request, clock=clock, entropy=entropy)
    with contextlib.suppress(Unreadable):
        operation = ruleset.route(request.method, request.path).operation
        if operation is not None:
            exchange.dialect = operation.dialect
    sent = request.headers.values(dialects.correlation_header(exchange.dialect))
    text = sent[0].decode("latin-1") if len(sent) == 1 else ""
    exchange.correlation = text if _well_formed(text) else entropy(16).hex()
    return exchange


def needs_request(exchange: Exchange) -> bool:
    """Say whether a rule reads the request's body, so that it must be collected before `before`."""
    return any(chosen.rule.needs_request for chosen in exchange.chosen)


def needs_response(exchange: Exchange, status: int) -> bool:
    """Say whether a rule reads the body of an upstream answer with this status, so that it must be collected."""
    return any(
        rule.needs_response and _fits(rule, "upstream", status) for rule in (chosen.rule for chosen in exchange.chosen)
    )


def before(exchange: Exchange) -> Result | Pending:
    """Run the `before` rules; None means that the request is to be forwarded."""
    exchange.enter("before")
    rules = exchange.chosen
    if any(chosen.rule.fraction < 1 for chosen in rules):
        faulty = _draw(exchange)
        if faulty is not None:
            return faulty
        rules = exchange.chosen
    return _Phase(exchange, rules, last=False).go()


def after(exchange: Exchange, response: Response) -> Result | Pending:
    """Run the `after` rules on an upstream answer; gives the answer for the client."""
    return _arrive(exchange, response, last=False)


def refuse(exchange: Exchange, status: int, cause: str, *, code: str | None = None) -> Result | Pending:
    """Answer for the proxy itself: a bad request, an upstream that is down; `cause` is logged, not shown."""
    return _arrive(exchange, fault(exchange, status, cause, code=code), last=True)


def fault(exchange: Exchange, status: int, cause: str, *, code: str | None = None) -> Response:
    """Build an answer of the proxy itself that no rule sees: for when what the rules made cannot be sent."""
    exchange.verdict = Verdict(by="proxy", code=code, cause=cause)
    return _error(exchange, status, code)


def _error(exchange: Exchange, status: int, code: str | None = None) -> Response:
    return dialects.answer(
        exchange.dialect,
        status,
        correlation=exchange.correlation,
        limits=exchange.request.limits,
        code=code,
        origin="proxy",
    )


def _fits(rule: Rule, origin: str, status: int) -> bool:
    return bool(rule.after) and origin in rule.origins and (rule.statuses is None or rule.statuses(status))


def _arrive(exchange: Exchange, response: Response, *, last: bool) -> Result | Pending:
    exchange.response = response
    exchange.status = status = response.status
    exchange.enter("after")
    for edit in exchange.deferred:
        edit(response.headers)
    rules = tuple(chosen for chosen in exchange.chosen if _fits(chosen.rule, response.origin, status))
    return _Phase(exchange, rules, last=last).go()


def _forward(exchange: Exchange) -> None:
    """Make the request what goes upstream."""
    widening.widen(exchange)
    request = exchange.request
    request.settle()
    request.headers.set(dialects.correlation_header(exchange.dialect), exchange.correlation.encode())


def _finish(exchange: Exchange, response: Response) -> Response:
    """Make a response what goes to the client."""
    if exchange.state:
        try:
            widening.trim(exchange, response)
        except Unreadable as error:
            exchange.verdict = Verdict(by="proxy", cause=error.cause)
            response = _error(exchange, error.status)
            for edit in exchange.deferred:
                edit(response.headers)
    response.settle()
    response.headers.set(dialects.correlation_header(exchange.dialect), exchange.correlation.encode())
    exchange.response = response
    return response


def _draw(exchange: Exchange) -> Result | Pending:
    """Keep each rule with a `fraction` in that share of the exchanges, one `sticky` value always on the same side."""
    kept: list[Chosen] = []
    for chosen in exchange.chosen:
        rule = chosen.rule
        if rule.fraction < 1:
            exchange.rule, exchange.params = rule, chosen.params
            try:
                key = exchange.entropy(16) if rule.sticky is None else str(rule.sticky(exchange)).encode()
            except Exception as error:
                status, cause = classify(error, rule.sticky_side)
                if rule.skip_errors and status >= 500:
                    exchange.notes.append(Note("skipped", rule.name, "warning", cause))
                    continue
                exchange.verdict = Verdict(by="proxy", rule=rule.name, step="sticky", cause=cause)
                return _arrive(exchange, _error(exchange, status), last=True)
            digest = hashlib.sha256(rule.name.encode() + b"\0" + key).digest()
            if int.from_bytes(digest[:7], "big") / (1 << 56) >= rule.fraction:
                continue
        kept.append(chosen)
    exchange.chosen = tuple(kept)
    return None


def classify(error: Exception, side: Side | None) -> tuple[int, str]:
    """Give the status and the cause of a rule's error (LANGUAGE semantic 5); a cause holds no value."""
    if isinstance(error, Unreadable | EffectFailed):
        return error.status, error.cause
    if isinstance(error, EvaluationError):
        side = error.side or side
        cause = error.cause
    elif isinstance(error, ABSORBED):
        cause = f"an expression failed: {type(error).__name__}"
    else:
        return 500, f"{type(error).__name__} in the rule"
    if side == "request":
        return 400, cause
    return (502 if side == "response" else 500), cause


def _fork(exchange: Exchange) -> Exchange:
    """Copy an exchange so that a rule in shadow can do to it what it likes."""
    twin = object.__new__(Exchange)
    for slot in Exchange.__slots__:
        setattr(twin, slot, getattr(exchange, slot))
    twin.request = exchange.request.copy()
    twin.response = exchange.response.copy() if exchange.response is not None else None
    twin.variables = dict(exchange.variables)
    twin.deferred = list(exchange.deferred)
    twin.state = dict(exchange.state)
    twin.notes = []
    twin.verdict = Verdict()
    return twin


class _Phase:
    """One run over the rules of a phase, which can be left at an effect and taken up again.

    `last` says that the answer is one that a final step or the proxy made: a final step now ends the exchange.
    """

    __slots__ = ("_budget", "_earlier", "_generator", "_rule", "_saved", "_step", "exchange", "last", "real", "rules")

    def __init__(self, exchange: Exchange, rules: tuple[Chosen, ...], *, last: bool) -> None:
        self.exchange = exchange
        # The exchange that counts, while `exchange` is the copy that a rule in shadow sees.
        self.real = exchange
        self.rules = rules
        self.last = last
        # Why there is the answer that a step now may replace.
        self._earlier = exchange.verdict if last else None
        self._rule = 0
        self._step = 0
        self._budget = 0.0
        self._generator: Generator[Effect, Any, Outcome] | None = None
        self._saved: Exchange | None = None

    def resume(self, result: Any, error: EffectFailed | None, spent: float) -> Result | Pending:
        self._budget -= spent
        generator = self._generator
        if generator is None:
            raise RuntimeError("no effect is pending")
        return self._advance(lambda: generator.send(result) if error is None else generator.throw(error))

    def go(self) -> Result | Pending:
        """Run on until an answer, an effect, or the end of the phase."""
        rules, phase = self.rules, self.real.phase
        while self._rule < len(rules):
            chosen = rules[self._rule]
            rule = chosen.rule
            steps = rule.before if phase == "before" else rule.after if phase == "after" else rule.resume
            if steps:
                if self._step == 0:
                    self._enter(chosen)
                exchange = self.exchange
                step = None
                try:
                    while self._step < len(steps):
                        step = steps[self._step]
                        if step.when is not None:
                            held = step.when(exchange)
                            if held is False:
                                self._step += 1
                                continue
                            if held is not True:
                                raise EvaluationError("`when` did not give a boolean")
                        outcome = step.run(exchange)
                        if outcome is not None:
                            if isinstance(outcome, Generator):
                                self._generator = outcome
                                return self._advance(lambda: next(outcome))  # noqa: B023
                            return self._final(outcome, step)
                        self._step += 1
                except Exception as error:
                    return self._fault(error, step)
                self._leave()
            self._rule += 1
            self._step = 0
        return self._end(None)

    def _advance(self, move: Callable[[], Effect]) -> Result | Pending:
        """Move the step's generator on to its next effect or its outcome."""
        step = self._current()
        try:
            effect = move()
        except StopIteration as stop:
            self._generator = None
            if stop.value is not None:
                return self._final(stop.value, step)
            self._step += 1
            if self._step >= len(self._steps()):
                self._leave()
                self._rule += 1
                self._step = 0
            return self.go()
        except Exception as error:
            self._generator = None
            return self._fault(error, step)
        if self.exchange is not self.real and not effect.safe:
            self._generator.close() if self._generator else None
            self._generator = None
            return self._shadowed(f"{step.action} was not done, and what follows was not evaluated")
        if self._budget <= 0:
            self._generator.close() if self._generator else None
            self._generator = None
            return self._fault(EffectFailed("the rule's time is used up", late=True), step)
        return Pending(self, effect, self._budget)

    def _steps(self) -> tuple[Step, ...]:
        rule = self.rules[self._rule].rule
        return {"before": rule.before, "after": rule.after}.get(self.real.phase, rule.resume)

    def _current(self) -> Step:
        return self._steps()[self._step]

    def _enter(self, chosen: Chosen) -> None:
        rule = chosen.rule
        self._budget = rule.timeout
        if rule.shadow:
            self.exchange = _fork(self.real)
            self.exchange.variables.update(self.real.shadowed.get(rule.name, ()))
        else:
            if rule.skip_errors:
                self._saved = _fork(self.real)
            if rule.name not in self.real.ran:
                self.real.ran.append(rule.name)
        self.exchange.rule = rule
        self.exchange.params = chosen.params

    def _leave(self) -> None:
        """Leave a rule that came to its end."""
        if self.exchange is not self.real:
            name = self.rules[self._rule].rule.name
            self.real.notes.append(Note("shadow", name, "info", "would have gone on"))
            known = self.real.variables
            found = self.exchange.variables
            # Its own later steps read them; no other rule does.
            self.real.shadowed[name] = {key: found[key] for key in found if found[key] is not known.get(key, found)}
            self.exchange = self.real
        self._saved = None

    def _next_rule(self) -> Result | Pending:
        self.exchange = self.real
        self._saved = None
        self._rule += 1
        self._step = 0
        return self.go()

    def _shadowed(self, message: str) -> Result | Pending:
        self.real.notes.append(Note("shadow", self.rules[self._rule].rule.name, "info", message))
        return self._next_rule()

    def _final(self, outcome: Response | Flow, step: Step) -> Result | Pending:
        rule = self.rules[self._rule].rule
        if self.exchange is not self.real:
            what = "ended the phase" if isinstance(outcome, Flow) else f"answered {outcome.status} ({step.action})"
            return self._shadowed(f"would have {what}")
        if isinstance(outcome, Flow):
            self.real.ended = True
            return self._end(None)
        # What an action has to say of its answer stands in a verdict of its own.
        verdict = Verdict() if self.real.verdict is self._earlier else self.real.verdict
        verdict.by, verdict.rule, verdict.step, verdict.action = "rule", rule.name, step.name, step.action
        self._decide(verdict)
        return self._end(outcome)

    def _decide(self, verdict: Verdict) -> None:
        """Take a verdict; the log keeps why there was an answer that this one replaces."""
        earlier = self._earlier
        if earlier is not None:
            why = earlier.cause or earlier.reason or earlier.action or "no reason given"
            message = f"replaced the answer of {earlier.rule or 'the proxy'} ({earlier.step or 'no step'}: {why})"
            level = "warning" if earlier.by == "proxy" else "info"
            self.real.notes.append(Note("replaced", verdict.rule or "", level, message))
        self.real.verdict = verdict

    def _fault(self, error: Exception, step: Step | None) -> Result | Pending:
        rule = self.rules[self._rule].rule
        status, cause = classify(error, step.side if step else None)
        name = step.name if step else None
        if self.exchange is not self.real:
            return self._shadowed(f"would have failed with {status} in {name}: {cause}")
        if rule.skip_errors and status >= 500 and self._saved is not None:
            self._restore(self._saved)
            self.real.chosen = tuple(chosen for chosen in self.real.chosen if chosen.rule is not rule)
            self.real.notes.append(Note("skipped", rule.name, "warning", f"{name}: {cause}"))
            return self._next_rule()
        action = step.action if step else None
        self._decide(Verdict(by="proxy", rule=rule.name, step=name, action=action, cause=cause))
        return self._end(_error(self.real, status))

    def _restore(self, saved: Exchange) -> None:
        real = self.real
        real.request, real.response = saved.request, saved.response
        real.variables, real.deferred, real.state = saved.variables, saved.deferred, saved.state

    def _end(self, answer: Response | None) -> Result | Pending:
        exchange = self.real
        if answer is not None:
            if not self.last:
                return _arrive(exchange, answer, last=True)
            for edit in exchange.deferred:
                edit(answer.headers)
            return _finish(exchange, answer)
        if exchange.phase == "before":
            try:
                _forward(exchange)
            except Unreadable as error:
                return refuse(exchange, error.status, error.cause)
            return None
        if exchange.response is None:
            raise RuntimeError("a phase after the answer has no answer")
        return _finish(exchange, exchange.response)
