"""Bodies of JSON that two readers could read differently are refused, and what is not named keeps its bytes."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator

import pytest

from proxy.engine.body import open_body
from proxy.engine.errors import Unreadable
from proxy.engine.message import Headers, Limits
from tests.corpora import load, needs_corpora
from tests.figures import Figures
from tests.fuzz.targets import json_body

BODIES = 12_000
_SCALARS = (
    "1", "-0", "0.10", "1e5", "1E400", "01", ".5", "1.", "+1", "NaN", "Infinity", "18446744073709551616", "9" * 30,
    "9" * 400, "0." + "1" * 17, "true", "null", "nul", '""', '"a"', '"\\u0061"', '"\\ud800"', '"\\ud83d\\ude00"',
    '"\\x"',
    '"\x00"', '"\\u0000"', "'a'", '"é"', '"\t"', '"/"', '"\\/"', "undefined", "0x10", "1_000", '"\u2028"',
)  # fmt: skip
_KEYS = (
    '"a"', '"\\u0061"', '"A"', '"b"', '""', '"__proto__"', '"constructor"', '"us\\u0065r"', '"user"', "a", "1", '"é"',
    '"\\u00e9"', '"e\u0301"', '"a\\u0000"', '"\\ud800"',
)  # fmt: skip
_GAPS = ("",) * 12 + (" ", "\n", "\t ", "\ufeff", "/**/", "\x0b", "\xa0", "//\n")


def bodies(count: int) -> Iterator[bytes]:
    """Give so many bodies, always the same: mostly JSON, with what readers differ about here and there."""
    draw = random.Random(4)

    def value(depth: int) -> str:
        kind = draw.random()
        if depth == 0 or kind < 0.4:
            return draw.choice(_SCALARS[:5] if draw.random() < 0.6 else _SCALARS)
        size = draw.randint(0, 4)
        gap = draw.choice(_GAPS)
        end = "," if draw.random() < 0.03 else ""
        if kind < 0.8:
            pairs = (f"{gap}{draw.choice(_KEYS)}{gap}:{value(depth - 1)}" for _ in range(size))
            return "{" + ",".join(pairs) + end + gap + "}"
        return "[" + ",".join(f"{gap}{value(depth - 1)}" for _ in range(size)) + end + "]"

    for _ in range(count):
        text = draw.choice(_GAPS) + value(draw.randint(0, 4)) + draw.choice(_GAPS)
        if draw.random() < 0.05:
            text += draw.choice(("{}", "x", "\x00", ",", "]"))
        data = text.encode("utf-8", "surrogatepass")
        yield data if draw.random() < 0.97 else data[: draw.randint(0, len(data))]


def found_in(all: Iterator[bytes]) -> tuple[int, list[bytes]]:
    """Read and edit bodies; gives how many there were, and those that two readers read differently."""
    tried, found = 0, []
    for data in all:
        tried += 1
        try:
            json_body(data)
        except AssertionError:
            found.append(data)
    return tried, found


def test_no_body_is_read_in_two_ways_or_loses_a_byte(figures: Figures) -> None:
    tried, found = found_in(bodies(BODIES))
    figures.add("json", cases=tried, found=len(found))
    assert found == []


@needs_corpora
def test_nor_one_of_the_public_vectors(figures: Figures) -> None:
    tried, found = found_in(base64.b64decode(text) for text in load("JSONTestSuite/test_parsing.json").values())
    figures.add("json", cases=tried, found=len(found))
    assert tried > 300
    assert found == []


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b'{"user":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 413),
        (b'{"user":' * 1000 + b"1" + b"}" * 1000, 413),
        (b"[" * 1025 + b"]" * 1025, 413),
        (b'{"user":' + b"[" * 63 + b"]" * 63 + b"}", None),
        (b'{"user":"' + b"x" * 1_000_000 + b'"}', None),
        (b'{"user":1' + b"".join(b',"k%d":1' % number for number in range(100_000)) + b"}", None),
        (b'{"user":[' + b"1," * 1_000_000 + b"1]}", None),
        (b'{"user":"' + b"x" * 5_000_000 + b'"}', 413),
    ],
    ids=["deep", "deep-objects", "deeper-than-libraries", "as-deep-as-allowed", "long", "keys", "elements", "large"],
)
def test_a_body_is_read_within_its_limits_or_refused(text: bytes, status: int | None) -> None:
    headers = Headers.of([("Content-Type", "application/json")])
    try:
        document = open_body(headers, text, Limits(), "request")
        document.value()
        found = None
    except Unreadable as error:
        found = error.status
    assert found == status
