"""`vestibule export traefik`: a configuration of Traefik that asks Vestibule about each request, by ForwardAuth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...engine.message import Limits
from .asking import Asked, asked_or_exit, options, run_of, shown
from .writing import write as write_document

# No answer of a rule is longer.
_LONGEST = 1 << 20


@click.command("traefik")
@options
def command(rules: tuple[Path, ...], listen: str, upstream: str, vestibule: str) -> None:
    """Print a dynamic configuration of Traefik that asks Vestibule about each request (ForwardAuth).

    \b
    vestibule export traefik rules > dynamic.yaml
    vestibule run --serve forward_auth_body=127.0.0.1:9001 --rules rules
    traefik --entryPoints.auth.address=127.0.0.1:8080 --providers.file.filename=dynamic.yaml

    Traefik passes on the headers that stand in it, so print it again when other headers stand in the rules. Requests
    are asked about with their bodies.
    """
    asked = asked_or_exit(rules, "forward_auth_body")
    run = run_of(rules, "forward_auth_body", vestibule=vestibule, upstream=upstream)
    above = f"What Vestibule decides for Traefik: {run}\nPrinted by `vestibule export traefik {shown(rules)}`."
    click.echo(write(asked, above, listen=listen, upstream=upstream, vestibule=vestibule), nl=False)


def write(asked: Asked, above: str, *, listen: str, upstream: str, vestibule: str) -> str:
    """Write the dynamic configuration."""
    document: dict[str, Any] = {
        "http": {
            "middlewares": {
                "vestibule": {
                    "forwardAuth": {
                        "address": f"http://{vestibule}/",
                        "forwardBody": True,
                        "maxBodySize": Limits().body,
                        "maxResponseBodySize": _LONGEST,
                        "preserveLocationHeader": True,
                        "authResponseHeaders": list(asked.copied),
                    }
                }
            },
            "routers": {
                "auth": {
                    "entryPoints": ["auth"],
                    "rule": "PathPrefix(`/`)",
                    "middlewares": ["vestibule"],
                    "service": "auth",
                }
            },
            "services": {
                "auth": {
                    "loadBalancer": {
                        "passHostHeader": not upstream.startswith("https:"),
                        "servers": [{"url": upstream}],
                    }
                }
            },
        }
    }
    return write_document(
        document,
        f"{above}\nThe entry point `auth` is the one at {listen}.\n"
        "A name under authResponseHeaders is copied as the rules leave it, and dropped where they removed it.",
    )
