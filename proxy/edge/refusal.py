"""The one exception for a message that HTTP itself forbids; its cause never holds a byte of the message."""

from __future__ import annotations


class Refusal(Exception):
    """A request to be answered with `status`, or an upstream answer to be dropped."""

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status = status
        self.cause = cause
