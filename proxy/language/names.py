"""Names of headers and cookies in settings: globs, and the headers that no rule may touch.

Nothing here knows an action; the actions share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from .action import StepEnvironment

_HOP = "it belongs to one connection, and the proxy writes its own"
_BODY = "it describes the body as it is sent, and the proxy computes it"

# Why a header is out of the rules' reach, and what to use instead.
UNTOUCHABLE: Mapping[str, str] = {
    "connection": _HOP,
    "keep-alive": _HOP,
    "proxy-authenticate": _HOP,
    "proxy-authentication-info": _HOP,
    "proxy-authorization": _HOP,
    "proxy-connection": _HOP,
    "te": _HOP,
    "trailer": _HOP,
    "transfer-encoding": _HOP,
    "upgrade": _HOP,
    "content-length": _BODY,
    "content-encoding": _BODY,
    "host": "the upstream's setting `host` says it",
    "cookie": "use the action `cookies`",
    "set-cookie": "use the action `cookies`, which never folds two cookies into one",
}

# What an answer of the proxy's own says for itself, beside these.
OWN: Mapping[str, str] = {
    "content-type": "the dialect says it",
    "cache-control": "an answer of the proxy's own is never stored",
    "x-correlation-id": "the proxy writes it",
    "x-vol-correlation": "the proxy writes it",
}

# What describes another body than the one that is sent.
OF_A_BODY: Mapping[str, str] = dict.fromkeys(
    (
        "etag",
        "digest",
        "content-digest",
        "repr-digest",
        "content-md5",
        "content-range",
        "accept-ranges",
        "last-modified",
    ),
    "it describes the body that is not sent",
)


def refuse(env: StepEnvironment, name: str, *loc: str | int, key: bool, also: Mapping[str, str] | None = None) -> bool:
    """Report a header that a rule may not name here; say whether it was refused."""
    reason = UNTOUCHABLE.get(name.lower()) or (also or {}).get(name.lower())
    if reason is None:
        return False
    env.problem("bad-setting", f"the header {name} cannot be named here: {reason}", *loc, key=key)
    return True


def refuse_twins(env: StepEnvironment, names: Iterable[str], *loc: str | int) -> None:
    """Report header names that differ in their case alone: which of them would win is nobody's guess."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            env.problem("duplicate-key", f"the header {name} stands here twice, in another case", *loc, name, key=True)
        seen.add(name.lower())


def compile_globs(globs: Iterable[str]) -> Callable[[str], bool]:
    """Build a test of whole names against globs, in which `*` is any run of characters; its time is linear."""
    tests = tuple(_compile_glob(glob) for glob in globs)
    if len(tests) == 1:
        return tests[0]
    return lambda name: any(test(name) for test in tests)


def compile_byte_globs(globs: Iterable[str]) -> Callable[[bytes], bool]:
    """Build the same test for names in bytes."""
    matches = compile_globs([glob.encode().decode("latin-1") for glob in globs])
    return lambda name: matches(name.decode("latin-1"))


def _compile_glob(glob: str) -> Callable[[str], bool]:
    first, *rest = glob.split("*")
    if not rest:
        return lambda name: name == glob
    last = rest.pop()
    middle = tuple(part for part in rest if part)
    if not middle and not last:
        return lambda name: name.startswith(first)
    shortest = len(first) + len(last)

    def matches(name: str) -> bool:
        if len(name) < shortest or not name.startswith(first) or not name.endswith(last):
            return False
        at, end = len(first), len(name) - len(last)
        for part in middle:
            found = name.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    return matches


def is_glob(name: str) -> bool:
    return "*" in name
