"""What is found before an expression runs: unknown names, types that do not fit, all of it in one go."""

from __future__ import annotations

import pytest

from proxy.language.cel import (
    BOOL,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    CelProblem,
    CelProblems,
    Environment,
    Function,
    Reader,
    Variable,
    compile,
    list_of,
    map_of,
    secret_function,
)


def _open(path: tuple[str | int, ...]) -> Reader:
    return Reader(get=lambda x: x, has=lambda _: True)


ENVIRONMENT = Environment(
    variables={
        "request": Variable(
            members={
                "method": Variable(type=STRING, read=lambda x: x),
                "path": Variable(type=STRING, read=lambda x: x),
                "body": Variable(read=lambda x: x, open=_open),
                "headers": Variable(type=map_of(STRING, STRING), read=lambda x: x, open=_open),
                "ips": Variable(type=list_of(STRING), read=lambda x: x),
            }
        ),
        "now": Variable(type=TIMESTAMP, read=lambda x: x),
        "count": Variable(type=INT, read=lambda x: x),
        "ready": Variable(type=BOOL, read=lambda x: x),
        "any": Variable(type=DYN, read=lambda x: x),
    },
    functions=(
        secret_function(lambda name: f"test-only-{name}"),
        Function(name="url", overloads=(((STRING, map_of(STRING, DYN)), STRING),), call=lambda name, _: name),
    ),
)


def problems(source: str) -> list[CelProblem]:
    with pytest.raises(CelProblems) as raised:
        compile(source, ENVIRONMENT)
    return raised.value.problems


@pytest.mark.parametrize(
    ("source", "code", "marked", "suggestion"),
    [
        ("reqest.method", "unknown-name", "reqest", "request"),
        ("request.mehtod == 'GET'", "unknown-member", "mehtod", "method"),
        ("has(request.bodi)", "unknown-member", "bodi", "body"),
        ("request['metod']", "unknown-member", "'meto", "method"),
        ("request.path.startswith('/a')", "unknown-function", "startswith", "startsWith"),
        ("siez(request.path)", "unknown-function", "siez", "size"),
        ("base64.encod(b'a')", "unknown-function", "base64.encod", "base64.encode"),
        ("[1].exist(a, a == 1)", "unknown-function", "exist", "exists"),
        ("request.path.upperAscii", "wrong-type", "upperAscii", None),
        ("nothing", "unknown-name", "nothing", None),
    ],
)
def test_an_unknown_name_gets_the_nearest(source: str, code: str, marked: str, suggestion: str | None) -> None:
    found = problems(source)[0]
    assert (found.code, found.suggestion) == (code, suggestion), found.text
    assert source[found.start :].startswith(marked)


@pytest.mark.parametrize(
    ("source", "marked", "words"),
    [
        ("request.path + 1", "request.path + 1", "`+` does not take string and int"),
        ("request.path == 1", "request.path == 1", "never equal"),
        ("request.method == null", "request.method == null", "never equal"),
        ("count && ready", "count", "a term of `&&` is a condition, and this is an int"),
        ("ready || request.path", "request.path", "this is a string"),
        ("count ? 1 : 2", "count", "before `?`"),
        ("!count", "!count", "`!` does not take int"),
        ("-request.path", "-request.path", "`-` does not take string"),
        ("count.startsWith('a')", "count.startsWith('a')", "an int has no startsWith(string)"),
        ("size(count)", "size(count)", "size does not take (int)"),
        ("count.name", "name", "an int has no members"),
        ("request.headers.host.name", "name", "a string has no members"),
        ("count[0]", "count", "an int has no items"),
        ("request.ips['first']", "'first'", "a list's index is an int"),
        ("request.headers[1]", "1", "the keys of this map are of type string"),
        ("1 in request.ips", "1 in request.ips", "does not take"),
        ("count.all(a, a)", "count", "walks a list or a map"),
        ("request.ips.all(a, a)", "a", "the test of all() is a condition"),
        ("{1.5: 'a'}", "1.5", "a map's key"),
        ("{'a': 1, 'a': 2}", "'a': 2", "twice"),
        ("[?count]", "count", "is an optional"),
        ("now + count", "now + count", "does not take timestamp and int"),
        ("request", "request", "read by a member: body, headers"),
        ("path.size", "path", "no variable"),
        ("size", "size", "is a function"),
        ("request.path.url('a')", "url", "called as url(x)"),
        ("startsWith('a', 'b')", "startsWith", "called as x.startsWith()"),
        ("request.ips.exists(a)", "exists", "list.exists(x, condition)"),
        ("request.path.matches('a(')", "'a('", "no valid pattern"),
        ("timestamp('yesterday')", "'yesterday'", "RFC 3339"),
        ("duration('1 hour')", "'1 hour'", "1h30m"),
        ("cidr('10.0.0.0/33')", "'10.0.0.0/33'", "out of range"),
        ("secret(request.path)", "request.path", "a literal text"),
        ("secret('A' + 'B')", "'A' + 'B'", "a literal text"),
    ],
)
def test_a_wrong_type_is_found_once_at_its_place(source: str, marked: str, words: str) -> None:
    (found,) = problems(source)
    assert words in found.text, found
    assert source[found.start :].startswith(marked)
    assert found.end > found.start


def test_all_problems_come_in_one_go_in_the_order_of_the_source() -> None:
    source = "reqest.method == 'GET' && request.pth.startsWith('/') && count + 'a' == nope(1)"
    assert [(found.code, source[found.start : found.end]) for found in problems(source)] == [
        ("unknown-name", "reqest"),
        ("unknown-member", "pth"),
        ("wrong-type", "count + 'a'"),
        ("unknown-function", "nope"),
    ]


@pytest.mark.parametrize(
    ("source", "type"),
    [
        ("request.method", "string"),
        ("request.headers['X-A']", "string"),
        ("request.headers.?host", "optional_type(string)"),
        ("request.headers.?host.orValue('')", "string"),
        ("request.body.a.b", "dyn"),
        ("request.body.a == 1", "bool"),
        ("count + 1", "int"),
        ("count / 2 > 1 ? 'a' : 'b'", "string"),
        ("ready ? 'a' : null", "dyn"),
        ("[1, 2]", "list(int)"),
        ("[1, 'a']", "list(dyn)"),
        ("[]", "list(dyn)"),
        ("{'a': [1]}", "map(string, list(int))"),
        ("request.ips.map(a, size(a))", "list(int)"),
        ("request.ips[0]", "string"),
        ("now - timestamp('2026-01-01T00:00:00Z')", "duration"),
        ("cidr('10.0.0.0/8').containsIP(request.ips[0])", "bool"),
        ("jwt(request.path).claims.sub", "dyn"),
        ("optional.of(1).optMap(a, string(a))", "optional_type(string)"),
        ("cel.bind(a, count, a * a)", "int"),
    ],
)
def test_types_are_known_where_they_can_be(source: str, type: str) -> None:
    assert str(compile(source, ENVIRONMENT).type) == type


def test_numbers_of_different_types_may_be_compared() -> None:
    assert compile("count == 1.0 && count < 2u", ENVIRONMENT).type == BOOL


def test_more_variables_leave_the_first_environment_as_it_was() -> None:
    more = ENVIRONMENT.with_variables({"user": Variable(type=STRING, read=lambda x: x)})
    assert compile("user", more).type == STRING
    assert problems("user")[0].code == "unknown-name"
