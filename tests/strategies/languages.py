"""JSON, expressions, templates and rule files: grammar with mistakes in it."""

from __future__ import annotations

import json

from hypothesis import strategies as st

# JSON, as bytes: right, nearly right, and of the kind that readers differ about.

_scalars = st.sampled_from(
    [
        "1",
        "-0",
        "1.0",
        "1e5",
        "1E400",
        "01",
        ".5",
        "1.",
        "+1",
        "NaN",
        "-Infinity",
        "18446744073709551616",
        "0.1" + "0" * 20,
        "true",
        "null",
        "nul",
        '""',
        '"a"',
        '"\\u0061"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\x"',
        '"\x00"',
        '"\\u0000"',
        "'a'",
        '"é"',
        "//",
        '"\t"',
    ]
)
_keys = st.sampled_from(
    ['"a"', '"\\u0061"', '"A"', '"b"', '""', '"__proto__"', '"\\""', "a", "1", '"a" ', '"é"', '"\\u00e9"']
)
_gaps = st.sampled_from(["", "", "", " ", "\n\t", "\ufeff", "/**/", "\x0b"])


def _array(parts: list[str], gap: str, end: str) -> str:
    return f"[{gap}{f'{gap},'.join(parts)}{end}]"


def _object(pairs: list[tuple[str, str]], gap: str, end: str) -> str:
    return "{" + f"{gap},".join(f"{gap}{key}:{gap}{value}" for key, value in pairs) + f"{end}}}"


_ends = st.sampled_from(["", "", "", "", ",", " "])
_texts = st.recursive(
    _scalars,
    lambda inner: (
        st.builds(_array, st.lists(inner, max_size=4), _gaps, _ends)
        | st.builds(_object, st.lists(st.tuples(_keys, inner), max_size=4), _gaps, _ends)
    ),
    max_leaves=12,
)
json_texts = st.builds(
    lambda text, gap, after: (gap + text + after).encode("utf-8", "surrogatepass"),
    _texts,
    st.sampled_from(["", "", "", " ", "\n"]),
    st.sampled_from(["", "", "", "", " ", "{}", ",", "\x00"]),
)

# Expressions.

_atoms = st.sampled_from(
    [
        "i",
        "d",
        "s",
        "b",
        "l",
        "m",
        "n",
        "x",
        "1",
        "-1",
        "2u",
        "0.5",
        "true",
        "null",
        "'a'",
        '"\\n"',
        "r'\\d'",
        "b'a'",
        "[]",
        "{}",
        "[1, 2]",
        "{'a': 1}",
        "m.a",
        "m.a.b",
        "m['a']",
        "l[0]",
        "l[9]",
        "9223372036854775807",
        "1e308",
        "'''x'''",
        "0x10",
        "has(m.a)",
        "m.?a",
        "m[?'z']",
    ]
)
_operators = st.sampled_from(
    [" + ", " - ", " * ", " / ", " % ", " == ", " != ", " < ", " >= ", " && ", " || ", " in ", "=", " & ", " or "]
)
_calls = st.sampled_from(
    [
        "size({})",
        "string({})",
        "int({})",
        "double({})",
        "{}.size()",
        "{}.split(',')",
        "{}.matches('a+$')",
        "{}.orValue(1)",
        "type({})",
        "{}.exists(x, x == 1)",
        "{}.map(x, x)",
        "{}.filter(x, b)",
        "{}.all(x, {})",
        "!{}",
        "-{}",
        "({})",
        "{}[0]",
        "{}.a",
        "[{}]",
        "{{'k': {}}}",
        "timestamp({})",
        "duration({})",
        "{}.trim()",
        "{}.lowerAscii()",
        "{}.replace('a', 'b')",
        "base64.encode({})",
        "sha256({})",
        "f({})",
    ]
)
expressions = st.recursive(
    _atoms,
    lambda inner: (
        st.builds(lambda one, operator, other: one + operator + other, inner, _operators, inner)
        | st.builds(lambda call, one: call.replace("{}", one).replace("{{", "{").replace("}}", "}"), _calls, inner)
        | st.builds(lambda one, two, three: f"{one} ? {two} : {three}", inner, inner, inner)
    ),
    max_leaves=8,
)
cel_sources = (
    expressions | st.builds(lambda text, at: text[:at] + text[at + 1 :], expressions, st.integers(0, 30))
).map(str.encode)

# Templates and rule files.

_places = st.sampled_from(
    ["request.query.q", "request.body.a[0]", "request.headers['x']", "request.ip", "now", "secret('key')", "nothing"]
)
_inside = _places | expressions
templates = st.lists(
    st.sampled_from(["a", "$", "$${", "}", "{", " ", "${", "${}", "${secret:key}", "é", "\\", "'"])
    | _inside.map(lambda source: f"${{{source}}}"),
    max_size=4,
).map("".join)

_steps = st.one_of(
    st.builds(lambda text: {"headers": {"set": {"x-a": text}}}, templates),
    st.builds(lambda text: {"query": {"set": {"q": text}, "remove": ["*"]}}, templates),
    st.builds(lambda text: {"cookies": {"set": {"a": text}}}, templates),
    st.builds(lambda text: {"path": {"to": f"/v/{text}"}}, templates),
    st.builds(lambda text: {"body": {"set": {"a.b": text}, "remove": [text]}}, templates),
    st.builds(lambda text: {"redirect": {"to": text, "status": 302}}, templates),
    st.builds(lambda text: {"deny": {"reason": text, "status": 403}}, templates),
    st.builds(lambda text: {"respond": {"json": {"a": [text]}}}, templates),
    st.builds(lambda text: {"lookup": {"url": f"https://a.example/{text}", "into": "v"}}, templates),
    st.builds(lambda text: {"limit": {"key": text, "failures": 5, "per": "15m"}}, templates),
    st.builds(lambda text: {"log": {"message": text}}, templates),
    st.builds(lambda source, text: {"when": source, "set": {"v": text}}, _inside, templates),
    st.dictionaries(
        st.sampled_from(["headers", "when", "name", "end", "wehn", "once", "on"]),
        st.none() | st.text(max_size=3), max_size=3,
    ),
)  # fmt: skip
_matches = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["GET", "post", ["GET", "PUT"], 1, None]),
        "path": st.sampled_from(["/a", "/a/*", "/a/{id}", {"regex": "^/a+$"}, {"regex": "("}, "a", "/*/b"]),
        "headers": st.sampled_from([{"x": "1"}, {"x": {"present": True}}, {"x": ["a", "b"]}, []]),
        "status": st.sampled_from([200, "2xx", [200, "5xx"], 1000, "xx"]),
        "client": st.sampled_from([["10.0.0.0/8"], "::1/128", "x"]),
    },
)
_rules = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "c-1", "", "ä", 1])},
    optional={
        "match": _matches,
        "before": st.lists(_steps, max_size=3),
        "after": st.lists(_steps, max_size=2),
        "continue": st.lists(_steps, max_size=1),
        "mode": st.sampled_from(["shadow", "off", "enforce", "of"]),
        "on_error": st.sampled_from(["continue", "fault"]),
        "fraction": st.sampled_from([0, 0.5, 1, 2, "1"]),
    },
)


def _damage(text: str, at: int, put: str, cut: int) -> str:
    at %= len(text) + 1
    return text[:at] + put + text[at + cut :]


_files = st.builds(
    lambda rules: json.dumps({"version": 1, "rules": rules}, ensure_ascii=False), st.lists(_rules, max_size=4)
)
rule_files = st.one_of(
    _files,
    st.builds(
        _damage,
        _files,
        st.integers(0, 500),
        st.sampled_from(
            ["", "{", "[", '"', "*a", "&a ", "!!x ", "\n", "\t", ": ", "- ", "<<: ", "\x00", "# ", "? ", "%", "\u2028"]
        ),
        st.integers(0, 3),
    ),
).map(str.encode)
