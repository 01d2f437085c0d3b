"""What a program tells of what it reads, and that it reads no more than that."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import pytest

from proxy.engine.errors import EvaluationError, Unreadable
from proxy.language.cel import (
    DYN,
    INT,
    STRING,
    Environment,
    Function,
    Read,
    Reader,
    Timestamp,
    Variable,
    compile,
    map_of,
    secret_function,
)


@dataclass
class Message:
    """A request as the tests see it; `asked` is every read of its body and headers, in order."""

    method: str = "POST"
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    bearer: str | None = None
    asked: list[tuple[str, tuple[str | int, ...] | None]] = field(default_factory=list)


def _find(data: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            raise EvaluationError("there is no such member", "request") from None
    return data


def _document(name: str) -> Variable:
    def open_path(path: tuple[str | int, ...]) -> Reader:
        def get(x: Message) -> Any:
            x.asked.append((name, path))
            return _find(getattr(x, name), path)

        def has(x: Message) -> bool:
            parent = _find(getattr(x, name), path[:-1])
            if isinstance(parent, list):
                return isinstance(path[-1], int) and path[-1] < len(parent)
            return path[-1] in parent

        return Reader(get=get, has=has)

    def read(x: Message) -> Any:
        x.asked.append((name, None))
        return getattr(x, name)

    type = map_of(STRING, STRING) if name == "headers" else DYN
    has = attrgetter(name)
    return Variable(type=type, read=read, open=open_path, footprint=f"request.{name}", has=lambda x: bool(has(x)))


def _bearer(x: Message) -> str:
    if x.bearer is None:
        raise EvaluationError("there is no bearer token", "request")
    return x.bearer


def _unreadable(_: Message) -> Any:
    raise Unreadable("request", "the body is malformed")


ENVIRONMENT = Environment(
    variables={
        "request": Variable(
            members={
                "method": Variable(type=STRING, attribute="method", footprint="request.method"),
                "body": _document("body"),
                "headers": _document("headers"),
                "bearer": Variable(
                    type=STRING, read=_bearer, has=lambda x: x.bearer is not None, footprint="request.headers"
                ),
                "broken": Variable(read=_unreadable, has=_unreadable, footprint="request.broken"),
                "basic": Variable(
                    members={"username": Variable(type=STRING, read=_bearer)}, has=lambda x: x.bearer is not None
                ),
            }
        ),
        "configuration": Variable(
            read=lambda _: {"limit": 5}, members={"limit": Variable(type=INT, read=lambda _: 5)}, footprint=""
        ),
        "name": Variable(type=STRING, read=lambda _: "limit"),
    },
    functions=(
        secret_function(lambda name: None if name == "MISSING" else f"test-only-{name}"),
        Function(name="phase", overloads=(((), STRING),), call=lambda x: x.method.lower(), exchange=True, pure=False),
        Function(name="again", overloads=(((STRING, INT), STRING),), call=lambda text, n: text * n),
    ),
)


def body(*path: str | int, tested: bool = False, guarded: bool = False) -> Read:
    return Read("request.body", path or None, tested=tested, guarded=guarded)


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("request.method == 'GET'", [Read("request.method", None)]),
        ("request.body.user.name", [body("user", "name")]),
        ("request.body['user']['odd name'].x[0]", [body("user", "odd name", "x", 0)]),
        ("request.body.username.split('@')[1]", [body("username")]),
        ("request.headers['X-Foo']", [Read("request.headers", ("X-Foo",))]),
        ("size(request.body)", [body()]),
        ("request.body[name]", [body()]),
        ("request.body.user[name].id", [body("user")]),
        ("request.body.items[-1]", [body("items")]),
        ("request.body.items.exists(i, i.id == 1)", [body("items")]),
        ("has(request.body.a.b)", [body("a", "b", tested=True)]),
        ("has(request.body)", [Read("request.body", (), tested=True)]),
        ("request.body.?a.orValue('')", [body("a", tested=True)]),
        (
            "has(request.body.a) && request.body.a == 1",
            [body("a", tested=True), body("a", guarded=True)],
        ),
        (
            "has(request.body.a) ? request.body.a.b[0] : request.body.c",
            [body("a", tested=True), body("a", "b", 0, guarded=True), body("c")],
        ),
        ("has(request.body.a.b) && request.body.a.c == 1", [body("a", "b", tested=True), body("a", "c")]),
        ("has(request.body) && size(request.body) > 1", [Read("request.body", (), tested=True), body(guarded=True)]),
        ("request.bearer == request.bearer", [Read("request.headers", None)]),
        ("configuration.limit", []),
    ],
)
def test_reads_are_the_static_paths(source: str, reads: list[Read]) -> None:
    found = compile(source, ENVIRONMENT).reads
    assert [
        each for each in found if not (each.footprint == "request.body" and each.tested and each.path is None)
    ] == reads


@pytest.mark.parametrize(
    ("source", "result", "asked"),
    [
        ("request.body.user.name", "ann", [("user", "name")]),
        ("request.body.username.split('@')[1]", "x.example", [("username",)]),
        ("request.body.list[1] + 1", 21, [("list", 1)]),
        ("request.body[request.body.key]", 7, [None, ("key",)]),
        ("has(request.body.user.name)", True, []),
        ("has(request.body.user.nick)", False, []),
        ("request.body.?user.?name.orValue('-')", "ann", [("user", "name")]),
        ("has(request.body.?user.name)", True, []),
        ("has(request.body.?none.name)", False, []),
        ("request.body.?none.?name.orValue('-')", "-", []),
        ("request.body.?none.name.orValue('-')", "-", []),
        ("request.body.?user.hasValue()", True, [("user",)]),
        ("request.body.list[?5].orValue(0)", 0, []),
        ("request.body.?user.optMap(u, u.name + '!').orValue('')", "ann!", [("user",)]),
        ("request.method == 'GET' && request.body.user.name == 'ann'", False, []),
        ("request.body.user.name == 'ann' && request.method == 'GET'", False, []),
    ],
)
def test_only_what_is_named_is_read(source: str, result: object, asked: list[object]) -> None:
    message = Message(body={"user": {"name": "ann"}, "username": "a@x.example", "list": [10, 20], "key": "n", "n": 7})
    assert compile(source, ENVIRONMENT).run(message) == result
    assert sorted(map(str, (path for _, path in message.asked))) == sorted(map(str, asked))


@pytest.mark.parametrize(
    ("source", "bearer", "result"),
    [
        ("has(request.bearer)", None, False),
        ("has(request.bearer)", "token", True),
        ("has(request.method)", None, True),
        ("request.?bearer.orValue('none')", None, "none"),
        ("request.?bearer.orValue('none')", "token", "token"),
        ("request.?method.orValue('none')", None, "POST"),
        ("request.?basic.username.orValue('none')", None, "none"),
        ("request.?basic.?username.orValue('none')", "token", "token"),
        ("has(request.basic.username)", "token", True),
        ("has(request.basic) && has(request.basic.username)", None, False),
    ],
)
def test_a_member_says_itself_whether_it_is_there(source: str, bearer: str | None, result: object) -> None:
    assert compile(source, ENVIRONMENT).run(Message(bearer=bearer)) == result


@pytest.mark.parametrize(
    "source", ["has(request.basic.username)", "request.bearer", "request.body.a", "has(request.body.a.b)"]
)
def test_what_is_missing_is_an_error_and_never_a_value(source: str) -> None:
    with pytest.raises(EvaluationError):
        compile(source, ENVIRONMENT).run(Message())


@pytest.mark.parametrize(
    "source",
    [
        "request.broken.a",
        "request.broken == 1 || request.body.x == 1",
        "true || request.broken.a == 1 || request.body.x == 1 || request.broken.b == 2",
        "[1, 2].exists(i, request.broken == i || i == 2)",
        "request.?broken.orValue(1)",
        "has(request.broken) || request.body.x == 1",
    ],
)
def test_an_unreadable_message_passes_through_every_condition(source: str) -> None:
    program = compile(source.replace("true || ", "request.method == 'GET' || "), ENVIRONMENT)
    with pytest.raises(Unreadable):
        program.run(Message())


@pytest.mark.parametrize(
    ("source", "secrets"),
    [
        ("secret('A')", {"A"}),
        ("'x' + secret('A') + secret('B')", {"A", "B"}),
        ("hmac(secret('A'), request.method)", set()),
        ("hmac(secret('A'), request.method) + secret('B')", {"B"}),
        ("hmac(again(secret('A'), 2), 'm')", set()),
        ("constantTimeEqual(request.method, secret('A'))", {"A"}),
    ],
)
def test_secrets_outside_of_hmac_are_named(source: str, secrets: set[str]) -> None:
    assert compile(source, ENVIRONMENT).secrets == secrets


def test_a_secret_is_read_when_it_runs_and_a_missing_one_is_an_error() -> None:
    assert compile("secret('A')", ENVIRONMENT).run(Message()) == "test-only-A"
    with pytest.raises(EvaluationError, match="there is no secret 'MISSING'"):
        compile("secret('MISSING')", ENVIRONMENT).run(Message())


@pytest.mark.parametrize(
    ("source", "names", "constant"),
    [
        ("1 + 2", set(), True),
        ("timestamp('2026-01-01T00:00:00Z')", set(), True),
        ("[1].map(i, i)", set(), True),
        ("request.method", {"request"}, False),
        ("configuration.limit + size(name)", {"configuration", "name"}, False),
        ("has(request.bearer)", {"request"}, False),
        ("[name].exists(name, name == 'a')", {"name"}, False),
        ("phase()", set(), False),
        ("uuid()", set(), False),
        ("secret('A')", set(), False),
    ],
)
def test_a_program_says_which_roots_it_reads_and_whether_it_is_constant(
    source: str, names: set[str], constant: bool
) -> None:
    program = compile(source, ENVIRONMENT)
    assert (set(program.names), program.constant, program.source) == (names, constant, source)


def test_functions_get_the_exchange_when_they_ask_for_it() -> None:
    assert compile("phase() + '!'", ENVIRONMENT).run(Message(method="GET")) == "get!"


def test_a_struct_with_a_value_may_be_read_whole() -> None:
    assert compile("configuration[name]", ENVIRONMENT).run(Message()) == 5


def test_an_error_keeps_the_side_that_its_reader_gave_it() -> None:
    with pytest.raises(EvaluationError) as raised:
        compile("request.body.a.b + 1", ENVIRONMENT).run(Message())
    assert raised.value.side == "request"


def test_a_foreign_error_of_a_reader_becomes_one_of_the_expression_without_its_text() -> None:
    environment = Environment(variables={"a": Variable(read=lambda x: {}[x])})
    for source in ("a", "a && true", "a == 1"):
        with pytest.raises(EvaluationError) as raised:
            compile(source, environment).run("test-only-password")
        assert "password" not in str(raised.value)


def test_a_timestamp_of_seconds_is_exact_to_the_microsecond() -> None:
    assert str(Timestamp.from_seconds(1_769_860_800.123456)) == "2026-01-31T12:00:00.123456Z"
