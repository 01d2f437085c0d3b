"""Where the store is, as an operator writes it; the same text with its password hidden is what may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

FORMS = (
    "`memory`, `sqlite`, `sqlite:PATH`, `redis://host:port`, `rediss://…`, `redis+cluster://…` or `rediss+cluster://…`"
)
_SCHEME = re.compile(r"(redis|rediss)(\+cluster)?")
_FILES = ("ca", "cert", "key")
# More than what a well-formed address has there: it may be the password that is not.
_PASSWORD = re.compile(r"(://[^\s:/@]*:)(\S+)(@)")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store's place. `path` is None for an SQLite file of this run; `ca`, `cert` and `key` are PEM files for TLS."""

    kind: Literal["memory", "sqlite", "redis"]
    path: str | None = None
    nodes: tuple[tuple[str, int], ...] = ()
    cluster: bool = False
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        if self.kind != "redis":
            return self.kind if self.path is None else f"{self.kind}:{self.path}"
        scheme = f"redis{'s' if self.tls else ''}{'+cluster' if self.cluster else ''}"
        user = (self.username or "") + (":***" if self.password else "")
        places = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        database = f"/{self.database}" if self.database else ""
        files = "&".join(f"{name}={value}" for name in _FILES if (value := getattr(self, name)) is not None)
        return f"{scheme}://{user}{'@' if user else ''}{places}{database}{'?' if files else ''}{files}"


def hide_password(text: str) -> str:
    """Replace what may be the password of an address in any text by as many asterisks, so that columns still fit."""
    return _PASSWORD.sub(lambda found: found[1] + "*" * len(found[2]) + found[3], text)


def parse_store(text: str) -> StoreAddress:
    """Read the address of a store; raise ValueError, which repeats nothing of it."""
    if text in ("memory", "sqlite"):
        return StoreAddress("memory" if text == "memory" else "sqlite")
    if text.startswith("sqlite:"):
        path = text.removeprefix("sqlite:")
        if not path or path.startswith("//"):
            raise ValueError("`sqlite:` is followed by the path of a file: sqlite:store.db, sqlite:/var/lib/store.db")
        return StoreAddress("sqlite", path)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f"the store is {FORMS}") from None
    scheme = _SCHEME.fullmatch(parts.scheme)
    if scheme is None or not text.startswith(f"{parts.scheme}://"):
        raise ValueError(f"the store is {FORMS}")
    return _redis(parts, tls=scheme[1] == "rediss", cluster=scheme[2] is not None)


def _redis(parts: SplitResult, *, tls: bool, cluster: bool) -> StoreAddress:
    if parts.fragment:
        raise ValueError("a `#` in the store's address is written %23")
    user, _, places = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    nodes = tuple(_node(place) for place in places.split(","))
    if len(nodes) > 1 and not cluster:
        raise ValueError("several hosts are for a cluster: redis+cluster://host:port,host:port")
    database = parts.path.strip("/")
    if database and (cluster or not (database.isascii() and database.isdigit()) or len(database) > 4):
        raise ValueError("after the host comes nothing, or the number of a database; a cluster has only one")
    files: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if not tls or name not in _FILES or not value or name in files:
            raise ValueError("after `?` come only `ca`, `cert` and `key`, PEM files for rediss://")
        files[name] = value
    if ("cert" in files) != ("key" in files):
        raise ValueError("`cert` and `key` go together")
    return StoreAddress(
        "redis",
        nodes=nodes,
        cluster=cluster,
        tls=tls,
        username=unquote(username) or None,
        password=unquote(password) or None,
        database=int(database or 0),
        **files,
    )


def _node(place: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the store's host and port are host, host:port or [v6]:port") from None
    if not host or port == 0:
        raise ValueError("the store's address needs a host and, unless it is 6379, a port")
    return host, port or 6379
