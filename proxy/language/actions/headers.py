"""The actions `headers` and `response_headers`: header lines by name, whatever their case."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar

from pydantic import Field

from ...engine.errors import EvaluationError
from ...engine.exchange import Deferred, Exchange
from ...engine.message import Headers as HeaderLines
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..fields import HeaderName, Text
from ..names import UNTOUCHABLE, compile_byte_globs, is_glob, refuse, refuse_twins
from ..slots import Slot, fill, header_slot

Lines = Annotated[Text | list[Text], Field(description="A value, or a list of values: one line each.")]
# A lower-case name, the name, and where its values are among those of the step.
_Set = tuple[bytes, bytes, slice]


class _HeaderEdits(Action):
    """What both actions share: their settings."""

    rename: dict[HeaderName, HeaderName] = Field(
        default_factory=dict,
        description="`{old: new}`: all lines of a name get another name, where they stand. "
        "Nothing happens when there are none; a new name that is there already is an error of the rule.",
    )
    remove: list[HeaderName] = Field(
        default_factory=list,
        description="Names, or globs such as `x-*`. "
        "A glob leaves alone what no rule may touch, such as Content-Length or Set-Cookie.",
    )
    default: dict[HeaderName, Lines] = Field(
        default_factory=dict, description="`{name: value}`: set only what is not there."
    )
    set: dict[HeaderName, Lines] = Field(
        default_factory=dict, description="`{name: value}`: exactly these lines of a name, whatever was there."
    )
    add: dict[HeaderName, Lines] = Field(
        default_factory=dict, description="`{name: value}`: one more line, beside those that are there."
    )

    def edits(self, env: StepEnvironment, *, secrets: bool) -> _Edits:
        _check_names(env, self)
        slots: list[Slot] = []

        def lines(key: str, values: dict[str, str | list[str]]) -> tuple[_Set, ...]:
            found: list[_Set] = []
            for name, value in values.items():
                start = len(slots)
                if value == []:
                    env.problem("bad-setting", "an empty list sets nothing; use `remove`", key, name)
                for index, text in enumerate(value if isinstance(value, list) else [value]):
                    loc = (key, name, index) if isinstance(value, list) else (key, name)
                    slots.append(header_slot(env.text(text, *loc, place="header", secrets=secrets)))
                found.append((name.lower().encode(), name.encode(), slice(start, len(slots))))
            return tuple(found)

        globs = [name.lower() for name in self.remove if is_glob(name)]
        return _Edits(
            renames=tuple(
                (old.lower().encode(), new.lower().encode(), new.encode()) for old, new in self.rename.items()
            ),
            removes=tuple(name.lower().encode() for name in self.remove if not is_glob(name)),
            removes_like=_sparing(compile_byte_globs(globs)) if globs else None,
            defaults=lines("default", self.default),
            sets=lines("set", self.set),
            adds=lines("add", self.add),
            slots=tuple(slots),
        )


def _check_names(env: StepEnvironment, action: _HeaderEdits) -> None:
    for index, name in enumerate(action.remove):
        if not refuse(env, name, "remove", index, key=False) and not is_glob(name):
            env.hides(header=name)
    for old, new in action.rename.items():
        refuse(env, old, "rename", old, key=True) or refuse(env, new, "rename", old, key=False)
    refuse_twins(env, action.rename, "rename")
    for key, values in (("default", action.default), ("set", action.set), ("add", action.add)):
        for name in values:
            refuse(env, name, key, name, key=True)
        refuse_twins(env, values, key)
    if not any((action.rename, action.remove, action.default, action.set, action.add)):
        env.problem("bad-setting", "nothing to do: name one of rename, remove, default, set, add")


def _sparing(matches: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    spared = frozenset(name.encode() for name in UNTOUCHABLE)
    return lambda key: key not in spared and matches(key)


class _Edits:
    """Edits of header lines, ready to run: names encoded, values encoded or to be read."""

    __slots__ = ("_adds", "_constant", "_defaults", "_removes", "_removes_like", "_renames", "_sets", "_slots")

    def __init__(
        self,
        *,
        renames: tuple[tuple[bytes, bytes, bytes], ...],
        removes: tuple[bytes, ...],
        removes_like: Callable[[bytes], bool] | None,
        defaults: tuple[_Set, ...],
        sets: tuple[_Set, ...],
        adds: tuple[_Set, ...],
        slots: tuple[Slot, ...],
    ) -> None:
        self._renames = renames
        self._removes = removes
        self._removes_like = removes_like
        self._defaults = defaults
        self._sets = sets
        self._adds = adds
        self._slots = slots
        constant = tuple(slot for slot in slots if isinstance(slot, bytes))
        self._constant = constant if len(constant) == len(slots) else None

    def values(self, x: Exchange) -> tuple[bytes, ...]:
        """Evaluate every value, on the message as the step found it."""
        if self._constant is not None:
            return self._constant
        return tuple([fill(slot, x) for slot in self._slots])

    def apply(self, headers: HeaderLines, values: tuple[bytes, ...], *, replace: bool = False) -> None:
        """Edit headers; with `replace` a rename drops what has the new name already, and nothing can fail."""
        for old, key, name in self._renames:
            _rename(headers, old, key, name, replace=replace)
        for key in self._removes:
            headers.remove(key)
        if self._removes_like is not None:
            headers.discard_like(self._removes_like)
        for key, name, where in self._defaults:
            if key not in headers:
                _append(headers, name, values[where])
        for _, name, where in self._sets:
            found = values[where]
            headers.set(name, found[0])
            if len(found) > 1:
                _append(headers, name, found[1:])
        for _, name, where in self._adds:
            _append(headers, name, values[where])


def _append(headers: HeaderLines, name: bytes, values: Iterable[bytes]) -> None:
    for value in values:
        headers.add(name, value)


def _rename(headers: HeaderLines, old: bytes, key: bytes, name: bytes, *, replace: bool) -> None:
    if old not in headers:
        return
    if old != key and key in headers:
        if not replace:
            raise EvaluationError(f"there is a header {name.decode('latin-1')} already", headers.side)
        headers.remove(key)
    headers.lines = [(key, name, line[2]) if line[0] == old else line for line in headers.lines]


class Headers(_HeaderEdits):
    """Edit headers: the request's in `before`, the response's in `after` and `continue`.

    The order is `rename`, `remove`, `default`, `set`, `add`, whatever the file's. Names are matched in any case and are
    never templates; a header with several lines stays several lines.
    """

    def compile(self, env: StepEnvironment) -> Run:
        to_request = env.side == "request"
        edits = self.edits(env, secrets=to_request)
        if to_request:

            def edit_request(x: Exchange) -> None:
                edits.apply(x.request.headers, edits.values(x))

            return edit_request

        def edit_response(x: Exchange) -> None:
            edits.apply(x.answer().headers, edits.values(x))

        return edit_response


class ResponseHeaders(_HeaderEdits):
    """Edit, from `before`, the headers of the answer that will come.

    Values are computed now; the edit is laid on each answer as it comes into being, before the `after` rules see it, so
    that a later edit wins. A `rename` onto a name that the answer has replaces it, as no rule is left to fail by then.
    """

    phases: ClassVar[frozenset[str]] = frozenset({"before"})

    def compile(self, env: StepEnvironment) -> Run:
        edits = self.edits(env, secrets=False)

        def lay(headers: HeaderLines, values: tuple[bytes, ...]) -> None:
            edits.apply(headers, values, replace=True)

        rule, name = env.rule_name, env.defers(lay)

        def defer(x: Exchange) -> None:
            x.deferred.append(Deferred(rule, name, edits.values(x), lay))

        return defer
