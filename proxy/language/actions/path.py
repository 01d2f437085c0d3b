"""The action `path`: another path for the request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, model_validator

from ...engine.errors import EvaluationError
from ...engine.exchange import Exchange
from ...engine.ruleset import Run, split
from ..action import Action, StepEnvironment, Value
from ..fields import Text
from ..match import MatchError, compile_path
from ..slots import constant

# RFC 3986 without what two servers could read in two ways: `;`, empty segments, and escapes that another reader would
# undo (of unreserved characters) or take for what they stand for (of `/ \ ? # ; %` and controls).
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})*)+")
_AMBIGUOUS = re.compile(
    r"%(?:2[EeDdFf35]|3[BbFf0-9]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEeFf]|[01][0-9A-Fa-f])"
)

Segments = tuple[str | None, ...]


class Path(Action):
    """Forward the request to another path; its query stays. Rules are chosen on the path that was received."""

    phases: ClassVar[frozenset[str]] = frozenset({"before"})

    to: Text | None = Field(
        None,
        description="The whole path, such as `/v2/${request.params.id}`: "
        "each `${…}` is one percent-encoded segment, or a part of one.",
    )
    prefix: Text | None = Field(
        None, description="What stands in the place of `/old`, where the rule matches the path `/old/*`."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Path:
        if (self.to is None) == (self.prefix is None):
            raise ValueError("give either `to` or `prefix`")
        return self

    def compile(self, env: StepEnvironment) -> Run:
        if self.to is not None:
            return _replace(env, self.to)
        return _replace_prefix(env, self.prefix or "")


def _read(env: StepEnvironment, text: str, key: str) -> Value[str]:
    value = env.text(text, key, place="segment", secrets=True)
    wrong = None
    if not text.startswith("/"):
        wrong = "a path begins with `/`"
    elif value.constant:
        # Empty is only what stands in for a template that was reported already.
        wrong = fault(constant(value)) if constant(value) else None
    elif re.search(r"[?#]", re.sub(r"\$\{.*\}", "", text)):
        wrong = "a path has no query and no fragment; use the action `query`"
    if wrong is not None:
        env.problem("bad-path", wrong, key)
    return value


def fault(path: str) -> str | None:
    """Say why a path is not canonical, or None."""
    if "?" in path or "#" in path:
        return "a path has no query and no fragment; use the action `query`"
    if "//" in path:
        return "the path has an empty segment"
    if any(segment in (".", "..") for segment in path.split("/")):
        return "the path has a dot segment"
    if not _PATH.fullmatch(path):
        return "the path has a character that must be percent-encoded, or that no path may have"
    if _AMBIGUOUS.search(path):
        return "the path has an escape that two servers could read in two ways"
    return None


def _checked(path: str) -> str:
    wrong = fault(path)
    if wrong is not None:
        raise EvaluationError(wrong)
    return path


def _replace(env: StepEnvironment, text: str) -> Run:
    value = _read(env, text, "to")
    if value.constant:
        path = constant(value)

        def put(x: Exchange) -> None:
            x.request.path = path

        return put

    def render(x: Exchange) -> None:
        x.request.path = _checked(value.read(x))

    return render


def _replace_prefix(env: StepEnvironment, text: str) -> Run:
    value = _read(env, text, "prefix")
    old = _prefixes(env)
    if not old:
        env.problem("bad-setting", "`prefix` needs a rule that matches a path such as `/old/*`", "prefix", key=True)

    def change(x: Exchange) -> None:
        new = value.read(x)
        path = x.request.path
        segments = split(path)
        for prefix in old:
            if _begins(segments, prefix):
                rest = "".join(f"/{segment}" for segment in segments[len(prefix) :]) + (
                    "/" if path.endswith("/") else ""
                )
                x.request.path = _checked((new.removesuffix("/") + rest) or "/")
                return
        raise EvaluationError("the path no longer begins with what the rule matched")

    return change


def _prefixes(env: StepEnvironment) -> tuple[Segments, ...]:
    """Give the segments of the prefixes that the rule matches, the longest first; None is any one segment."""
    found: list[Segments] = []
    for prefix in env.prefixes:
        try:
            found.append(compile_path(f"{prefix}/*").segments)
        except MatchError:
            # The match reports it.
            continue
    return tuple(sorted(found, key=len, reverse=True))


def _begins(segments: Sequence[str], prefix: Segments) -> bool:
    if len(segments) < len(prefix):
        return False
    return all((have if want is None else have == want) for have, want in zip(segments, prefix, strict=False))
