"""One exchange whose messages another proxy carries: its rules, phase by phase, with the effects that they wait for.

It is what `edge/passage.py` is where the messages pass through here. Nothing here knows a protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from ..engine import returns, run
from ..engine.errors import EffectFailed, Unreadable
from ..engine.exchange import Exchange
from ..engine.message import Limits, Request, Response
from ..engine.ruleset import Ruleset
from ..observe.facts import Facts
from ..observe.trace import Traces, read

if TYPE_CHECKING:
    from ..edge.gateway import Perform, Record, Tell
    from ..edge.memory import Memory
    from ..edge.options import Bounds, Deadlines, Trust
    from ..observe.recorder import Recorder
    from ..observe.tape import Tape


Commit = Callable[[], Awaitable[None]]

_SENDS = frozenset({"POST", "PUT", "PATCH"})


class Worker(Protocol):
    """What adapters need of the worker that they run in; a Gateway has it. A reload assigns `ruleset`."""

    ruleset: Ruleset
    clock: Callable[[], float]
    entropy: Callable[[int], bytes]
    perform: Perform
    record: Record
    tell: Tell
    limits: Limits
    bounds: Bounds
    deadlines: Deadlines
    trust: Trust
    traces: Traces | None
    recorder: Recorder | None
    memory: Memory

    def refusal(self, status: int, correlation: str) -> Response:
        """Build an answer to something that was no request."""


def unread(worker: Worker, client: str, status: int, cause: str) -> Response:
    """Answer, and log, what was no request that rules could be asked about."""
    correlation = worker.entropy(16).hex()
    worker.record(None, Facts(client, status=status, error=cause, correlation=correlation))
    return worker.refusal(status, correlation)


def seems_to_have_body(request: Request) -> bool:
    """Say whether a request whose body is not told looks as if it had one; a rule that finds none must not let it pass
    for that.
    """
    return request.method in _SENDS or b"content-type" in request.headers


class Processing:
    """The rules of one exchange, in the order in which its messages come by.

    Call `begin` when the request is there, and its body was received if `needs_request` says so; where that gives no
    answer, let the request go on, say so by `forward`, and call `after` with the upstream's answer, or `refuse` where
    there is none; and always, at last, `close`. Where the caller is cancelled meanwhile, what runs goes on to its end,
    and `close` meets what the exchange owes to others. Nothing is raised for what a rule or a message does: it becomes
    the answer that was declared for it. `commit` is awaited before the first effect: until then nothing has come of the
    rules, and whoever lost the connection here may ask another instance.
    """

    def __init__(self, worker: Worker, request: Request, commit: Commit | None = None) -> None:
        self._worker = worker
        self._commit = commit
        self._started = perf_counter()
        self._running: asyncio.Task[Response | None] | None = None
        self._unreadable: Unreadable | None = None
        self._fault: Exception | None = None
        self._asked: float | None = None  # when the request went on
        self.answered = False
        self.facts = Facts(request.ip, request.method, request.url)
        sent = request.headers.values(b"traceparent")
        heard = (sent[0] if len(sent) == 1 else b"") if sent else None
        if worker.traces is not None:
            self.facts.trace = worker.traces.begin(heard)
        elif heard is not None:
            self.facts.trace = read(heard)
        self.exchange: Exchange = run.begin(worker.ruleset, request, clock=worker.clock, entropy=worker.entropy)
        recorder = worker.recorder
        self._tape: Tape | None = recorder.begin(request, worker.clock()) if recorder is not None else None
        self._held = 0  # bytes of bodies that are counted against the cap on memory, as long as the exchange lasts
        self._short = False
        self.is_return = returns.is_reserved(request.path)
        if not self.is_return:
            try:
                self.exchange.ruleset.choose(self.exchange)
            except Unreadable as unreadable:
                self._unreadable = unreadable
            except Exception as error:
                self._fault = error

    @property
    def needs_request(self) -> bool:
        """Say whether the request's body must be there before `begin`."""
        if self._unreadable is not None or self._fault is not None:
            return False
        return self.is_return or run.needs_request(self.exchange)

    @property
    def longest(self) -> int:
        """Give the most bytes that the request's body may have, where it is read."""
        return min(self._worker.limits.body, returns.LONGEST) if self.is_return else self._worker.limits.body

    def needs_response(self, status: int) -> bool:
        """Say whether the body of the upstream's answer must be there before `after`."""
        return run.needs_response(self.exchange, status)

    def hold(self, size: int) -> bool:
        """Count bytes of a body that is held to the end; say whether memory is short."""
        self._held += size
        self._short = self._worker.memory.take(size)
        return self._short

    def receive(self, content: bytes | None) -> None:
        """Take the request's body, whose bytes are counted by `hold`; None where it has none."""
        self.exchange.request.content = content
        self.facts.received = len(content or b"")
        if self._tape is not None and content is not None:
            self._tape.received.take(content)

    def miss(self, size: int, *, of_answer: bool = False) -> None:
        """Note that a message has a body that is not told here; `size` is 0 where its length is not known."""
        if self._tape is not None:
            (self._tape.returned if of_answer else self._tape.received).miss(size)

    async def begin(self) -> Response | None:
        """Run the rules on the request; None means that it goes on to the upstream as the exchange has it now."""
        if self._unreadable is not None:
            return await self.refuse(self._unreadable.status, self._unreadable.cause)
        if self._fault is not None:
            return await self.refuse(500, f"the rules could not be chosen: {type(self._fault).__name__}")
        content = self.exchange.request.content
        if content is not None and self.needs_request and len(content) > self.longest:
            return await self.refuse(413, "the body is over the limit")
        if self._short:
            return await self.refuse(503, "the proxy is short of memory")
        answer = await self._settle(returns.resume if self.is_return else run.before, self.exchange)
        if answer is None:
            self._asked = perf_counter()
            if self.facts.trace is not None:
                self.facts.trace.lay(self.exchange.request.headers)
        return answer

    def forward(self, *, heard: bool = True) -> None:
        """Note that the request goes on as the exchange has it now; `heard` says that its answer will be told here."""
        if not heard:
            self.facts.status = 200
        if self._tape is not None:
            self._tape.forward(self.exchange.request.copy(), self.exchange.request.content)
            self._tape.unheard = not heard

    async def after(self, response: Response) -> Response:
        """Run the rules on the upstream's answer; gives the answer for the client."""
        self._heard(response.status)
        content = response.content
        if self._tape is not None:
            self._tape.hear(response.status, response.reason, response.headers.lines)
            self._tape.returned.take(content or b"")
        if content is not None and self.needs_response(response.status) and len(content) > self._worker.limits.body:
            return await self.refuse(502, "the answer's body is over the limit")
        if content and self.hold(len(content)):
            return await self.refuse(503, "the proxy is short of memory")
        answer = await self._settle(run.after, self.exchange, response)
        return answer if answer is not None else self.fault(500, "the rules gave no answer")

    async def refuse(self, status: int, cause: str) -> Response:
        """Answer for the proxy itself, by the rules on such answers; `cause` is logged, not shown."""
        self.facts.error = cause
        answer = await self._settle(run.refuse, self.exchange, status, cause)
        if answer is None:
            return self.fault(500, "the rules gave no answer")
        if answer.status == 503 and status == 503:
            answer.headers.set(b"Retry-After", b"1")
        return answer

    async def leave(self, status: int, cause: str) -> None:
        """Let an answer stand that the other proxy gave by itself; what the exchange owes is met."""
        await self.refuse(status, cause)
        self.facts.status = status
        self._forget_answer()

    async def close(self, *, hung_up: bool = False) -> None:
        """End the exchange: what it owes is met, and it is logged. `hung_up` says that nobody took the answer."""
        self.facts.hung_up = hung_up
        if self._running is not None:
            await asyncio.wait([self._running])
        if not self.answered and self.exchange.obligations is not None:
            if self._asked is None:
                await self.refuse(400, "the client hung up")
            else:
                # The upstream may well have tried what it was asked.
                await self._settle(run.lose, self.exchange)
        self.facts.total = (perf_counter() - self._started) * 1000
        self._worker.memory.give(self._held)
        self._worker.record(self.exchange, self.facts)
        tape, recorder = self._tape, self._worker.recorder
        if tape is not None and recorder is not None:
            if hung_up:
                self._forget_answer()
            # The answer goes on its way first.
            asyncio.get_running_loop().call_soon(recorder.end, tape, self.exchange, self.facts)

    def fault(self, status: int, cause: str) -> Response:
        """Answer in place of what cannot be sent, past all rules."""
        self.facts.error = cause
        return self._answer(run.fault(self.exchange, status, cause))

    def _heard(self, status: int) -> None:
        if self._asked is not None:
            self.facts.upstream = (perf_counter() - self._asked) * 1000
            if self.facts.trace is not None:
                self.facts.asked, self.facts.heard = (self._asked - self._started) * 1000, status

    def _answer(self, response: Response) -> Response:
        self.answered = True
        self.facts.status = response.status
        if self._tape is not None:
            self._tape.reply(response, response.content)
        return response

    def _forget_answer(self) -> None:
        """Keep no answer of ours that nobody got."""
        if self._tape is not None:
            self._tape.answer = self._tape.answer_content = None

    async def _settle(self, begin: Callable[..., run.Result | run.Pending], *arguments: Any) -> Response | None:
        """Run a phase to its end, also where the caller is cancelled."""
        try:
            result = begin(*arguments)
            if type(result) is run.Pending:
                self._running = asyncio.ensure_future(self._perform(result))
                answer = await asyncio.shield(self._running)
                self._running = None
            else:
                answer = result  # type: ignore[assignment]
        except Exception as error:
            return self.fault(500, f"a fault of the proxy: {type(error).__name__}")
        return answer if answer is None else self._answer(answer)

    async def _perform(self, pending: run.Pending) -> Response | None:
        if self._commit is not None:
            committed, self._commit = self._commit, None
            await committed()
        while True:
            begun = perf_counter()
            value, failure = await _try(self._worker.perform(pending.effect, self.exchange), pending.budget)
            spent = perf_counter() - begun
            if self._tape is not None:
                rule = self.exchange.rule
                self._tape.perform(rule.name if rule is not None else "", pending.effect, failure or value)
            result = pending.resume(value, spent) if failure is None else pending.fail(failure, spent)
            if type(result) is not run.Pending:
                return result  # type: ignore[return-value]
            pending = result


async def _try(performed: Awaitable[Any], seconds: float) -> tuple[Any, EffectFailed | None]:
    """Await what a service does for a rule; gives its value, or why there is none."""
    try:
        async with asyncio.timeout(seconds):
            return await performed, None
    except TimeoutError:
        return None, EffectFailed("the service did not answer in time", late=True)
    except EffectFailed as failed:
        return None, failed
    except Exception as error:
        return None, EffectFailed(f"the service failed: {type(error).__name__}")
