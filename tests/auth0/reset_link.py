"""The link of the e-mail with which a password is reset."""

from __future__ import annotations

import json
from urllib.request import urlopen

from tests.running import Proxy


def mailed(proxy: Proxy, email: str) -> str:
    """Ask for a new password, and give the link of the e-mail."""
    proxy.call("POST", "/dbconnections/change_password", {"client_id": "shop", "connection": "x", "email": email})
    with urlopen(f"{proxy.upstream}/sandbox/tickets") as answer:
        return str(json.load(answer)[email])
