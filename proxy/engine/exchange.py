"""An exchange: a request, its response, and what the rules learned on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import EvaluationError

if TYPE_CHECKING:
    from .message import Headers, Line, Request, Response
    from .obligations import Obligations
    from .ruleset import Choice, Operation, Rule, Ruleset
    from .suspension import Suspended


_DENIALS = frozenset({"deny", "limit", "verify_token", "verify_redirect_token"})


@dataclass(slots=True)
class Verdict:
    """Why an exchange ended as it did. `by` is who answered: upstream, rule or proxy.

    `reason` may be shown to the client, `detail` and `cause` only to the operator. `cause` holds no value of a message;
    the others may, with what is secret masked. `varies` says that `code` was made from a message, so that it names no
    kind of verdict; `suspends` that the upstream's answer is withheld.
    """

    by: str = "upstream"
    rule: str | None = None
    step: str | None = None
    action: str | None = None
    reason: str | None = None
    detail: str | None = None
    code: str | None = None
    cause: str | None = None
    varies: bool = False
    suspends: bool = False

    @property
    def denies(self) -> bool:
        """Say whether a rule refused, by whichever of the actions that can."""
        return self.by == "rule" and self.action in _DENIALS


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the operator's log that a rule asked for, or that a rule in shadow or a skipped rule left."""

    kind: str
    rule: str
    level: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deferred:
    """An edit of `response_headers`: what it writes is known, it is laid on each answer as it comes into being.

    `name` is that of the edit among its rule's, so that it can be found again after a suspension.
    """

    rule: str
    name: str
    values: tuple[bytes, ...]
    apply: Callable[[Headers, tuple[bytes, ...]], None]

    def lay(self, headers: Headers) -> None:
        self.apply(headers, self.values)


class Exchange:
    """One request on its way through the rules.

    The rule set is fixed when the exchange begins, so a reload never splits it. `clock` gives seconds since the epoch,
    `entropy` n random bytes; both come from outside, so that tests can fix them.
    """

    __slots__ = (
        "_now", "chosen", "clock", "continues", "correlation", "deferred", "dialect", "ended", "entropy",
        "notes", "obligations", "operation", "params", "phase", "proved", "ran", "received", "request", "response",
        "rule", "ruleset", "shadowed", "state", "status", "suspended", "variables", "verdict",
    )  # fmt: skip

    def __init__(
        self,
        ruleset: Ruleset,
        request: Request,
        *,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self.ruleset = ruleset
        self.request = request
        # The method and the header lines that the client sent who is answered, whatever rules make of them.
        self.received: tuple[str, tuple[Line, ...]] = request.method, tuple(request.headers.lines)
        self.clock = clock
        self.entropy = entropy
        self.response: Response | None = None
        self.chosen: Choice = ruleset.none
        self.operation: Operation | None = None
        self.dialect: str = ruleset.dialect
        # The id that ties the client's answer, the upstream's log and ours together.
        self.correlation: str = ""
        self.params: dict[str, str] = {}
        self.variables: dict[str, Any] = {}
        # Those that a rule in shadow set for itself, by rule.
        self.shadowed: dict[str, dict[str, Any]] = {}
        self.deferred: list[Deferred] = []
        # What must be done when its answer comes, whoever gives it; None while there is nothing.
        self.obligations: Obligations | None = None
        # Who was suspended, while somebody who came back is being asked who he is; then the id of that exchange.
        self.suspended: Suspended | None = None
        self.continues: str | None = None
        # The second factors that were proved in this exchange.
        self.proved: tuple[str, ...] = ()
        self.phase: str = "before"
        self.rule: Rule | None = None
        # The status of the answer as it arrived, before any edit.
        self.status: int = 0
        # `end: true` was reached in this phase.
        self.ended = False
        self.ran: list[str] = []
        self.notes: list[Note] = []
        self.verdict = Verdict()
        self._now: float | None = None
        # What only one feature keeps for an exchange: by name, so that the engine need not know it.
        self.state: dict[str, Any] = {}

    def fork(self) -> Exchange:
        """Copy an exchange so that a rule can do to the copy what it likes; its notes and its verdict begin anew."""
        twin = Exchange(self.ruleset, self.request.copy(), clock=self.clock, entropy=self.entropy)
        twin.received = self.received
        twin.response = self.response.copy() if self.response is not None else None
        twin.chosen = self.chosen
        twin.operation = self.operation
        twin.dialect = self.dialect
        twin.correlation = self.correlation
        twin.params = self.params
        twin.variables = dict(self.variables)
        twin.shadowed = self.shadowed
        twin.deferred = list(self.deferred)
        twin.obligations = self.obligations
        twin.suspended = self.suspended
        twin.continues = self.continues
        twin.proved = self.proved
        twin.phase = self.phase
        twin.rule = self.rule
        twin.status = self.status
        twin.ended = self.ended
        twin.ran = self.ran
        twin._now = self._now
        twin.state = dict(self.state)
        return twin

    @property
    def now(self) -> float:
        """The time in seconds since the epoch, read once per phase."""
        now = self._now
        if now is None:
            now = self._now = self.clock()
        return now

    @property
    def navigates(self) -> bool:
        """Say whether a browser navigates: `Sec-Fetch-Mode: navigate`, else an Accept that names text/html."""
        sent = {key: value for key, _, value in self.received[1] if key in (b"sec-fetch-mode", b"accept")}
        mode = sent.get(b"sec-fetch-mode")
        if mode is not None:
            return mode.strip().lower() == b"navigate"
        accepted = sent.get(b"accept", b"").split(b",")
        return any(part.partition(b";")[0].strip().lower() == b"text/html" for part in accepted)

    def enter(self, phase: str) -> None:
        """Begin a phase: a new reading of the clock, no end reached."""
        self.phase = phase
        self._now = None
        self.ended = False

    def answer(self) -> Response:
        """Return the response; a rule that asks for one before there is one has an EvaluationError."""
        if self.response is None:
            raise EvaluationError("there is no response yet")
        return self.response

    def variable(self, name: str) -> Any:
        """Return a variable; one whose step did not run is an EvaluationError."""
        try:
            return self.variables[name]
        except KeyError:
            raise EvaluationError(f"the variable {name!r} was not set: its step did not run") from None
