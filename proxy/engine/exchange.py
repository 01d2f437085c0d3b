"""An exchange: a request, its response, and what the rules learned on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import EvaluationError

if TYPE_CHECKING:
    from .message import Headers, Request, Response
    from .ruleset import Chosen, Operation, Rule, Ruleset


@dataclass(slots=True)
class Verdict:
    """Why an exchange ended as it did. `by` is who answered: upstream, rule or proxy.

    `reason` may be shown to the client, `detail` and `cause` only to the operator. `cause` holds no value of a message;
    the others may, with what is secret masked.
    """

    by: str = "upstream"
    rule: str | None = None
    step: str | None = None
    action: str | None = None
    reason: str | None = None
    detail: str | None = None
    code: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the operator's log that a rule asked for, or that a rule in shadow or a skipped rule left."""

    kind: str
    rule: str
    level: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)


class Exchange:
    """One request on its way through the rules.

    The rule set is fixed when the exchange begins, so a reload never splits it. `clock` gives seconds since the epoch,
    `entropy` n random bytes; both come from outside, so that tests can fix them.
    """

    __slots__ = (
        "_now", "chosen", "clock", "correlation", "deferred", "dialect", "ended", "entropy", "notes",
        "operation", "params", "phase", "ran", "request", "response", "rule", "ruleset", "shadowed", "state", "status",
        "variables", "verdict",
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
        self.clock = clock
        self.entropy = entropy
        self.response: Response | None = None
        self.chosen: tuple[Chosen, ...] = ()
        self.operation: Operation | None = None
        self.dialect: str = ruleset.dialect
        # The id that ties the client's answer, the upstream's log and ours together.
        self.correlation: str = ""
        self.params: dict[str, str] = {}
        self.variables: dict[str, Any] = {}
        # Those that a rule in shadow set for itself, by rule.
        self.shadowed: dict[str, dict[str, Any]] = {}
        # Edits of `response_headers`, laid on each answer as it comes into being.
        self.deferred: list[Callable[[Headers], None]] = []
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

    @property
    def now(self) -> float:
        """The time in seconds since the epoch, read once per phase."""
        now = self._now
        if now is None:
            now = self._now = self.clock()
        return now

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
