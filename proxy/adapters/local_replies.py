"""What Envoy's own answers mean, by the details that it gives of a response code.

An answer without an upstream is told as the proxy itself would tell it; what another filter or a route answers is the
operator's own, and stands.
"""

from __future__ import annotations

UPSTREAM = "via_upstream"

_UNREACHABLE = (502, "the upstream cannot be reached")
_LATE = (504, "the upstream did not answer in time")
_FULL = (503, "too many requests wait for the upstream")
_NONE = (503, "there is no healthy upstream")
_BROKEN = (502, "the upstream's answer broke off")

# The first that a detail begins with, or holds, counts.
_RESET = "upstream_reset_before_response_started"
_RESETS = (
    ("overflow", _FULL),
    ("timeout", _LATE),
    ("connection_failure", _UNREACHABLE),
    ("connection_refused", _UNREACHABLE),
)
_FAILURES = (
    ("response_timeout", _LATE),
    ("upstream_response_timeout", _LATE),
    ("upstream_per_try", _LATE),
    ("upstream_max_stream_duration", _LATE),
    ("request_overall_timeout", (408, "the request's body did not arrive in time")),
    ("no_healthy_upstream", _NONE),
    ("cluster_not_found", _NONE),
    ("overflow", _FULL),
    ("upstream_reset", _BROKEN),
    ("request_payload_too_large", (413, "the body is over the limit")),
    ("response_payload_too_large", (502, "the answer's body is over the limit")),
)


def failure_of(details: str) -> tuple[int, str] | None:
    """Give the status and the cause of an upstream that failed, or None where Envoy answered for another reason."""
    text = details.lower()
    if text.startswith(_RESET):
        return next((failure for word, failure in _RESETS if word in text), _BROKEN)
    return next((failure for word, failure in _FAILURES if text.startswith(word)), None)
