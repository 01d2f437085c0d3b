"""What pydantic finds, in an author's words and with its place in the file.

Pydantic reports every branch of a union that did not fit; an author hears of the one that was probably meant.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, RootModel, ValidationError

from .document import Document
from .problems import Problems, nearest

Loc = tuple[str | int, ...]
T = TypeVar("T", bound=BaseModel)

# What pydantic calls a default that is made of other values, of which one was found wrong: itself no fault.
NOT_MADE = "default_factory_not_called"
_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "mapping_type": "a map",
    "none_required": "empty",
}
_BOUNDS = {
    "greater_than_equal": "this must be at least {ge:g}",
    "greater_than": "this must be more than {gt:g}",
    "less_than_equal": "this must be at most {le:g}",
    "less_than": "this must be less than {lt:g}",
    "too_long": "this has at most {max_length} entries",
    "string_too_long": "this has at most {max_length} characters",
    "string_too_short": "this has at least {min_length} characters",
}
_SPELLING = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One thing that pydantic found. `branches` are the unions on the way: where, and which branch of it."""

    error: Any
    place: Loc
    branches: tuple[tuple[Loc, str], ...]
    on_key: bool

    @property
    def kind(self) -> str:
        return str(self.error["type"])


def explain_validation(
    error: ValidationError, model: type[BaseModel], document: Document, base: Loc, problems: Problems
) -> None:
    """Report every finding of a validation of the value at `base`."""
    data = document.at(base)
    errors = [one for one in error.errors(include_url=False, include_input=False) if one["type"] != NOT_MADE]
    found = [_locate(data, one) for one in errors]
    report = _Report(model, document, base, problems)
    for union, findings in _without_typos(_resolve(found), model):
        report.add(union, findings)


def salvage(error: ValidationError, model: type[T], data: Any, stand_ins: Mapping[str, Any]) -> T | None:
    """Validate a map without the parts that were found wrong, so that the rest is checked in the same run.

    `stand_ins` are taken for keys of the map that are then missing. None when too little is left.
    """
    if not isinstance(data, dict):
        return None
    kept = dict(data)
    for one in error.errors(include_url=False, include_input=False):
        place = _locate(data, one).place
        if one["type"] == "missing":
            place = place[:-1]
        kept = _without(kept, place)
    try:
        return model.model_validate({**stand_ins, **kept})
    except ValidationError:
        return None


def _without(data: dict[str, Any], place: Loc) -> dict[str, Any]:
    """Leave out what stands at a place. Of a list all goes: the places of later items would not be theirs."""
    if not place or place[0] not in data:
        return data
    name = str(place[0])
    rest = {key: value for key, value in data.items() if key != name}
    inner = data[name]
    if len(place) == 1 or not isinstance(inner, dict):
        return rest
    return {**rest, name: _without(inner, place[1:])}


def _locate(data: Any, error: Any) -> _Finding:
    """Tell the keys and indexes of a finding from the names of union branches, which the data do not have."""
    place: list[str | int] = []
    branches: list[tuple[Loc, str]] = []
    parts = error["loc"]
    on_key = bool(parts) and parts[-1] == "[key]"
    for index, part in enumerate(parts[:-1] if on_key else parts):
        if _holds(data, part):
            place.append(part)
            data = data[part]
        elif error["type"] == "missing" and index == len(parts) - 1:
            place.append(part)
        elif isinstance(part, str):
            branches.append((tuple(place), part))
    return _Finding(error, tuple(place), tuple(branches), on_key)


def _holds(data: Any, part: str | int) -> bool:
    if isinstance(data, dict):
        return part in data
    return isinstance(data, list) and isinstance(part, int) and part < len(data)


def _resolve(findings: Sequence[_Finding], depth: int = 0) -> list[tuple[Loc | None, list[_Finding]]]:
    """Give the findings to report: alone, or, where no branch of a union fits, all of the union together."""
    unions: dict[Loc | None, dict[str, list[_Finding]]] = {}
    for finding in findings:
        union, branch = finding.branches[depth] if depth < len(finding.branches) else (None, "")
        unions.setdefault(union, {}).setdefault(branch, []).append(finding)
    found: list[tuple[Loc | None, list[_Finding]]] = []
    for place, branches in unions.items():
        if place is None:
            found += [(None, [finding]) for finding in branches[""]]
            continue
        fitting = [branch for branch in branches.values() if not _is_another_kind(branch, place)]
        if fitting:
            best = min(_misfit(branch, place) for branch in fitting)
            for members in fitting:
                if _misfit(members, place) == best:
                    found += _resolve(members, depth + 1)
        else:
            found.append((place, [finding for branch in branches.values() for finding in branch]))
    return found


def _is_another_kind(branch: Sequence[_Finding], place: Loc) -> bool:
    return any(finding.place == place and finding.kind in _KINDS for finding in branch)


def _misfit(branch: Sequence[_Finding], place: Loc) -> int:
    """Count the keys that speak against a branch."""
    return sum(finding.kind in ("missing", "extra_forbidden") and finding.place[:-1] == place for finding in branch)


def _without_typos(
    groups: list[tuple[Loc | None, list[_Finding]]], model: type[BaseModel]
) -> Iterator[tuple[Loc | None, list[_Finding]]]:
    """Leave out the missing keys that a misspelt key beside them explains, and those of several branches at once."""
    unknown: dict[Loc, set[str | None]] = {}
    for _, findings in groups:
        for finding in findings:
            if finding.kind == "extra_forbidden":
                parent = finding.place[:-1]
                meant = nearest(str(finding.place[-1]), _names_at(model, parent))
                unknown.setdefault(parent, set()).add(meant)
    for union, findings in groups:
        first = findings[0]
        meant_there = unknown.get(first.place[:-1], set()) - {None}
        if first.kind == "missing" and (first.place[-1] in meant_there or (meant_there and first.branches)):
            continue
        yield union, findings


@dataclass(frozen=True, slots=True)
class _Report:
    """Where findings are reported to."""

    model: type[BaseModel]
    document: Document
    base: Loc
    problems: Problems

    def add(self, union: Loc | None, findings: Sequence[_Finding]) -> None:
        if union is None:
            self._one(findings[0])
            return
        kinds = list(dict.fromkeys(_KINDS[finding.kind] for finding in findings if finding.kind in _KINDS))
        self._wrong("wrong-type", f"this must be {_either(kinds)}", union)

    def _wrong(self, code: str, text: str, place: Loc, suggestion: str | None = None, *, key: bool = False) -> None:
        if not key and code in ("wrong-type", "wrong-value") and self._is_empty(place):
            text += ", and is empty"
        mark = self.document.mark((*self.base, *place), key=key)
        self.problems.error(code, text, self.document.source.name, mark, suggestion)

    def _is_empty(self, place: Loc) -> bool:
        parent: Any = self.document.at((*self.base, *place[:-1])) if place else None
        return bool(place) and _holds(parent, place[-1]) and parent[place[-1]] is None

    def _one(self, finding: _Finding) -> None:
        place, kind, context = finding.place, finding.kind, finding.error.get("ctx", {})
        if kind == "extra_forbidden":
            self._unknown(place)
        elif kind == "missing":
            mark = self.document.mark((*self.base, *place[:-1]))
            text = f"the key {str(place[-1])!r} is missing"
            self.problems.error("missing-key", text, self.document.source.name, mark)
        elif kind in _KINDS:
            self._wrong("wrong-type", f"this must be {_KINDS[kind]}", place, key=finding.on_key)
        elif kind in ("literal_error", "enum"):
            self._not_among(place, context["expected"])
        elif kind in ("value_error", "assertion_error"):
            self._wrong("wrong-value", str(context["error"]), place, key=finding.on_key)
        else:
            self._wrong("wrong-value", _words(kind, context, finding.error["msg"]), place, key=finding.on_key)

    def _unknown(self, place: Loc) -> None:
        name = str(place[-1])
        known = sorted(_names_at(self.model, place[:-1]))
        hint = nearest(name, known)
        text = f"there is no key {name!r} here"
        if hint is None and known:
            text += f"; there {'is' if len(known) == 1 else 'are'} {', '.join(known)}"
        self._wrong("unknown-key", text, place, hint, key=True)

    def _not_among(self, place: Loc, expected: str) -> None:
        value = self.document.at((*self.base, *place))
        known = [word.strip(" '") for part in expected.split(",") for word in part.split(" or ")]
        hint = nearest(value, known) if isinstance(value, str) else None
        text = re.sub(r"\b(True|False|None)\b", lambda found: _SPELLING[found[0]], expected)
        self._wrong("wrong-value", f"this must be {text}", place, hint)


def _either(kinds: Sequence[str]) -> str:
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"


def _words(kind: str, context: dict[str, Any], message: str) -> str:
    if kind == "too_short":
        return (
            "this must not be empty"
            if context["min_length"] == 1
            else f"this has at least {context['min_length']} entries"
        )
    if kind == "string_too_short" and context["min_length"] == 1:
        return "this must not be empty"
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context)
    words = message[:1].lower() + message[1:]
    return words.replace("input should", "this must")


def _names_at(model: Any, loc: Loc) -> set[str]:
    """Give the keys that the models at a place know."""
    found = list(_models(model))
    for part in loc:
        deeper = [inner for one in found for inner in _step(one, part)]
        found = [inner for one in deeper for inner in _models(one)]
    names: set[str] = set()
    for one in found:
        if isinstance(one, type) and issubclass(one, BaseModel):
            names |= {field.alias or name for name, field in one.model_fields.items()}
    return names


def _models(annotation: Any) -> Iterator[Any]:
    """Unwrap annotations, unions and root models; a list also gives its items, as one item may stand for the list."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _models(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _models(part)
    elif isinstance(annotation, type) and issubclass(annotation, RootModel):
        yield from _models(annotation.model_fields["root"].annotation)
    else:
        yield annotation
        if origin in (list, tuple):
            yield from _models(get_args(annotation)[0])


def _step(annotation: Any, part: str | int) -> list[Any]:
    """Go one key or index down."""
    origin = get_origin(annotation)
    if origin is dict and isinstance(part, str):
        return [get_args(annotation)[1]]
    if origin in (list, tuple) and isinstance(part, int):
        return [get_args(annotation)[0]]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if part == (field.alias or name):
                return [field.annotation]
    return []
