"""The way to the upstream, one part after the other: its name, a connection, TLS, an answer, its clock."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from .checkup import Finding

if TYPE_CHECKING:
    from ..edge.options import Upstream

_DAY = 86_400.0
# Days that a certificate has left.
_SOON = 30
# Seconds by which clocks may differ: tokens are checked to the second, and little leeway is usual.
_SKEW, _TOO_MUCH = 5.0, 60.0


def look_upstream(upstream: Upstream) -> Iterator[Finding]:
    """Look at each part of the way, as far as it leads."""
    try:
        found = socket.getaddrinfo(upstream.host, upstream.port, type=socket.SOCK_STREAM)
    except OSError as error:
        text = f"the name {upstream.host} is not known here: {error.strerror or error}"
        yield Finding("upstream name", "fail", text, "look at upstream.url, and at the name server")
        return
    addresses = sorted({str(one[4][0]) for one in found})
    yield Finding("upstream name", "ok", f"{upstream.host}: {', '.join(addresses[:4])}")
    began = time.monotonic()
    try:
        sock = socket.create_connection((upstream.host, upstream.port), upstream.connect)
    except OSError as error:
        text = f"{upstream.host}:{upstream.port}: {error.strerror or error}"
        yield Finding("upstream", "fail", text, "look whether it runs, and whether a firewall is between")
        return
    yield Finding("upstream", "ok", f"a connection stood in {(time.monotonic() - began) * 1000:.1f} ms")
    with sock:
        if upstream.tls is None:
            yield from _answer(upstream, sock)
            return
        try:
            secured = upstream.tls.wrap_socket(sock, server_hostname=upstream.server_name)
        except (OSError, ValueError) as error:
            why = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
            todo = "name its authority in upstream.tls.ca, or its name in upstream.tls.server_name"
            yield Finding("upstream TLS", "fail", f"{upstream.server_name}: {why}", todo)
            return
        with secured:
            yield _certificate(upstream, secured)
            yield from _answer(upstream, secured)


def _certificate(upstream: Upstream, secured: ssl.SSLSocket) -> Finding:
    end = dict(secured.getpeercert() or {}).get("notAfter")
    told = f"{secured.version()}, {upstream.server_name}"
    return lifetime("upstream TLS", told, ssl.cert_time_to_seconds(str(end)))


def lifetime(name: str, told: str, end: float) -> Finding:
    """Say how long a certificate has."""
    days = int((end - time.time()) // _DAY)
    if days < 0:
        return Finding(name, "fail", f"{told}: the certificate ended {-days} days ago", "renew it")
    left = f"{told}: the certificate has {days} days left"
    return Finding(name, "warn", left, "renew it") if days < _SOON else Finding(name, "ok", left)


def _answer(upstream: Upstream, sock: socket.socket) -> Iterator[Finding]:
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=upstream.first_byte)
    connection.sock = sock
    sock.settimeout(upstream.first_byte)
    target = f"{upstream.base}/"
    sent = time.time()
    try:
        connection.request("HEAD", target, headers={"Host": upstream.authority, "Connection": "close"})
        answer = connection.getresponse()
    except TimeoutError:
        text = f"HEAD {target}: nothing in {upstream.first_byte:g} s"
        yield Finding("upstream HTTP", "fail", text, "clients get 504; see upstream.timeouts.first_byte")
        return
    except (OSError, http.client.HTTPException) as error:
        text = f"HEAD {target}: no answer of HTTP/1.1 ({type(error).__name__})"
        yield Finding("upstream HTTP", "fail", text, "look whether the scheme and the port of upstream.url are right")
        return
    told = f"HEAD {target}: {answer.status}"
    if answer.status >= 500:
        yield Finding("upstream HTTP", "warn", told, "it answers, and is not well")
    else:
        # Whatever it says to that address, it is there.
        yield Finding("upstream HTTP", "ok", told)
    yield _clock(answer.headers.get("Date"), sent, time.time())


def _clock(date: str | None, sent: float, came: float) -> Finding:
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", "warn", "the upstream's answer has no Date to compare with")
    # Date has whole seconds, and was written at some time in between.
    skew = max(theirs - came, sent - (theirs + 1.0), 0.0)
    told = f"{skew:.0f} s {'behind' if theirs > came else 'ahead of'} the upstream's"
    if skew > _SKEW:
        return Finding("clock", "fail" if skew > _TOO_MUCH else "warn", told, "tokens expire early or late; see NTP")
    return Finding("clock", "ok", "that of the upstream's answers")
