"""Documents to a Ruleset, with every problem of every file in one run.

Steps are compiled in the order in which they can run (`before` of all rules, then `continue`, then `after`), so that a
variable is known exactly where it may have been set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from pydantic import ValidationError

from ..engine.ruleset import PathPattern, Rule, Ruleset, Step
from ..engine.suspension import resuming_steps
from . import model, targets
from .action import Phase
from .actions import ACTIONS
from .cel import BOOL, CelCodec
from .document import Document, Source, load, plain
from .environment import Options, RuleScope, StepScope
from .functions import rule_functions
from .lint import warn, warn_of_order
from .match import MatchError, compile_path, compile_predicate, compile_statuses, fits
from .packs import Vocabulary
from .problems import Problems, nearest
from .validation import explain_validation, salvage

__all__ = ["Built", "Draft", "Options", "build", "revision"]

_STEP_KEYS = ("when", "name", "description")
_KEYS: tuple[tuple[Phase, str], ...] = (("before", "before"), ("continue", "continue"), ("after", "after"))
# `on_error: continue` would turn each of these into "let it through".
_GUARDS = frozenset({"challenge", "verify_token", "verify_redirect_token", "deny"})
# Steps by which a return proves itself.
_PROOFS = ("verify_redirect_token", "verify_token")


@dataclass(frozen=True, slots=True)
class Built:
    """The result of a build; `ruleset` is None when there are errors."""

    ruleset: Ruleset | None
    problems: Problems


@dataclass(slots=True)
class Draft:
    """A rule between its model and its Rule."""

    model: model.Rule
    scope: RuleScope
    rule: Rule
    sides: dict[str, list[Step]]
    steps: list[tuple[StepScope, str, Any]]


def build(
    sources: Sequence[Source],
    options: Options,
    problems: Problems | None = None,
    *,
    keep: list[Draft] | None = None,
) -> Built:
    """Compile rule files; every problem found is in the result, and with an error there is no rule set.

    What each rule was made from, also one that is off, is left in `keep`, for who explains.
    """
    problems = problems if problems is not None else Problems()
    files = [found for source in sources if (found := _read(source, problems)) is not None]
    vocabulary = _vocabulary(files, options, problems)
    declared: dict[str, Any] = {}
    functions = rule_functions(vocabulary, options)
    drafts: list[Draft] = []
    names: dict[str, tuple[Document, int]] = {}
    for document, file in files:
        for index in range(len(file.rules)):
            draft = _draft(document, file, index, len(drafts), vocabulary, declared, functions, options, problems)
            if draft is None:
                continue
            _check_name(draft, names, index, problems)
            if keep is not None:
                keep.append(draft)
            if draft.model.mode != "off":
                drafts.append(draft)
    for phase, key in _KEYS:
        for draft in drafts:
            _compile_phase(draft, phase, key)
    unverified: set[str] = set()
    for draft in drafts:
        _finish(draft)
        warn(draft.scope, draft.model, draft.steps, unverified)
    for target in options.targets:
        targets.check(drafts, target)
    warn_of_order([(draft.scope, draft.model, draft.steps) for draft in drafts])
    if problems.errors:
        return Built(None, problems)
    return Built(_ruleset(drafts, vocabulary, sources), problems)


def _read(source: Source, problems: Problems) -> tuple[Document, model.RuleFile] | None:
    document = load(source, problems)
    if document is None:
        return None
    try:
        return document, model.RuleFile.model_validate(document.data)
    except ValidationError as error:
        explain_validation(error, model.RuleFile, document, (), problems)
    # Go on with what can be read, so that the rules' own problems come out too.
    data = document.data if isinstance(document.data, dict) else {}
    rules = data.get("rules")
    packs = data.get("packs")
    configuration = data.get("configuration")
    return document, model.RuleFile.model_construct(
        version=1,
        packs=[pack for pack in packs if isinstance(pack, str)] if isinstance(packs, list) else [],
        configuration=configuration if isinstance(configuration, dict) else {},
        rules=rules if isinstance(rules, list) else [],
    )


def _vocabulary(files: Sequence[tuple[Document, model.RuleFile]], options: Options, problems: Problems) -> Vocabulary:
    vocabulary = Vocabulary()
    taken: set[str] = set()
    for document, file in files:
        vocabulary.add_factors(document, problems)
        for index, name in enumerate(file.packs):
            if name in taken:
                continue
            taken.add(name)
            source = options.packs(name)
            if source is None:
                mark = document.mark(("packs", index))
                problems.error("unknown-pack", f"there is no pack {name!r}", document.source.name, mark)
                continue
            pack = load(source, problems)
            if pack is not None:
                vocabulary.add(pack, problems)
    return vocabulary


def _overlay(under: Any, over: Any) -> Any:
    """Lay one configuration over another, maps member by member."""
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{key: _overlay(under.get(key), value) for key, value in over.items()}}
    return over


def _draft(
    document: Document,
    file: model.RuleFile,
    index: int,
    position: int,
    vocabulary: Vocabulary,
    declared: dict[str, Any],
    functions: tuple[Any, ...],
    options: Options,
    problems: Problems,
) -> Draft | None:
    loc = ("rules", index)
    try:
        rule = model.Rule.model_validate(file.rules[index])
    except ValidationError as error:
        explain_validation(error, model.Rule, document, loc, problems)
        # The rest of the rule has its own problems to tell.
        salvaged = salvage(error, model.Rule, file.rules[index], {"name": f"unnamed-{position}-{index}"})
        if salvaged is None:
            return None
        rule = salvaged
    scope = RuleScope(
        name=rule.name,
        document=document,
        loc=loc,
        options=options,
        vocabulary=vocabulary,
        problems=problems,
        match=rule.match,
        configuration=plain(_overlay(file.configuration, rule.configuration)),
        declared=declared,
        functions=functions,
    )
    scope.suspends = bool(rule.continue_)
    scope.factors = vocabulary.factors
    compiled = Rule(
        name=rule.name,
        position=position,
        revision=_revision(document, loc, scope, vocabulary),
        deferrals=scope.deferrals,
        shadow=rule.mode == "shadow",
        fraction=float(rule.fraction),
        skip_errors=rule.on_error == "continue",
        timeout=rule.timeout,
    )
    _compile_match(rule, scope, compiled)
    return Draft(rule, scope, compiled, {"before": [], "after": [], "continue": []}, [])


def _revision(document: Document, loc: tuple[str | int, ...], scope: RuleScope, vocabulary: Vocabulary) -> str:
    """Give a digest of what a rule is compiled from."""
    factors = {name: plain(one.document.at(one.loc)) for name, one in vocabulary.factors.items()}
    parts = (plain(document.at(loc)), scope.configuration, factors)
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def _check_name(draft: Draft, names: dict[str, tuple[Document, int]], index: int, problems: Problems) -> None:
    scope, name = draft.scope, draft.model.name
    mark = scope.document.mark(("rules", index, "name"))
    if not model.RULE_NAME.fullmatch(name):
        text = "a rule's name is letters, digits, `_`, `.` and `-`, 100 at most"
        problems.error("bad-name", text, scope.document.source.name, mark)
    if name in names:
        other, there = names[name]
        line = other.mark(("rules", there, "name")).line
        text = f"the name {name!r} is taken by the rule at {other.source.name}:{line}"
        problems.error("duplicate-name", text, scope.document.source.name, mark)
    names.setdefault(name, (scope.document, index))


def _report(scope: RuleScope, code: str, text: str, *loc: str | int, suggestion: str | None = None,
            warning: bool = False, key: bool = False) -> None:  # fmt: skip
    mark = scope.document.mark((*scope.loc, *loc), key=key)
    report = scope.problems.warning if warning else scope.problems.error
    report(code, text, scope.document.source.name, mark, suggestion)


def _compile_match(rule: model.Rule, scope: RuleScope, compiled: Rule) -> None:
    match = rule.match
    if match.operation is not None:
        known = scope.vocabulary.operations
        for index, name in enumerate(match.operation):
            if name not in known:
                at = ("match", "operation", index) if _is_list(scope, "operation") else ("match", "operation")
                text = f"no pack of this rule set has an operation {name!r}"
                _report(scope, "unknown-operation", text, *at, suggestion=nearest(name, known))
        compiled.operations = tuple(match.operation)
        found = [known[name] for name in match.operation if name in known]
        compiled.paths = tuple(operation.path for operation in found) or compiled.paths
        scope.methods = frozenset(operation.method for operation in found)
    if match.path is not None:
        paths: list[PathPattern] = []
        for index, path in enumerate(match.path):
            try:
                paths.append(compile_path(path))
            except MatchError as error:
                at = ("match", "path", index) if _is_list(scope, "path") else ("match", "path")
                _report(scope, "bad-path", str(error), *at)
            if isinstance(path, str) and path.endswith("/*"):
                scope.prefixes = (*scope.prefixes, path[:-2])
        compiled.paths = tuple(paths) or compiled.paths
    if match.method is not None:
        compiled.methods = frozenset(match.method)
        scope.methods = compiled.methods
    if match.status is not None:
        try:
            compiled.statuses = compile_statuses(match.status)
        except MatchError as error:
            _report(scope, "bad-status", str(error), "match", "status")
    if match.origin is not None:
        compiled.origins = frozenset(match.origin)
    for key in ("status", "origin"):
        if getattr(match, key) is not None and rule.before:
            text = f"`{key}` matches an answer, so it cannot choose `before` steps: write two rules"
            _report(scope, "status-before", text, "match", key, key=True)
    _compile_rest(match, scope, compiled)


def _compile_rest(match: model.Match, scope: RuleScope, compiled: Rule) -> None:
    context = {name: (value.type, value.read) for name, value in scope.vocabulary.context.items()}
    unknown = [name for name in match.context if name not in context]
    for name in unknown:
        text = f"no pack of this rule set has a context value {name!r}"
        if name in {*scope.vocabulary.configured, *scope.vocabulary.exchange}:
            text = f"{name!r} is not sent by the client, and cannot choose a rule"
        if name in scope.vocabulary.claims:
            text = f"{name!r} comes from claims: it exists only after a `verify_token`, and cannot choose a rule"
        _report(scope, "unknown-context", text, "match", "context", name, key=True, suggestion=nearest(name, context))
    scope.context_read.update(name for name in match.context if name in context)
    mistyped = [name for name in match.context if name in context and not fits(match.context[name], context[name][0])]
    for name in mistyped:
        text = f"the context value {name!r} is of the type {context[name][0]}, and never equal to this"
        _report(scope, "wrong-type", text, "match", "context", name)
    if unknown or mistyped:
        return
    try:
        compiled.predicate = compile_predicate(match, context)
    except MatchError as error:
        _report(scope, "bad-match", str(error), "match")


def _is_list(scope: RuleScope, key: str) -> bool:
    data: Any = scope.document.data
    for part in (*scope.loc, "match", key):
        data = data[part]
    return isinstance(data, list)


def _compile_phase(draft: Draft, phase: Phase, key: str) -> None:
    rule = draft.model
    steps = {"before": rule.before, "after": rule.after, "continue": rule.continue_}[phase]
    if phase == "before" and rule.sticky is not None:
        _compile_sticky(draft)
    for index, data in enumerate(steps):
        step = _compile_step(draft, phase, (key, index), data)
        if step is not None:
            draft.sides[phase].append(step)
    if phase == "continue" and steps:
        _check_continue(draft, steps)


def _check_continue(draft: Draft, steps: Sequence[Mapping[str, Any]]) -> None:
    """Check that who comes back proves it first, and that somebody can be sent away at all."""
    scope, rule = draft.scope, draft.model
    first = next((key for key in steps[0] if key not in _STEP_KEYS), None)
    if first not in _PROOFS:
        text = "the first step of `continue` says who comes back: `verify_redirect_token` or `verify_token`"
        _report(scope, "unproved-return", text, "continue", 0)
    elif "when" in steps[0]:
        text = "the first step of `continue` says who comes back, always: it has no `when`"
        _report(scope, "unproved-return", text, "continue", 0, "when", key=True)
    elif isinstance(steps[0][first], Mapping) and steps[0][first].get("optional") not in (None, False):
        text = "the first step of `continue` says who comes back: it is not optional"
        _report(scope, "unproved-return", text, "continue", 0, first, "optional", key=True)
    if not any("redirect" in step for step in rule.after):
        text = "nobody comes back: `continue` belongs to a rule that suspends the exchange by a `redirect` in `after`"
        _report(scope, "unused-continue", text, "continue", key=True)


def _compile_sticky(draft: Draft) -> None:
    scope, rule = draft.scope, draft.rule
    if draft.model.fraction >= 1:
        _report(scope, "unused-sticky", "`sticky` means nothing without `fraction`", "sticky", key=True, warning=True)
    step = StepScope(scope, "before", scope.loc)
    program = step.expression(str(draft.model.sticky), "sticky")
    rule.sticky = program.run
    rule.sticky_side = step.finish()


def _compile_step(draft: Draft, phase: Phase, at: tuple[str, int], data: Mapping[str, Any]) -> Step | None:
    scope = draft.scope
    named = [key for key in data if key not in _STEP_KEYS]
    for key in named:
        if key not in ACTIONS:
            known = (*ACTIONS, *_STEP_KEYS)
            _report(scope, "unknown-action", f"there is no action {key!r}", *at, key, key=True,
                    suggestion=nearest(key, known))  # fmt: skip
    actions = [key for key in named if key in ACTIONS]
    if len(actions) != 1:
        if not named:
            _report(scope, "no-action", "a step needs an action", *at)
        elif len(actions) > 1:
            text = f"a step has one action, this one has {len(actions)}: {', '.join(actions)}"
            _report(scope, "several-actions", text, *at, actions[1], key=True)
        return None
    name = actions[0]
    action = ACTIONS[name]
    if phase not in action.phases:
        _report(scope, "wrong-phase", _phase_text(name, phase, action.phases), *at, name, key=True)
        return None
    loc = (*scope.loc, *at)
    when = _compile_when(scope, phase, loc, data)
    step = StepScope(scope, phase, (*loc, name))
    try:
        settings = action.model_validate(data[name])
    except ValidationError as error:
        explain_validation(error, action, scope.document, (*loc, name), scope.problems)
        return None
    run = settings.compile(step)
    if when is not None:
        step.footprints |= when.footprints
    step.programs += when.programs if when is not None else []
    side = step.finish()
    draft.steps.append((step, name, data))
    label = data.get("name")
    if label is not None and not isinstance(label, str):
        _report(scope, "wrong-type", "a step's name is text", *at, "name")
    mark = scope.document.mark((*loc, name), key=True)
    _check_on_error(draft, name)
    return Step(
        run=run,
        action=name,
        name=str(label) if label is not None else f"{at[0]}[{at[1]}].{name}",
        when=when.programs[0][0].run if when is not None and when.programs else None,
        side=side,
        position=f"{scope.document.source.name}:{mark.line}",
        factors=step.factors,
    )


def _compile_when(
    scope: RuleScope, phase: Phase, loc: tuple[str | int, ...], data: Mapping[str, Any]
) -> StepScope | None:
    if "when" not in data:
        return None
    step = StepScope(scope, phase, loc)
    source = data["when"]
    if isinstance(source, bool):
        source = "true" if source else "false"
    if not isinstance(source, str):
        step.problem("wrong-type", "`when` is an expression that gives true or false", "when")
        return None
    step.expression(source, "when", type=BOOL)
    return step


def _phase_text(name: str, phase: str, phases: frozenset[str]) -> str:
    if phase == "after" and phases == {"before"}:
        return f"`{name}` edits the request, which was forwarded already: use it in `before`"
    allowed = " and ".join(f"`{one}`" for one in ("before", "after", "continue") if one in phases)
    return f"`{name}` cannot stand in `{phase}`; it can in {allowed}"


def _check_on_error(draft: Draft, name: str) -> None:
    if draft.model.on_error != "continue":
        return
    if name in _GUARDS:
        text = f"`on_error: continue` in a rule with `{name}` would let through what the rule is to stop"
        _report(draft.scope, "open-on-error", text, "on_error")
    elif name == "limit":
        text = "with `on_error: continue` a limit stops nothing while its store is down"
        _report(draft.scope, "open-on-error", text, "on_error", warning=True)


def _finish(draft: Draft) -> None:
    rule, scope = draft.rule, draft.scope
    rule.before = tuple(draft.sides["before"])
    rule.after = tuple(draft.sides["after"])
    rule.resume = resuming_steps(tuple(draft.sides["continue"])) if draft.sides["continue"] else ()
    rule.needs_request = scope.needs_request
    rule.needs_response = scope.needs_response
    rule.response_fields = frozenset(scope.response_fields) if scope.response_fields is not None else None
    if draft.model.on_error == "continue" and draft.model.continue_:
        _report(scope, "open-on-error", "`on_error: continue` cannot stand in a rule with `continue`", "on_error")


def revision(sources: Sequence[Source]) -> str:
    """Name a version of rule files by a digest of their texts."""
    return hashlib.sha256("\0".join(source.text for source in sources).encode()).hexdigest()[:12]


def _ruleset(
    drafts: Sequence[Draft],
    vocabulary: Vocabulary,
    sources: Sequence[Source],
) -> Ruleset:
    named = {name for draft in drafts for name in draft.scope.context_read}
    told = vocabulary.redaction()
    redaction = replace(
        told,
        headers=told.headers | {name for draft in drafts for name in draft.scope.hidden_headers},
        fields=told.fields | {name for draft in drafts for name in draft.scope.hidden_fields},
    )
    return Ruleset(
        (draft.rule for draft in drafts),
        vocabulary.operations.values(),
        dialect=vocabulary.dialect or "problem",
        checks=tuple(vocabulary.context[name].check for name in sorted(named)),
        redact=redaction,
        revision=revision(sources),
        codec=CelCodec(),
    )
