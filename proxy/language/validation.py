"""What pydantic finds, in an author's words and with its place in the file."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, RootModel, ValidationError

from .document import Document
from .problems import Problems, nearest

Loc = tuple[str | int, ...]

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
}


def explain_validation(
    error: ValidationError, model: type[BaseModel], document: Document, base: Loc, problems: Problems
) -> None:
    """Report every finding of a validation of the value at `base`."""
    groups: dict[Loc, list[tuple[Loc, Any]]] = {}
    data = document.at(base)
    for found in error.errors(include_url=False, include_input=False):
        loc, branch = _locate(data, found)
        groups.setdefault(branch, []).append((loc, found))
    for branch, members in groups.items():
        chosen = _choose(members)
        kinds = list(dict.fromkeys(_KINDS[found["type"]] for _, found in members if found["type"] in _KINDS))
        if len(members) > 1 and len(kinds) > 1 and all(found["type"] in _KINDS for _, found in members):
            text = f"this must be {', '.join(kinds[:-1])} or {kinds[-1]}"
            problems.error("wrong-type", text, document.source.name, document.mark((*base, *branch)))
            continue
        for loc, found in chosen:
            _report(found, loc, model, document, base, problems)


def _locate(data: Any, found: Any) -> tuple[Loc, Loc]:
    """Give the place that a finding is about, and the place of the union that it is a branch of (or its own)."""
    loc: list[str | int] = []
    branch: Loc | None = None
    parts = found["loc"]
    for index, part in enumerate(parts):
        inside = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        )
        if inside:
            loc.append(part)
            data = data[part]
        elif found["type"] == "missing" and index == len(parts) - 1:
            loc.append(part)
        elif branch is None and isinstance(part, str):
            branch = tuple(loc)
    place = tuple(loc)
    return place, branch if branch is not None else place


def _choose(members: list[tuple[Loc, Any]]) -> list[tuple[Loc, Any]]:
    """Of the branches of a union keep those that came furthest: a wrong kind says less than a wrong part."""
    if len({found["type"] for _, found in members}) == 1:
        return members[:1] if len({loc for loc, _ in members}) == 1 else members
    told = [(loc, found) for loc, found in members if found["type"] not in _KINDS]
    return told or members[:1]


def _report(
    found: Any, loc: Loc, model: type[BaseModel], document: Document, base: Loc, problems: Problems
) -> None:
    name = document.source.name
    place = (*base, *loc)
    kind = found["type"]
    last = str(loc[-1]) if loc else ""
    if kind == "extra_forbidden":
        known = sorted(_names_at(model, loc[:-1]))
        text = f"there is no key {last!r} here"
        hint = nearest(last, known)
        if hint is None and known:
            text += f"; there are {', '.join(known)}"
        problems.error("unknown-key", text, name, document.mark(place, key=True), hint)
    elif kind == "missing":
        problems.error("missing-key", f"the key {last!r} is missing", name, document.mark(place[:-1]))
    elif kind in _KINDS:
        problems.error("wrong-type", f"this must be {_KINDS[kind]}", name, document.mark(place))
    elif kind in ("literal_error", "enum"):
        expected = found["ctx"]["expected"]
        value = document.at(place)
        known = [word.strip(" '") for part in expected.split(",") for word in part.split(" or ")]
        hint = nearest(value, known) if isinstance(value, str) else None
        problems.error("wrong-value", f"this must be {expected}", name, document.mark(place), hint)
    elif kind in ("value_error", "assertion_error"):
        problems.error("wrong-value", str(found["ctx"]["error"]), name, document.mark(place))
    else:
        words = found["msg"][:1].lower() + found["msg"][1:]
        problems.error("wrong-value", words.replace("input should", "this must"), name, document.mark(place))


def _names_at(model: Any, loc: Loc) -> set[str]:
    """Give the keys that the models at a place know."""
    found = list(_models(model))
    for part in loc:
        deeper: list[Any] = []
        for one in found:
            deeper += _step(one, part)
        found = [inner for one in deeper for inner in _models(one)]
    names: set[str] = set()
    for one in found:
        if isinstance(one, type) and issubclass(one, BaseModel) and not issubclass(one, RootModel):
            names |= {field.alias or name for name, field in one.model_fields.items()}
    return names


def _models(annotation: Any) -> Iterator[Any]:
    """Unwrap annotations, unions and aliases."""
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


def _step(annotation: Any, part: str | int) -> list[Any]:
    """Go one key or index down."""
    origin = get_origin(annotation)
    if origin is dict and isinstance(part, str):
        return [get_args(annotation)[1]]
    if origin in (list, tuple) and isinstance(part, int):
        return [get_args(annotation)[0]]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if part in (name, field.alias):
                return [field.annotation]
    return []
