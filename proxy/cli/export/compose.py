"""`vestibule export compose`: the proxy with these rules and a Valkey, for `docker compose up`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ... import __version__
from ...settings import PREFIX
from .bundle import (
    ADMIN_PORT,
    IMAGE_IS_BUILT,
    PORT,
    RULES,
    SECRETS,
    TMP,
    USER,
    Bundle,
    bundle_or_exit,
    rules_argument,
    setting,
    store_option,
)
from .writing import write

VALKEY = "valkey/valkey:9"
_VALKEY_STORE = "redis://valkey:6379"
SANDBOX_PORT = 8081
DRAIN = 10
# What nobody but the proxy itself needs, it does not have.
_SHUT: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "restart": "unless-stopped",
}
_SECRETS_ARE_READ = """\

Each secret is a file in ./secrets that the container's user must be able to read. To run it as you, and not as {user}:
VESTIBULE_USER=$(id -u):$(id -g) docker compose up"""


@click.command("compose")
@rules_argument
@click.option(
    "--upstream",
    required=True,
    callback=setting("upstream"),
    help="The auth service: https://auth.example; sandbox:kibo is a service of its own, to try.",
)
@store_option("Without one a Valkey is among the services.")
@click.option("--image", default=f"vestibule:{__version__}", show_default=True, help="The image of Vestibule.")
def command(rules: tuple[Path, ...], upstream: str, store: str | None, image: str) -> None:
    """Print a compose file for these rules.

    \b
    vestibule export compose --upstream https://auth.example rules > compose.yaml

    RULES are files, or folders with everything below them; the compose file names them as they are given here, so it
    belongs into this folder.
    """
    bundle = bundle_or_exit(rules)
    above = "docker compose up; then send to http://127.0.0.1:8080 what went to the auth service.\n" + IMAGE_IS_BUILT
    if bundle.secrets:
        above += _SECRETS_ARE_READ.format(user=USER)
    click.echo(write(compose(bundle, upstream, store or _VALKEY_STORE, image), above), nl=False)


def compose(bundle: Bundle, upstream: str, store: str, image: str) -> dict[str, Any]:
    """Build the compose file."""
    sandbox = upstream.removeprefix("sandbox:") if upstream.startswith("sandbox:") else None
    has_valkey = store == _VALKEY_STORE
    configs = {f"rules-{number}": path for number, path in enumerate(bundle.texts, 1)}
    settings = {
        "listen": f"0.0.0.0:{PORT}",
        "admin": f"127.0.0.1:{ADMIN_PORT}",
        "upstream": upstream if sandbox is None else f"http://sandbox:{SANDBOX_PORT}",
        "rules": RULES,
        **({"secrets": SECRETS} if bundle.secrets else {}),
        "store": store,
        "drain": f"{DRAIN}s",
    }
    secrets = [{"source": one, "target": f"{SECRETS}/{one}"} for one in bundle.secrets]
    proxy: dict[str, Any] = {
        "image": image,
        "command": ["run", "--watch"],
        # A dollar is one of compose's own variables.
        "environment": {f"{PREFIX}{name.upper()}": value.replace("$", "$$") for name, value in settings.items()},
        "user": f"${{VESTIBULE_USER:-{USER}:{USER}}}",
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "configs": [{"source": name, "target": f"{RULES}/{path}"} for name, path in configs.items()],
        **({"secrets": secrets} if secrets else {}),
        "tmpfs": [TMP],
        **_SHUT,
        "stop_grace_period": f"{DRAIN + 10}s",
        "healthcheck": {
            "test": ["CMD", "vestibule", "healthcheck"],
            "interval": "10s",
            "timeout": "5s",
            "start_period": "10s",
            "start_interval": "1s",
        },
    }
    needed = {"valkey": {"condition": "service_healthy"}} if has_valkey else {}
    if sandbox is not None:
        needed["sandbox"] = {"condition": "service_started"}
    if needed:
        proxy["depends_on"] = needed
    services = {"vestibule": proxy}
    if has_valkey:
        services["valkey"] = _valkey()
    if sandbox is not None:
        services["sandbox"] = _sandbox(sandbox, image)
    found: dict[str, Any] = {
        "name": "vestibule",
        "services": services,
        "configs": {name: {"file": _relative(bundle.origins[path])} for name, path in configs.items()},
    }
    if bundle.secrets:
        found["secrets"] = {one: {"file": f"./secrets/{one}"} for one in bundle.secrets}
    return found


def _valkey() -> dict[str, Any]:
    """Give a Valkey that forgets nothing while it runs, and everything when it does not."""
    return {
        "image": VALKEY,
        "command": ["valkey-server", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"],
        "user": "999:999",
        **_SHUT,
        "healthcheck": {
            "test": ["CMD", "valkey-cli", "ping"],
            "interval": "10s",
            "timeout": "5s",
            "start_period": "10s",
            "start_interval": "1s",
        },
    }


def _sandbox(name: str, image: str) -> dict[str, Any]:
    return {
        "image": image,
        "command": ["sandbox", name, "--listen", f"0.0.0.0:{SANDBOX_PORT}"],
        **_SHUT,
        # The image's own asks for the admin port of a proxy.
        "healthcheck": {"disable": True},
    }


def _relative(path: str) -> str:
    """Give a path as compose takes it for one of this folder."""
    return path if Path(path).is_absolute() else f"./{Path(path)}"
