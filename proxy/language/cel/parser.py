"""Tokens to a tree: a Pratt parser with CEL's grammar, its macros expanded on the way.

Limits hold while parsing, so that no source can exhaust the checker or Python's own compiler.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from .nodes import (
    Bind,
    Call,
    Comprehension,
    Conditional,
    Constant,
    Index,
    Kind,
    ListLiteral,
    Logic,
    MapLiteral,
    Name,
    Node,
    OptionalMap,
    Select,
)
from .tokens import RESERVED, Token, refuse, split
from .types import BOOL, BYTES, DOUBLE, INT, NULL, STRING, UINT

N = TypeVar("N", bound=Node)

MOST_CHARACTERS = 4096
MOST_LEVELS = 40
MOST_TERMS = 128
# Chains of operators and selections make a tree high without a level of nesting.
MOST_HEIGHT = 160

_RELATIONS = frozenset({"<", "<=", ">", ">=", "==", "!=", "in"})
_BINDING = {
    "||": 2, "&&": 3, **dict.fromkeys(_RELATIONS, 4), "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
}  # fmt: skip
_NOT_SELECTED = frozenset({"in", "true", "false", "null"})
_LITERALS = {"int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES}
_WORDS = {"true": (True, BOOL), "false": (False, BOOL), "null": (None, NULL)}
_KINDS: dict[str, Kind] = {
    "all": "all",
    "exists": "exists",
    "exists_one": "exists_one",
    "existsOne": "exists_one",
    "map": "map",
    "filter": "filter",
    "transformList": "map",
    "transformMap": "transformMap",
}


def parse(source: str) -> Node:
    """Parse an expression; raise CelProblems with the one place where it stops making sense."""
    if len(source) > MOST_CHARACTERS:
        text = f"an expression has at most {MOST_CHARACTERS} characters, this has {len(source)}"
        raise refuse(text, MOST_CHARACTERS, len(source), code="too-long")
    return _Parser(source).parse()


class _Parser:
    def __init__(self, source: str) -> None:
        self.tokens = split(source)
        self.at = 0
        self.level = 0

    # Tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def is_sign(self, *signs: str) -> bool:
        token = self.token
        return token.kind == "sign" and token.text in signs

    def accept(self, sign: str) -> Token | None:
        return self.take() if self.is_sign(sign) else None

    def expect(self, sign: str, opener: Token | None = None) -> Token:
        token = self.token
        if token.kind == "sign" and token.text == sign:
            return self.take()
        if token.kind == "end" and opener is not None:
            raise refuse(f"this `{opener.text}` is not closed: `{sign}` is missing", opener.start, opener.end)
        raise refuse(f"`{sign}` is missing before {_shown(token)}", token.start, max(token.end, token.start + 1))

    # Expressions

    def parse(self) -> Node:
        node = self.expression()
        token = self.token
        if token.kind != "end":
            if token.kind == "name" and token.text in ("and", "or", "not"):
                meant = {"and": "&&", "or": "||", "not": "!"}[token.text]
                raise refuse(f"`{token.text}` is no operator", token.start, token.end, meant)
            raise refuse(f"the expression ends before {_shown(token)}", token.start, token.end)
        return node

    def expression(self) -> Node:
        self.deeper()
        condition = self.binary(2)
        if self.accept("?"):
            then = self.binary(2)
            colon = self.token
            if self.accept(":") is None:
                raise refuse(f"`:` is missing before {_shown(colon)}", colon.start, max(colon.end, colon.start + 1))
            other = self.expression()
            condition = raised(
                Conditional(condition=condition, then=then, other=other, start=condition.start, end=other.end),
                condition, then, other,
            )  # fmt: skip
        self.level -= 1
        return condition

    def deeper(self) -> None:
        self.level += 1
        if self.level > MOST_LEVELS:
            token = self.token
            raise refuse(
                f"more than {MOST_LEVELS} levels of nesting",
                token.start,
                max(token.end, token.start + 1),
                code="too-deep",
            )

    def operator(self) -> tuple[str, int] | None:
        token = self.token
        if token.kind == "sign" or (token.kind == "name" and token.text == "in"):
            power = _BINDING.get(token.text)
            return None if power is None else (token.text, power)
        return None

    def binary(self, least: int) -> Node:
        left = self.unary()
        terms = 1
        while (found := self.operator()) is not None and found[1] >= least:
            sign, power = found
            operator = self.take()
            if power <= 3:
                left = self.chain(left, sign, power)
                continue
            terms += 1
            if terms > MOST_TERMS:
                raise refuse(
                    f"more than {MOST_TERMS} terms in one chain", operator.start, operator.end, code="too-long"
                )
            right = self.binary(power + 1)
            left = raised(
                Call(
                    name=sign, target=None, args=[left, right], name_start=operator.start,
                    start=left.start, end=right.end,
                ),
                left, right,
            )  # fmt: skip
        return left

    def chain(self, first: Node, sign: str, power: int) -> Node:
        terms = [first, self.binary(power + 1)]
        while self.is_sign(sign):
            operator = self.take()
            if len(terms) == MOST_TERMS:
                raise refuse(
                    f"more than {MOST_TERMS} terms in one chain", operator.start, operator.end, code="too-long"
                )
            terms.append(self.binary(power + 1))
        kind: Literal["&&", "||"] = "&&" if sign == "&&" else "||"
        return raised(Logic(sign=kind, terms=terms, start=first.start, end=terms[-1].end), *terms)

    def unary(self) -> Node:
        token = self.token
        if not self.is_sign("!", "-"):
            return self.member()
        self.take()
        number = self.token
        if token.text == "-" and number.kind in ("int", "double"):
            self.take()
            literal = Constant(value=-number.value, type=_LITERALS[number.kind], start=token.start, end=number.end)
            return self.member(literal)
        self.deeper()
        operand = self.unary()
        self.level -= 1
        name = "!" if token.text == "!" else "-_"
        return raised(
            Call(name=name, target=None, args=[operand], name_start=token.start, start=token.start, end=operand.end),
            operand,
        )

    def member(self, node: Node | None = None) -> Node:
        node = node or self.primary()
        while True:
            if self.accept("."):
                node = self.dotted(node)
            elif self.is_sign("["):
                opener = self.take()
                optional = self.accept("?") is not None
                index = self.expression()
                close = self.expect("]", opener)
                node = raised(
                    Index(operand=node, index=index, optional=optional, start=node.start, end=close.end), node, index
                )
            else:
                return node

    def dotted(self, node: Node) -> Node:
        optional = self.accept("?") is not None
        name = self.token
        if name.kind not in ("name", "quoted") or (name.kind == "name" and name.text in _NOT_SELECTED):
            text = (
                f"a name is missing after `.`, before {_shown(name)}"
                if name.kind != "name"
                else f"`{name.text}` is a word of the language"
            )
            raise refuse(
                text, name.start, max(name.end, name.start + 1), f"['{name.text}']" if name.kind == "name" else None
            )
        self.take()
        if name.kind == "name" and not optional and self.is_sign("("):
            args, end = self.arguments()
            return self.macro(node, name, args, end) or raised(
                Call(name=name.text, target=node, args=args, name_start=name.start, start=node.start, end=end),
                node,
                *args,
            )
        return raised(
            Select(
                operand=node, name=name.text, name_start=name.start, optional=optional, start=node.start, end=name.end
            ),
            node,
        )

    def arguments(self) -> tuple[list[Node], int]:
        opener = self.expect("(")
        args: list[Node] = []
        if not self.is_sign(")"):
            args.append(self.expression())
            while self.accept(","):
                args.append(self.expression())
        return args, self.expect(")", opener).end

    def primary(self) -> Node:
        token = self.take()
        if token.kind in _LITERALS:
            if token.kind == "int" and token.value >= 2**63:
                raise refuse("this number does not fit into 64 bits", token.start, token.end)
            return Constant(value=token.value, type=_LITERALS[token.kind], start=token.start, end=token.end)
        if token.kind == "name":
            return self.named(token, token.start, rooted=False)
        if token.kind == "sign" and token.text == "(":
            node = self.expression()
            self.expect(")", token)
            return node
        if token.kind == "sign" and token.text == "." and self.token.kind == "name":
            return self.named(self.take(), token.start, rooted=True)
        if token.kind == "sign" and token.text == "[":
            return self.list_literal(token)
        if token.kind == "sign" and token.text == "{":
            return self.map_literal(token)
        if token.kind == "end":
            raise refuse("the expression is not complete", max(token.start - 1, 0), max(token.end, 1))
        raise refuse(f"a value is missing before {_shown(token)}", token.start, token.end)

    def named(self, token: Token, start: int, *, rooted: bool) -> Node:
        word = _WORDS.get(token.text)
        if word is not None and not rooted:
            return Constant(value=word[0], type=word[1], start=start, end=token.end)
        if token.text in RESERVED:
            raise refuse(f"`{token.text}` is a reserved word", start, token.end, code="reserved-word")
        if not self.is_sign("("):
            if self.is_sign("{"):
                raise refuse("there are no message types to build", start, token.end)
            return Name(name=token.text, rooted=rooted, start=start, end=token.end)
        args, end = self.arguments()
        if token.text == "has":
            return self.has(args, start, end)
        return raised(
            Call(name=token.text, target=None, args=args, name_start=token.start, start=start, end=end), *args
        )

    def list_literal(self, opener: Token) -> Node:
        items: list[Node] = []
        optional: list[bool] = []
        while not self.is_sign("]"):
            optional.append(self.accept("?") is not None)
            items.append(self.expression())
            if not self.accept(","):
                break
        end = self.expect("]", opener).end
        return raised(ListLiteral(items=items, optional=optional, start=opener.start, end=end), *items)

    def map_literal(self, opener: Token) -> Node:
        entries: list[tuple[Node, Node]] = []
        optional: list[bool] = []
        while not self.is_sign("}"):
            optional.append(self.accept("?") is not None)
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression()))
            if not self.accept(","):
                break
        end = self.expect("}", opener).end
        nodes = [node for entry in entries for node in entry]
        return raised(MapLiteral(entries=entries, optional=optional, start=opener.start, end=end), *nodes)

    # Macros

    def has(self, args: list[Node], start: int, end: int) -> Node:
        operand = args[0] if len(args) == 1 else None
        if not isinstance(operand, Select) or operand.tested or operand.optional:
            hint = "; for one in brackets write 'name' in …" if isinstance(operand, Index) else ""
            raise refuse(f"has() takes one member, as in has(request.body.name){hint}", start, end)
        operand.tested = True
        operand.start, operand.end = start, end
        return operand

    def macro(self, target: Node, name: Token, args: list[Node], end: int) -> Node | None:
        """Expand a macro, or return None when it is a call of a function."""
        if name.text == "bind" and isinstance(target, Name) and target.name == "cel":
            if len(args) != 3:
                raise refuse("cel.bind takes a name, a value and an expression", name.start, name.end)
            return raised(
                Bind(name=_variable(args[0]), value=args[1], body=args[2], start=target.start, end=end),
                args[1],
                args[2],
            )
        if name.text in ("optMap", "optFlatMap") and len(args) == 2:
            flat = name.text == "optFlatMap"
            return raised(
                OptionalMap(
                    target=target, name=_variable(args[0]), body=args[1], flat=flat, start=target.start, end=end
                ),
                target, args[1],
            )  # fmt: skip
        kind = _KINDS.get(name.text)
        if kind is None:
            return None
        shape = self.shape(name.text, args)
        if shape is None:
            return None
        names, condition, result = shape
        inner = [node for node in (condition, result) if node is not None]
        return raised(
            Comprehension(
                kind=kind, range=target, names=names, condition=condition, result=result, start=target.start, end=end
            ),
            target, *inner,
        )  # fmt: skip

    def shape(self, name: str, args: list[Node]) -> tuple[list[Name], Node | None, Node | None] | None:
        """Tell a macro's variables, condition and result apart; None when the number of arguments fits none."""
        count = len(args)
        if name in ("transformList", "transformMap"):
            if count not in (3, 4):
                return None
            return [_variable(args[0]), _variable(args[1])], args[2] if count == 4 else None, args[-1]
        if name == "map":
            if count not in (2, 3):
                return None
            return [_variable(args[0])], args[1] if count == 3 else None, args[-1]
        if count == 2:
            return [_variable(args[0])], args[1], None
        if count == 3 and name != "filter":
            return [_variable(args[0]), _variable(args[1])], args[2], None
        return None


def raised(node: N, *children: Node) -> N:
    """Set a node's height above its children; refuse one that is too high."""
    node.height = 1 + max((child.height for child in children), default=0)
    if node.height > MOST_HEIGHT:
        raise refuse("the expression is too deeply nested", node.start, node.end, code="too-deep")
    return node


def _variable(node: Node) -> Name:
    if not isinstance(node, Name) or node.rooted:
        raise refuse("a macro's variable is a plain name", node.start, node.end)
    return node


def _shown(token: Token) -> str:
    return "the end" if token.kind == "end" else f"`{token.text}`"
