"""Where rules run beside the proxy itself: what each way of asking lets them do, and which rules it cannot run.

What a target does not tell of a message, or does not let be edited, no rule on it may need: a rule that did a part of
what it says would be worse than none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from . import model
from .environment import Loc, RuleScope, StepScope

CODE = "not-on-target"


@dataclass(frozen=True, slots=True)
class Target:
    """A way in which another proxy asks for the rules. `title` is what it is called in an error.

    `answers`: it tells of the upstream's answers and lets them be edited. `bodies`: it tells the request's body.
    `edits`: the actions by which a request may be edited, beside its headers and cookies. `reasons`: a status has a
    reason phrase. `passes`: a status of 2xx lets the request go on, so that no answer can have one. `named`: it
    edits only the headers whose names stand in its configuration.
    """

    title: str
    answers: bool = False
    bodies: bool = False
    edits: frozenset[str] = frozenset()
    reasons: bool = False
    passes: bool = False
    named: bool = False


# The proxy itself lets rules do everything, and is none of them.
TARGETS: dict[str, Target] = {
    "ext_proc": Target(
        "Envoy's external processing", answers=True, bodies=True, edits=frozenset({"body", "path", "method", "query"})
    ),
    "ext_authz": Target("Envoy's external authorization", bodies=True, edits=frozenset({"path", "method", "query"})),
    "ext_authz_http": Target("Envoy's external authorization over HTTP", bodies=True, passes=True),
    "forward_auth": Target("forward-auth", passes=True, named=True),
    "forward_auth_body": Target("forward-auth", bodies=True, passes=True, named=True),
}
# Other names of targets, for `vestibule check`.
ALIASES = {"envoy": "ext_proc"}

# What is done to an answer before there is one.
_ON_ANSWERS = {
    "response_headers": "edits the upstream's answer",
    "once": "keeps the upstream's answer for others",
}
_EDITS = {
    "body": "the request's body cannot be edited",
    "path": "the path cannot be edited",
    "method": "the method cannot be edited",
    "query": "the query cannot be edited",
}


class Draft(Protocol):
    """What is known of a rule once it is compiled (see compile.Draft)."""

    model: model.Rule
    scope: RuleScope
    steps: list[tuple[StepScope, str, Any]]


def check(drafts: Iterable[Draft], target: str) -> None:
    """Report every step of the rules that a target cannot run, each at its place, with the reason."""
    found = TARGETS[ALIASES.get(target, target)]
    for draft in drafts:
        for loc, reason in limits_of(draft, found):
            scope = draft.scope
            text = f"{found.title} cannot run this: {reason}"
            scope.problems.error(CODE, text, scope.document.source.name, scope.document.mark(loc, key=True))


def limits_of(draft: Draft, target: Target) -> Iterator[tuple[Loc, str]]:
    """Give the places of a rule that a target cannot run, and why."""
    rule, scope = draft.model, draft.scope
    origins = rule.match.origin or ["upstream"]
    if rule.after and "upstream" in origins and not target.answers:
        yield (*scope.loc, "after"), "the answer of the upstream is not seen; `match: {origin: [rule, proxy]}` is"
    if rule.sticky is not None and draft.scope.needs_request and not target.bodies:
        yield (*scope.loc, "sticky"), "the request's body is not told"
    for step, action, data in draft.steps:
        settings = data[action]
        if target.passes and _lets_pass(action, settings):
            yield step.loc, "its answer has a status of 2xx, by which the request goes on; 4xx and 5xx do not"
        if "response.message" in step.footprints and not target.reasons:
            yield step.loc, "the reason phrase of an answer is not told"
        if step.phase == "before":
            yield from ((step.loc, reason) for reason in _before(step, action, settings, target))
        elif action == "status" and not target.reasons and isinstance(settings, Mapping) and "reason" in settings:
            yield (*step.loc, "reason"), "its answers have no reason phrase"


def _lets_pass(action: str, settings: Any) -> bool:
    if action not in ("respond", "status"):
        return False
    key, default = ("status", 200) if action == "respond" else ("code", 0)
    status = settings.get(key, default) if isinstance(settings, Mapping) else settings
    return isinstance(status, int) and 200 <= status < 300


def _before(step: StepScope, action: str, settings: Any, target: Target) -> Iterator[str]:
    if action in _EDITS and action not in target.edits:
        yield _EDITS[action]
    elif "request.body" in step.footprints and not target.bodies:
        yield "the request's body is not told"
    if action == "headers" and target.named and any("*" in name for name in settings.get("remove", ())):
        yield "its headers are dropped by their whole names, which stand in the configuration of the proxy that asks"
    if action in _ON_ANSWERS and not target.answers:
        yield f"`{action}` {_ON_ANSWERS[action]}, which is not seen"
    if action == "limit" and not target.answers and isinstance(settings, Mapping) and "failures" in settings:
        yield "whether a try failed is told by the upstream's answer, which is not seen; `requests` can be counted"
