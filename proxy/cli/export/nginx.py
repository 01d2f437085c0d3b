"""`vestibule export nginx`: a server of nginx that asks Vestibule about each request, by `auth_request`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from .asking import Asked, asked_or_exit, commented, options, run_of, shown

# What `return` can be told only by one line each. A status that is not among them becomes a 403.
STATUSES = (
    301, 302, 303, 307, 308, 400, 401, 402, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 417, 418, 421, 422,
    423, 424, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505,
)  # fmt: skip
# What nginx writes by itself in an answer: the address of a redirect, and what comes with a 401.
_WRITTEN = ("location", "www-authenticate")
_TLS = (
    "proxy_ssl_server_name on;",
    "proxy_ssl_verify on;",
    "proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;",
)


@click.command("nginx")
@options
def command(rules: tuple[Path, ...], listen: str, upstream: str, vestibule: str) -> None:
    """Print a configuration of nginx that asks Vestibule about each request (auth_request).

    \b
    vestibule export nginx rules > /etc/nginx/conf.d/auth.conf
    vestibule run --serve forward_auth=127.0.0.1:9001 --rules rules

    nginx passes on the headers that stand in it, so print it again when other headers stand in the rules. Requests
    are asked about without their bodies.
    """
    asked = asked_or_exit(rules, "forward_auth")
    run = run_of(rules, "forward_auth", vestibule=vestibule, upstream=upstream)
    printed = f"Printed by `vestibule export nginx {shown(rules)}`, for the context `http`."
    above = f"What Vestibule decides for nginx: {run}\n{printed}"
    click.echo(write(asked, above, listen=listen, upstream=upstream, vestibule=vestibule), nl=False)


def write(asked: Asked, above: str, *, listen: str, upstream: str, vestibule: str) -> str:
    """Write the configuration."""
    secure = upstream.startswith("https:")
    # The hash of variables takes no long names.
    copied = [
        f"auth_request_set $vestibule_r{at} $upstream_http_{_word(name)};\n"
        f"        proxy_set_header {name} $vestibule_r{at};"
        for at, name in enumerate(asked.copied, 1)
    ]
    given = [name for name in asked.answers if name.lower() not in _WRITTEN]
    answered = [f"auth_request_set $vestibule_a{at} $upstream_http_{_word(name)};" for at, name in enumerate(given, 1)]
    added = [f"add_header {name} $vestibule_a{at} always;" for at, name in enumerate(given, 1)]
    returned = [f"if ($vestibule_status = {status}) {{ return {status} {_returned(status)}; }}" for status in STATUSES]
    return f"""\
{commented(above)}

upstream vestibule {{
    server {vestibule};
    keepalive 64;
}}

server {{
    listen {listen};

    location / {{
        auth_request /.vestibule-ask;
        error_page 401 403 = @vestibule-refused;

        # The headers of the request as the rules leave them; one that they removed is empty, and so not sent.
        {_lines(copied)}

        # The answer, where a rule gives one.
        auth_request_set $vestibule_status $upstream_http_vestibule_status;
        auth_request_set $vestibule_body $upstream_http_vestibule_body;
        auth_request_set $vestibule_location $upstream_http_location;
        {_lines(answered)}

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host {"$proxy_host" if secure else "$http_host"};
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
        {_lines([*(_TLS if secure else ()), f"proxy_pass {upstream};"])}
    }}

    # Who, how and what is asked for, as nginx knows it. Of X-Forwarded-For Vestibule believes the last address, that of
    # the connection, and those before it as far as they are in `trusted_proxies`.
    location = /.vestibule-ask {{
        internal;
        proxy_http_version 1.1;
        proxy_pass http://vestibule/nginx;
        proxy_pass_request_body off;
        proxy_set_header Connection "";
        proxy_set_header Content-Length "";
        proxy_set_header X-Forwarded-Method $request_method;
        proxy_set_header X-Forwarded-Uri $request_uri;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        # All headers of the request come back.
        proxy_buffer_size 64k;
        proxy_buffers 4 64k;
    }}

    # auth_request itself knows a 401 and a 403 only: what the client is to get stands in headers.
    location @vestibule-refused {{
        absolute_redirect off;
        default_type "";
        {_lines([*added, *returned])}
        return 403 $vestibule_body;
    }}
}}
"""


def _lines(lines: Sequence[str]) -> str:
    return "\n        ".join(lines)


def _returned(status: int) -> str:
    return "$vestibule_location" if 301 <= status <= 308 else "$vestibule_body"


def _word(name: str) -> str:
    return re.sub("[^a-z0-9]", "_", name.lower())
