"""What a run proves itself with, and what others prove themselves with to it: certificates, keys, tokens.

They are read at the start, and again at each reload. What belongs together is one part: it is read together, and taken
whole or not at all. Who uses it gets what was checked, and looks at no file, which may be halfway through a change.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..edge.tls import PemError, certificate_ends, client_context, server_context, tell_time
from ..observe.board import Board, Credentials
from ..services.secrets import Secrets
from ..services.store.address import parse_store
from ..settings import Settings

Tell = Callable[..., None]
TLS, UPSTREAM_TLS, STORE, ADMIN_TOKEN, TRACING_TOKEN = "tls", "upstream.tls", "store", "admin.token", "tracing.token"
# All authorities of a system take a fifth of it.
_LARGEST = 1 << 20


class Unusable(Exception):
    """A part that does not hold, and why: what an operator is told."""

    def __init__(self, part: str, cause: str) -> None:
        super().__init__(f"{part}: {cause}")
        self.part = part
        self.cause = cause


class CredentialSource:
    """Where the credentials of a run come from."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self._secrets = secrets
        self._files: dict[str, dict[str, str]] = {}
        self._names: dict[str, str] = {}
        self._add_files(TLS, {"cert": settings.tls.cert, "key": settings.tls.key})
        if (settings.upstream.url or "").startswith("https:"):
            given = settings.upstream.tls
            self._add_files(UPSTREAM_TLS, {"ca": given.ca, "cert": given.cert, "key": given.key})
        store = parse_store(settings.store)
        self._add_files(STORE, {"ca": store.ca, "cert": store.cert, "key": store.key})
        if settings.admin.listen is not None and settings.admin.token is not None:
            self._names[ADMIN_TOKEN] = settings.admin.token
        if settings.tracing.endpoint is not None and settings.tracing.token is not None:
            self._names[TRACING_TOKEN] = settings.tracing.token

    @property
    def files(self) -> list[str]:
        """Give the files of certificates and keys, and those of the secrets that were read so far."""
        return [*(path for files in self._files.values() for path in files.values()), *self._secrets.files]

    def read(self, *parts: str) -> Credentials:
        """Read these parts as far as they are set, all without any; raise Unusable for the first that does not hold."""
        contents: dict[str, bytes] = {}
        for part in self._parts:
            if not parts or part in parts:
                contents |= self._read(part)
        return Credentials(0, contents)

    def differs(self, known: Credentials) -> bool:
        """Say whether they are other ones now, or do not hold."""
        try:
            return self.read().contents != known.contents
        except Unusable:
            return True

    def check(self, board: Board, start: Credentials, tell: Tell) -> bool:
        """Put those that hold on the board if they have changed, tell what is wrong with the others.

        Says whether all of them hold.
        """
        known = current(board, start)
        contents, holds = dict(known.contents), True
        for part in self._parts:
            try:
                contents |= self._read(part)
            except Unusable as error:
                holds = False
                tell("error", "reload-failed", setting=part, cause=error.cause)
        if contents == known.contents:
            return holds
        warn_of_ends(contents, tell)
        if not board.tell_credentials(Credentials(known.generation + 1, contents)):
            tell("error", "reload-failed", cause="certificates and authorities are too large")
            return False
        return holds

    @property
    def _parts(self) -> list[str]:
        return [*self._files, *self._names]

    def _add_files(self, part: str, given: Mapping[str, str | None]) -> None:
        files = {name: path for name, path in given.items() if path is not None}
        if files:
            self._files[part] = files

    def _read(self, part: str) -> dict[str, bytes]:
        if part in self._names:
            return {part: self._token(part)}
        found = {name: _content(part, path) for name, path in self._files[part].items()}
        try:
            if part == TLS:
                server_context(found["cert"], found["key"])
            else:
                client_context(found.get("ca"), found.get("cert"), found.get("key"))
        except PemError as error:
            raise Unusable(part, f"{error}: {', '.join(self._files[part].values())}") from None
        return {f"{part}.{name}": content for name, content in found.items()}

    def _token(self, part: str) -> bytes:
        token = self._secrets.get(self._names[part])
        if not token:
            raise Unusable(part, f"there is no secret `{self._names[part]}`")
        return token.encode()


def current(board: Board, start: Credentials) -> Credentials:
    """Give those of the last reload, without one those of the start."""
    found = board.credentials()
    return found if found.generation else start


def make_server_tls(credentials: Credentials) -> ssl.SSLContext:
    """Build the TLS of listening sockets."""
    return server_context(credentials.contents[f"{TLS}.cert"], credentials.contents[f"{TLS}.key"])


def make_upstream_tls(credentials: Credentials) -> ssl.SSLContext:
    """Build the TLS to the upstream."""
    return client_context(*(credentials.contents.get(f"{UPSTREAM_TLS}.{name}") for name in ("ca", "cert", "key")))


def store_contents(credentials: Credentials) -> dict[str, bytes]:
    """Give the files of the store's TLS, by their names in its address."""
    return {name.removeprefix(f"{STORE}."): content for name, content in credentials.part(STORE).items()}


def warn_of_ends(contents: Mapping[str, bytes], tell: Tell) -> None:
    """Log which certificates have ended: clients refuse them, and it is for the operator to stop serving."""
    for part, end in certificate_ends(contents).items():
        if end < time.time():
            tell("warning", "certificate-expired", setting=part, expired=tell_time(end))


def _content(part: str, path: str) -> bytes:
    try:
        if Path(path).exists() and not Path(path).is_file():
            # A pipe gives its content once, and could keep a reload waiting for ever.
            raise Unusable(part, f"{path} is not a file")
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise Unusable(part, f"{path}: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise Unusable(part, f"{path} is larger than {_LARGEST} bytes")
    return content
