"""The action `body`: edits of a JSON or form body that keep every byte that they do not name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

from msgspec import Raw
from pydantic import Field, model_validator

from ...engine.errors import EvaluationError
from ...engine.exchange import Exchange
from ...engine.form_body import FormBody
from ...engine.json_body import JsonBody
from ...engine.json_nodes import ObjectNode, encode
from ...engine.message import Message
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..cel import to_text
from ..edits import assign, keep_only, make_parents, put_new, remove, remove_all, text_at
from ..model import Model
from ..patch import Operation, Patch, apply_merge
from ..paths import FieldPath, Location

Body_ = JsonBody | FormBody
Edit = Callable[[Body_], None]
# Evaluates what an edit needs of an exchange, and gives the edit.
Prepare = Callable[[Exchange], Edit]


class Clamp(Model):
    """The range of a number."""

    min: float | int | None = Field(None, description="The least value.")
    max: float | int | None = Field(None, description="The greatest value.")

    @model_validator(mode="after")
    def _range(self) -> Clamp:
        if self.min is None and self.max is None:
            raise ValueError("give `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("`min` is greater than `max`")
        return self


class Body(Action):
    """Edit the body: the request's in `before`, the response's in `after` and `continue`.

    The order is `rename`, `move`, `copy`, `default`, `set`, `clamp`, `merge`, `patch`, `remove`, `keep`, whatever the
    file's. Paths are field paths such as `a.b`, `a[*].b`, `['odd.name']`, `..name`; in a form a path is one name.
    """

    rename: dict[str, str] = Field(
        default_factory=dict,
        description="`{path: new_name}`: another name at the same position; one that is there is an error.",
    )
    move: dict[str, str] = Field(default_factory=dict, description="`{from: to}`; a target that is there is an error.")
    copy_: dict[str, str] = Field(
        default_factory=dict, alias="copy", description="`{from: to}`; a target that is there is an error."
    )
    default: dict[str, Any] = Field(default_factory=dict, description="`{path: value}`: set only what is not there.")
    set: dict[str, Any] = Field(
        default_factory=dict, description="`{path: value}`; missing objects are made, array elements never."
    )
    clamp: dict[str, Clamp] = Field(
        default_factory=dict, description="`{path: {min, max}}`: bring a number into a range; null stays null."
    )
    merge: Any = Field(None, description="A JSON Merge Patch (RFC 7396); null removes.")
    patch: list[Operation] | None = Field(None, description="A JSON Patch (RFC 6902): all of it or nothing.")
    remove: list[str] = Field(default_factory=list, description="Paths; of an array its elements, and `[]` stays.")
    keep: list[str] = Field(default_factory=list, description="Paths: everything else is removed.")
    missing: Literal["ignore", "fail"] = Field(
        "ignore", description="What a path that is not there means to rename, move, copy, clamp, remove and keep."
    )

    def compile(self, env: StepEnvironment) -> Run:
        edits = _Compiler(env, self).edits()
        if not edits:
            env.problem("bad-setting", "nothing to do: name at least one edit")
        is_request = env.side == "request"
        constant = [prepare.edit for prepare in edits if isinstance(prepare, _Constant)]
        fixed = constant if len(constant) == len(edits) else None

        def edit(x: Exchange) -> None:
            ready = fixed if fixed is not None else [prepare(x) for prepare in edits]
            message: Message = x.request if is_request else x.answer()
            body = message.document
            if isinstance(body, JsonBody):
                # A body of another kind is an error of any action, also of one that would find nothing to do.
                body.root  # noqa: B018
            for act in ready:
                act(body)

        return edit


class _Constant:
    """An edit that needs nothing of an exchange."""

    __slots__ = ("edit",)

    def __init__(self, edit: Edit) -> None:
        self.edit = edit

    def __call__(self, _: Exchange) -> Edit:
        return self.edit


def _json(body: Body_) -> JsonBody:
    if isinstance(body, FormBody):
        raise EvaluationError("a form has no JSON", body.side)
    return body


class _Compiler:
    """Turns the settings of one step into edits."""

    def __init__(self, env: StepEnvironment, action: Body) -> None:
        self.env = env
        self.action = action
        self.strict = action.missing == "fail"

    def path(self, text: str, *loc: str | int, needed: bool = True) -> FieldPath:
        """Compile a path; one that is not needed does nothing where it leads nowhere."""
        path = self.env.path(text, *loc)
        self.env.reads_body(self.env.side, path.names if needed else ())
        return path

    def edits(self) -> list[Prepare]:
        action = self.action
        found: list[Prepare] = []
        for old, new in action.rename.items():
            path = self.path(old, "rename", old)
            if "${" in new:
                self.env.problem("bad-name", "a name is literal text; names are never templates", "rename", old)
            if path.names:
                # What stands there already makes it an error.
                self.env.reads_body(self.env.side, (*path.names[:-1], new))
            found.append(_Constant(self.rename(path, new)))
        for key, pairs in (("move", action.move), ("copy", action.copy_)):
            for source, target in pairs.items():
                found.append(_Constant(self.carry(key, source, target)))
        for key, values in (("default", action.default), ("set", action.set)):
            for text, data in values.items():
                found.append(self.put(key, text, data))
        for text, limits in action.clamp.items():
            found.append(_Constant(self.clamp(self.path(text, "clamp", text, needed=self.strict), limits)))
        if "merge" in action.model_fields_set:
            found.append(self.merge(action.merge))
        if action.patch is not None:
            self.env.reads_body(self.env.side, None)
            patch = Patch(self.env, action.patch)
            found.append(self.patch(patch))
        for index, text in enumerate(action.remove):
            path = self.path(text, "remove", index, needed=self.strict)
            if path.last_name is not None:
                self.env.hides(field=path.last_name)
            found.append(_Constant(self.remove(path)))
        if action.keep:
            kept = [self.path(text, "keep", i, needed=self.strict) for i, text in enumerate(action.keep)]
            found.append(_Constant(self.keep(kept)))
        return found

    @staticmethod
    def patch(patch: Patch) -> Prepare:
        def prepare(x: Exchange) -> Edit:
            ready = patch.prepare(x)
            return lambda body: ready(_json(body))

        return prepare

    def miss(self, path: FieldPath, body: Body_) -> None:
        if self.strict:
            raise EvaluationError(f"the body has no {path.text}", body.side)

    def rename(self, path: FieldPath, new: str) -> Edit:
        if path.last_name is None:
            self.env.problem("bad-path", "only a name can be renamed", "rename", path.text, key=True)

        def edit(body: Body_) -> None:
            if isinstance(body, FormBody):
                name = path.form_name()
                if body.pairs.find(name) is None:
                    self.miss(path, body)
                elif name != new:
                    body.pairs.rename(name, new)
                return
            found = path.locate(body)
            if not found:
                self.miss(path, body)
            # From the deepest: a name above it may be one that is renamed too.
            for location in sorted(found, key=len, reverse=True):
                parent = body.parent(location)
                old = location[-1]
                if not isinstance(parent, ObjectNode) or old == new:
                    continue
                if new in parent.members:
                    raise EvaluationError(f"the body already has {new!r} beside {path.text}", body.side)
                parent.rename(str(old), new)

        return edit

    def carry(self, key: str, source: str, target: str) -> Edit:
        start, end = self.path(source, key, source), self.path(target, key, source)
        for path in (start, end):
            if path.static is None:
                self.env.problem("bad-path", f"`{key}` takes paths of names and indexes only", key, source, key=True)
        is_move = key == "move"

        def edit(body: Body_) -> None:
            if isinstance(body, FormBody):
                self.carry_field(body, start, end, is_move=is_move)
                return
            place, goal = start.static or (), end.static or ()
            if not start.locate(body):
                self.miss(start, body)
                return
            raw = text_at(body, place)
            if is_move and goal[: len(place)] == place:
                raise EvaluationError(f"{start.text} cannot move into itself", body.side)
            if is_move:
                remove_all(body, [place])
            parent = make_parents(body, goal)
            put_new(parent, goal[-1], raw, end, body)

        return edit

    def carry_field(self, body: FormBody, start: FieldPath, end: FieldPath, *, is_move: bool) -> None:
        name, new = start.form_name(), end.form_name()
        if body.pairs.find(name) is None:
            self.miss(start, body)
            return
        if body.pairs.has(new):
            raise EvaluationError(f"the form already has {new!r}", body.side)
        value = body.pairs.get(name)
        if is_move:
            body.pairs.remove(name)
        body.pairs.set(new, value)

    def put(self, key: str, text: str, data: Any) -> Prepare:
        path = self.env.path(text, key, text)
        # What is set is not needed of the upstream; what has a default is.
        self.env.reads_body(self.env.side, path.names if key == "default" else ())
        value = self.env.value(data, key, text, secrets=self.env.side == "request")
        if path.segments[-1].deep:
            self.env.problem("bad-path", f"`{key}` cannot end in `..`: it does not say where", key, text, key=True)
        if_absent = key == "default"
        above = FieldPath(path.text, path.segments[:-1]) if len(path.segments) > 1 else None

        def edit(given: Any, raw: Raw | None, body: Body_) -> None:
            if isinstance(body, FormBody):
                name = path.form_name()
                if not (if_absent and body.pairs.has(name)):
                    body.set(name, _form_text(given, name))
                return
            assign(body, path, above, raw if raw is not None else encode(given), if_absent=if_absent)

        if value.constant:
            constant = value.read(_NO_EXCHANGE)
            return _Constant(partial(edit, constant, encode(constant)))
        return lambda x: partial(edit, value.read(x), None)

    def clamp(self, path: FieldPath, limits: Clamp) -> Edit:
        def edit(body: Body_) -> None:
            if isinstance(body, FormBody):
                raise EvaluationError("the fields of a form are text, not numbers", body.side)
            found = path.locate(body)
            if not found:
                self.miss(path, body)
            for location in found:
                number = body.number(location)
                if number is None:
                    continue
                if isinstance(number, bool) or not isinstance(number, int | float):
                    raise EvaluationError(f"{path.text} is not a number", body.side)
                parent = body.parent(location)
                bounded = _bound(number, limits)
                if parent is not None and bounded is not None:
                    parent.put(location[-1], encode(bounded))

        return edit

    def merge(self, data: Any) -> Prepare:
        value = self.env.value(data, "merge", secrets=self.env.side == "request")
        for names in _names_of(data) if isinstance(data, dict) else [None]:
            self.env.reads_body(self.env.side, names)

        def edit(body: Body_, given: Any) -> None:
            if isinstance(body, JsonBody):
                apply_merge(body, given)
                return
            if not isinstance(given, Mapping):
                raise EvaluationError("a form can be merged with a map only", body.side)
            for name, text in given.items():
                if text is None:
                    body.pairs.remove(name)
                else:
                    body.set(name, _form_text(text, name))

        def prepare(x: Exchange) -> Edit:
            given = value.read(x)
            return lambda body: edit(body, given)

        return prepare

    def remove(self, path: FieldPath) -> Edit:
        def edit(body: Body_) -> None:
            if not remove(path, body):
                self.miss(path, body)

        return edit

    def keep(self, paths: list[FieldPath]) -> Edit:
        def edit(body: Body_) -> None:
            if isinstance(body, FormBody):
                names = frozenset(path.form_name() for path in paths)
                for path in paths:
                    if body.pairs.find(path.form_name()) is None:
                        self.miss(path, body)
                body.keep(names)
                return
            kept: list[Location] = []
            for path in paths:
                found = path.locate(body)
                if not found:
                    self.miss(path, body)
                kept += found
            keep_only(body, kept)

        return edit


_NO_EXCHANGE: Any = None


def _form_text(value: Any, name: str) -> str:
    if value is None or isinstance(value, dict | list):
        raise EvaluationError(f"the field {name!r} of a form must be text")
    return value if isinstance(value, str) else to_text(value)


def _bound(number: float, limits: Clamp) -> float | None:
    """Give the nearest number in the range; None when the number is in it."""
    if limits.min is not None and number < limits.min:
        return _shortest(limits.min)
    if limits.max is not None and number > limits.max:
        return _shortest(limits.max)
    return None


def _shortest(number: float) -> float:
    return (
        int(number) if isinstance(number, int) or (math.isfinite(number) and number == int(number)) else float(number)
    )


def _names_of(data: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _names_of(value, (*above, name))
        else:
            yield (*above, name)
