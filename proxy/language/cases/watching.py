"""How the exchanges of a case call the engine: as they do in `vestibule test`, or seen by somebody who measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from ...engine.message import Request, Response

P = ParamSpec("P")
T = TypeVar("T")


class Call(Protocol):
    """Calls the engine for one exchange."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


def plainly(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the engine, and nothing else."""
    return work(*args, **kwargs)


class Watch:
    """Watches nothing; a subclass sees each call of the engine, and gives the messages that are played."""

    request: type[Request] = Request
    response: type[Response] = Response

    def exchange(self) -> Call:
        """Give what calls the engine for one more exchange; asked in the order of the case."""
        return plainly
