"""The action `query`: parameters of the request's query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from ...engine.exchange import Exchange
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..fields import Text
from ..names import compile_globs, is_glob

Parameters = Annotated[Text | list[Text], Field(description="A value, or a list of values: one parameter each.")]
_Reads = tuple[tuple[str, tuple[Callable[[Exchange], str], ...]], ...]


class Query(Action):
    """Edit the request's query.

    The order is `rename`, `remove`, `default`, `set`, `add`, whatever the file's. Names are never templates, values are
    encoded; what is not named keeps its bytes. A name that occurs more than once is a 400 when it is edited.
    """

    phases: ClassVar[frozenset[str]] = frozenset({"before"})

    rename: dict[Text, Text] = Field(
        default_factory=dict,
        description="`{old: new}`; nothing happens when it is not there, a new name that is taken is an error.",
    )
    remove: list[Text] = Field(default_factory=list, description="Names, or globs such as `utm_*`.")
    default: dict[Text, Parameters] = Field(
        default_factory=dict, description="`{name: value}`: set only what is not there."
    )
    set: dict[Text, Parameters] = Field(
        default_factory=dict, description="`{name: value}`: replaced where it stands, else at the end."
    )
    add: dict[Text, Parameters] = Field(
        default_factory=dict, description="`{name: value}`: one more parameter at the end."
    )

    def compile(self, env: StepEnvironment) -> Run:
        if not any((self.rename, self.remove, self.default, self.set, self.add)):
            env.problem("bad-setting", "nothing to do: name one of rename, remove, default, set, add")
        for old, new in self.rename.items():
            _check_name(env, old, "rename", old)
            _check_name(env, new, "rename", old)
        for index, name in enumerate(self.remove):
            _check_name(env, name, "remove", index)
        renames = tuple(self.rename.items())
        removes = tuple(name for name in self.remove if not is_glob(name))
        globs = [name for name in self.remove if is_glob(name)]
        matches = compile_globs(globs) if globs else None
        defaults, sets, adds = (_reads(env, key, getattr(self, key)) for key in ("default", "set", "add"))

        def edit(x: Exchange) -> None:
            given, wanted, more = (
                [(name, [read(x) for read in reads]) for name, reads in settings] for settings in (defaults, sets, adds)
            )
            pairs = x.request.parameters.copy()
            pairs.edited = False
            for old, new in renames:
                pairs.rename(old, new)
            for name in removes:
                pairs.remove(name)
            if matches is not None:
                for name in filter(matches, pairs.names()):
                    pairs.remove(name)
            for name, values in given:
                if pairs.find(name) is None:
                    for value in values:
                        pairs.add(name, value)
            for name, (first, *rest) in wanted:
                pairs.set(name, first)
                for value in rest:
                    pairs.add(name, value)
            for name, values in more:
                for value in values:
                    pairs.add(name, value)
            if pairs.edited:
                x.request.set_parameters(pairs)

        return edit


def _check_name(env: StepEnvironment, name: str, *loc: str | int) -> None:
    if not name or "${" in name:
        env.problem("bad-name", "a parameter's name is literal text and not empty; names are never templates", *loc)


def _reads(env: StepEnvironment, key: str, settings: Mapping[str, str | list[str]]) -> _Reads:
    found: list[tuple[str, tuple[Callable[[Exchange], str], ...]]] = []
    for name, setting in settings.items():
        _check_name(env, name, key, name)
        if setting == []:
            env.problem("bad-setting", "an empty list sets nothing; use `remove`", key, name)
        if isinstance(setting, str):
            values = [env.text(setting, key, name, place="query", secrets=True)]
        else:
            values = [
                env.text(text, key, name, index, place="query", secrets=True) for index, text in enumerate(setting)
            ]
        found.append((name, tuple(value.read for value in values)))
    return tuple(found)
