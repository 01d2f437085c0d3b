"""W3C Trace Context: what is a valid parent, and what goes on to the upstream."""

from __future__ import annotations

import os

import pytest

from proxy.engine.message import Headers
from proxy.observe.trace import Traces, read

ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{ID}-{PARENT}-01".encode()


@pytest.mark.parametrize(
    ("sent", "flags"),
    [
        (SENT, 1),
        (f"00-{ID}-{PARENT}-00".encode(), 0),
        (f"00-{ID}-{PARENT}-03".encode(), 3),
        (f"00-{ID}-{PARENT}-fd".encode(), 1),
        (f"cc-{ID}-{PARENT}-01".encode(), 1),
        (f"cc-{ID}-{PARENT}-01-what-comes-later".encode(), 1),
    ],
)
def test_a_valid_parent_is_read(sent: bytes, flags: int) -> None:
    trace = read(sent)
    assert trace is not None
    assert (trace.id, trace.parent, trace.flags) == (ID, PARENT, flags)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"nonsense",
        f"ff-{ID}-{PARENT}-01".encode(),
        f"00-{ID}-{PARENT}-01-more".encode(),
        f"00-{ID.upper()}-{PARENT}-01".encode(),
        f"00-{ID}-{PARENT}-1".encode(),
        f"00-{'0' * 32}-{PARENT}-01".encode(),
        f"00-{ID}-{'0' * 16}-01".encode(),
        f"cc-{ID}-{PARENT}-01.later".encode(),
        SENT + b"\n",
    ],
)
def test_an_invalid_parent_is_none(sent: bytes) -> None:
    assert read(sent) is None


def test_a_trace_goes_on_with_a_parent_of_ours_and_the_state_of_others() -> None:
    trace = Traces(0.0, os.urandom).begin(SENT)
    headers = Headers.of([("traceparent", SENT.decode()), ("tracestate", "a=1,b@c=2"), ("TraceState", " ,d=3")])
    trace.lay(headers)
    assert headers.text(b"traceparent") == f"00-{ID}-{trace.client}-01"
    assert headers.values(b"tracestate") == [b"a=1,b@c=2", b" ,d=3"]
    assert len({PARENT, trace.client, trace.server}) == 3


@pytest.mark.parametrize(
    ("parent", "state"),
    [
        (b"invalid", "a=1"),
        (SENT, "no-value"),
        (SENT, "a=1,a=2"),
        (SENT, "A=1"),
        (SENT, ",".join(f"k{n}=1" for n in range(33))),
        (SENT, "a=" + "x" * 257),
    ],
)
def test_a_state_of_another_trace_or_one_that_is_not_valid_ends_here(parent: bytes, state: str) -> None:
    headers = Headers.of([("traceparent", parent.decode()), ("tracestate", state), ("x-other", "1")])
    Traces(1.0, os.urandom).begin(parent).lay(headers)
    assert b"tracestate" not in headers
    assert headers.text(b"x-other") == "1"


def test_whoever_has_a_parent_is_sampled_as_it_is_and_of_the_others_a_share() -> None:
    assert Traces(0.0, os.urandom).begin(SENT).sampled
    assert not Traces(1.0, os.urandom).begin(SENT[:-1] + b"0").sampled
    assert not Traces(0.0, os.urandom).begin(None).sampled
    assert Traces(1.0, lambda size: b"\xff" * size).begin(None).sampled
    half = Traces(0.5, os.urandom)
    assert 300 < sum(half.begin(None).sampled for _ in range(1000)) < 700
