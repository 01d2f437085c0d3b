"""One phase of an exchange: its rules in order, their steps, what they come to, and how the exchange goes on.

This is the only place that knows about order, `when`, `on_error`, shadow and whose answer it is. A phase can be left at
an effect and taken up again. How an exchange begins and what a shell may ask of it is in run.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from . import dialects, obligations, readability, results, widening
from .effects import Effect, StoreIncrement, StoreSet, StoreTake
from .errors import EffectFailed, EvaluationError, Unreadable, Unusable
from .exchange import Exchange, Note, Verdict
from .faults import classify, error_answer
from .message import Response
from .ruleset import Choice, Chosen, Flow, Outcome, Rule, Step
from .suspension import NotResumable, Suspend, freeze, key_of

Result = Response | None

# How long what an exchange owes may take, in seconds.
_PATIENCE = 5.0
# A return with a wrong token leaves the state for the right one, so often.
_WRONG_RETURNS = 10


class Pending:
    """A phase that waits for an effect. `budget` is what is left of the rule's time, in seconds."""

    __slots__ = ("_waiting", "budget", "effect")

    def __init__(self, waiting: Phase | Errand, effect: Effect, budget: float) -> None:
        self._waiting = waiting
        self.effect = effect
        self.budget = budget

    def resume(self, result: Any, spent: float) -> Result | Pending:
        """Go on with the effect's result; `spent` is how long it took, in seconds."""
        return self._waiting.resume(result, None, spent)

    def fail(self, error: EffectFailed, spent: float) -> Result | Pending:
        """Go on with an effect that failed or was late."""
        return self._waiting.resume(None, error, spent)


class Errand:
    """Effects that an exchange needs outside the steps of a rule; its generator returns what comes of them."""

    __slots__ = ("_budget", "_exchange", "_generator", "_rule", "_step")

    def __init__(
        self,
        exchange: Exchange,
        generator: Generator[Effect, Any, Result | Pending],
        *,
        budget: float = _PATIENCE,
        rule: Rule | None = None,
        step: str | None = None,
    ) -> None:
        self._exchange = exchange
        self._generator = generator
        self._budget = budget
        self._rule = rule
        self._step = step

    def go(self) -> Result | Pending:
        """Run on until an answer, an effect, or the end."""
        return self._advance(lambda: next(self._generator))

    def resume(self, result: Any, error: EffectFailed | None, spent: float) -> Result | Pending:
        self._budget -= spent
        generator = self._generator
        return self._advance(lambda: generator.send(result) if error is None else generator.throw(error))

    def _advance(self, move: Callable[[], Effect]) -> Result | Pending:
        exchange = self._exchange
        while True:
            try:
                effect = move()
            except StopIteration as stop:
                found: Result | Pending = stop.value
                return found
            except NotResumable as refused:
                return turn_away(exchange, refused.cause)
            except Exception as error:
                status, cause = classify(error, None)
                rule = self._rule.name if self._rule is not None else None
                exchange.verdict = Verdict(by="proxy", rule=rule, step=self._step, cause=cause)
                return arrive(exchange, error_answer(exchange, status), last=True)
            if self._budget > 0:
                return Pending(self, effect, self._budget)
            move = self._late

    def _late(self) -> Effect:
        return self._generator.throw(EffectFailed("the rule's time is used up", late=True))


class Phase:
    """One run over the rules of a phase, which can be left at an effect and taken up again.

    `last` says that the answer is one that a final step or the proxy made: a final step now ends the exchange. `step`
    is where the first rule goes on.
    """

    __slots__ = (
        "_budget", "_earlier", "_entered", "_generator", "_rule", "_saved", "_step", "exchange", "last", "real",
        "rules",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, rules: tuple[Chosen, ...], *, last: bool, step: int = 0) -> None:
        self.exchange = exchange
        # The exchange that counts, while `exchange` is the copy that a rule in shadow sees.
        self.real = exchange
        self.rules = rules
        self.last = last
        # Why there is the answer that a step now may replace.
        self._earlier = exchange.verdict if last else None
        self._rule = 0
        self._step = step
        self._entered = False
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
                if not self._entered:
                    self._enter(chosen)
                exchange = self.exchange
                at = self._step
                step: Step | None = None
                try:
                    for at in range(self._step, len(steps)):
                        step = steps[at]
                        if step.when is not None:
                            held = step.when(exchange)
                            if held is False:
                                continue
                            if held is not True:
                                raise EvaluationError("`when` did not give a boolean")
                        outcome = step.run(exchange)
                        if outcome is not None:
                            self._step = at
                            if isinstance(outcome, Generator):
                                self._generator = outcome
                                return self._advance(lambda: next(outcome))  # noqa: B023
                            return self._final(outcome, step)
                except Exception as error:
                    self._step = at
                    return self._fault(error, step)
                if exchange is not self.real or self._saved is not None:
                    self._leave()
            self._rule += 1
            self._step = 0
            self._entered = False
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
        rule, exchange = chosen.rule, self.real
        self._entered = True
        self._budget = rule.timeout
        if rule.shadow:
            exchange = self.exchange = exchange.fork()
            exchange.variables.update(self.real.shadowed.get(rule.name, ()))
        else:
            if rule.skip_errors:
                self._saved = exchange.fork()
            if rule.name not in exchange.ran:
                exchange.ran.append(rule.name)
        exchange.rule = rule
        exchange.params = chosen.params

    def _leave(self) -> None:
        """Leave a rule that came to its end."""
        if self.exchange is not self.real:
            name = self.rules[self._rule].rule.name
            # What its steps noted of themselves comes first.
            self.real.notes += [note for note in self.exchange.notes if note.kind == "shadow"]
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
        self._entered = False
        return self.go()

    def _shadowed(self, message: str) -> Result | Pending:
        self.real.notes.append(Note("shadow", self.rules[self._rule].rule.name, "info", message))
        return self._next_rule()

    def _final(self, outcome: Response | Flow | Suspend, step: Step) -> Result | Pending:
        rule = self.rules[self._rule].rule
        if self.exchange is not self.real:
            if isinstance(outcome, Response):
                what = f"answered {outcome.status} ({step.action})"
            else:
                what = "ended the phase" if isinstance(outcome, Flow) else "suspended the exchange"
            return self._shadowed(f"would have {what}")
        if self._proves:
            return Errand(self.real, _count_wrong(self.real, self.real.verdict.cause or "it was not proved")).go()
        if isinstance(outcome, Flow):
            self.real.ended = True
            return self._end(None)
        # What an action has to say of its answer stands in a verdict of its own.
        verdict = Verdict() if self.real.verdict is self._earlier else self.real.verdict
        verdict.by, verdict.rule, verdict.step, verdict.action = "rule", rule.name, step.name, step.action
        self._decide(verdict)
        if isinstance(outcome, Suspend):
            verdict.suspends = True
            return self._suspend(outcome, step)
        return self._end(outcome)

    @property
    def _proves(self) -> bool:
        """Say whether the step is the one by which a return proves itself."""
        return self.real.phase == "continue" and self._step == 0

    def _suspend(self, suspend: Suspend, step: Step) -> Result | Pending:
        """Withhold the response, and answer with what the step gave instead."""
        real, rule = self.real, self.rules[self._rule].rule
        try:
            if self.last or real.phase != "after":
                raise EvaluationError("only an answer of the upstream's can be withheld")
            data = freeze(real, rule, self._step, self.rules[self._rule + 1 :], suspend)
        except Exception as error:
            return self._fault(error, step)

        def keep() -> Generator[Effect, Any, Result | Pending]:
            yield StoreSet(key_of(suspend.state), data, suspend.ttl)
            return arrive(real, suspend.answer, last=True)

        return Errand(real, keep(), budget=self._budget, rule=rule, step=step.name).go()

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
        if isinstance(error, NotResumable):
            return turn_away(self.real, error.cause)
        if self._proves and not isinstance(error, EffectFailed | Unusable):
            return Errand(self.real, _count_wrong(self.real, cause)).go()
        if rule.skip_errors and status >= 500 and self._saved is not None:
            self._restore(self._saved)
            self.real.chosen = Choice(tuple([one for one in self.real.chosen.rules if one.rule is not rule]))
            self.real.notes.append(Note("skipped", rule.name, "warning", f"{name}: {cause}"))
            return Errand(self.real, self._skip(rule)).go()
        action = step.action if step else None
        self._decide(Verdict(by="proxy", rule=rule.name, step=name, action=action, cause=cause))
        return self._end(error_answer(self.real, status))

    def _skip(self, rule: Rule) -> Generator[Effect, Any, Result | Pending]:
        """Go on without a rule, whose reservations are given back."""
        yield from obligations.give_back(self.real, rule)
        return self._next_rule()

    def _restore(self, saved: Exchange) -> None:
        real = self.real
        real.request, real.response = saved.request, saved.response
        real.variables, real.deferred, real.state = saved.variables, saved.deferred, saved.state
        owed = real.obligations
        if owed is not None and owed.sharing is not None and owed.sharing.rule.name == self.rules[self._rule].rule.name:
            owed.sharing = None

    def _go_on(self) -> Result | Pending:
        """Go on behind the rule that suspended the exchange, as if nobody had been away."""
        exchange, found = self.real, self.real.suspended
        if found is None:
            raise RuntimeError("nothing was suspended")
        exchange.request, exchange.suspended = found.request, None
        exchange.enter("after")
        return Phase(exchange, found.rest, last=False).go()

    def _end(self, answer: Response | None) -> Result | Pending:
        exchange = self.real
        if answer is not None:
            if not self.last:
                return arrive(exchange, answer, last=True)
            for edit in exchange.deferred:
                edit.lay(answer.headers)
            return _finish(exchange, answer)
        if exchange.phase == "before":
            try:
                _forward(exchange)
            except Unreadable as error:
                exchange.verdict = Verdict(by="proxy", cause=error.cause)
                return arrive(exchange, error_answer(exchange, error.status), last=True)
            owed = exchange.obligations
            if owed is None or owed.sharing is None:
                return None
            rule = owed.sharing.rule
            return Errand(exchange, _share(exchange), budget=rule.timeout, rule=rule, step=owed.sharing.step).go()
        if exchange.phase == "continue":
            return self._go_on()
        if exchange.response is None:
            raise RuntimeError("a phase after the answer has no answer")
        return _finish(exchange, exchange.response)


# How an exchange goes on


def arrive(exchange: Exchange, response: Response, *, last: bool) -> Result | Pending:
    """Let an answer come into being: what is owed is met, then the `after` rules that are for it run."""
    exchange.response = response
    exchange.status = status = response.status
    exchange.enter("after")
    owed = exchange.obligations
    if owed is not None and owed.pending:
        return Errand(exchange, _meet(exchange, response, last=last)).go()
    for edit in exchange.deferred:
        edit.lay(response.headers)
    rules, _ = exchange.chosen.for_answer(response.origin, status)
    return Phase(exchange, rules, last=last).go()


def _meet(exchange: Exchange, response: Response, *, last: bool) -> Generator[Effect, Any, Result | Pending]:
    """Meet what the exchange owes, then let the answer arrive; a limit that cannot tell is an error of its rule."""
    wrong = yield from obligations.meet(exchange, response)
    if wrong is not None:
        one, error = wrong
        status, cause = classify(error, "response")
        if one.rule.skip_errors:
            exchange.notes.append(Note("skipped", one.rule.name, "warning", f"{one.step}: {cause}"))
        else:
            exchange.verdict = Verdict(by="proxy", rule=one.rule.name, step=one.step, action="limit", cause=cause)
            return arrive(exchange, error_answer(exchange, status), last=True)
    return arrive(exchange, response, last=last)


def _share(exchange: Exchange) -> Generator[Effect, Any, Result | Pending]:
    """Go on with the upstream call that others share: by making it, or with the answer that it gave."""
    response = yield from obligations.share(exchange, exchange.request)
    return None if response is None else arrive(exchange, response, last=False)


def _forward(exchange: Exchange) -> None:
    """Make the request what goes upstream."""
    widening.widen(exchange)
    readability.ask_for_all(exchange)
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
            response = error_answer(exchange, error.status)
            for edit in exchange.deferred:
                edit.lay(response.headers)
        if response.origin == "upstream":
            results.lead_on(exchange, response)
    response.settle()
    response.headers.set(dialects.correlation_header(exchange.dialect), exchange.correlation.encode())
    exchange.response = response
    return response


def turn_away(exchange: Exchange, cause: str) -> Response:
    """Answer a return that leads nowhere: the same for every cause, past all rules."""
    exchange.verdict = Verdict(by="proxy", code="invalid_state", cause=cause)
    response = dialects.answer(
        exchange.ruleset.dialect,
        401,
        correlation=exchange.correlation,
        limits=exchange.request.limits,
        code="invalid_state",
        reason="This sign-in cannot be continued. Begin again.",
        origin="proxy",
    )
    exchange.response = response
    exchange.status = response.status
    return response


def _count_wrong(exchange: Exchange, cause: str) -> Generator[Effect, Any, Result | Pending]:
    """Count a return that did not prove itself; too many burn the state."""
    found = exchange.suspended
    if found is not None and (yield StoreIncrement(f"wrong\0{found.state}", found.life)) >= _WRONG_RETURNS:
        yield StoreTake(key_of(found.state))
    raise NotResumable(cause)
