"""What can be looked at before a run: each thing is one finding, with what to do where it is not as it should be.

Nothing here raises for what it finds, prints, or leaves anything behind. No secret is part of a finding.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import resource
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..settings import Settings

if TYPE_CHECKING:
    from ..edge.options import Upstream
    from ..language.compile import Draft
    from ..services.secrets import Secrets
    from .credentials import CredentialSource
    from .services import ChosenStore

State = Literal["ok", "warn", "fail"]

# How long the store and each key set may take, in seconds.
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `todo` says what to do about it."""

    name: str
    state: State
    text: str
    todo: str | None = None


def look(settings: Settings) -> Iterator[Finding]:
    """Look at everything, in the order in which a run needs it."""
    from ..services.secrets import Secrets
    from .credentials import UPSTREAM_TLS, CredentialSource, Unusable, make_upstream_tls
    from .reaching import look_upstream
    from .run import harden, make_upstream

    harden()
    secrets = Secrets(settings.secrets)
    source = CredentialSource(settings, secrets)
    drafts: list[Draft] = []
    yield from _rules(settings, secrets, drafts)
    yield from _files(settings, source)
    url, upstream = settings.upstream.url, None
    if url is None and settings.serve:
        yield Finding("upstream", "ok", "there is none, and adapters need none")
    elif url is None:
        yield Finding("upstream", "fail", "there is none", "give --upstream https://auth.example")
    elif url.startswith("sandbox:"):
        yield Finding("upstream", "ok", f"{url}: a run starts it itself")
    else:
        try:
            tls = make_upstream_tls(source.read(UPSTREAM_TLS)) if url.startswith("https:") else None
        except Unusable as error:
            yield Finding("upstream", "fail", f"its TLS: {error.cause}", "look at upstream.tls in `vestibule config`")
        else:
            upstream = make_upstream(url, settings, tls)
            yield from look_upstream(upstream)
    yield from _key_sets(drafts, url, upstream)
    yield _store(settings, secrets, source)
    yield from _ports(settings)
    yield _descriptors(settings)
    yield from _machine()


def _rules(settings: Settings, secrets: Secrets, drafts: list[Draft]) -> Iterator[Finding]:
    from ..language.compile import build
    from ..language.document import Source
    from ..services.rulefiles import find_pack, read
    from .serving import make_rules

    if not settings.rules:
        yield Finding("rules", "warn", "there are none: everything passes unchanged", "give --rules FOLDER")
        return
    sources, problems = read(settings.rules)

    def find(name: str) -> Source | None:
        return find_pack(name, settings.rules, problems)

    built = build(sources, make_rules(settings, secrets).options(find), problems, keep=drafts)
    errors, warnings = len(problems.errors), len(problems.warnings)
    shown = f"vestibule check {' '.join(settings.rules)}"
    if built.ruleset is None:
        first = problems.errors[0]
        drafts.clear()
        text = f"{errors} wrong, the first at {first.source}:{first.line}: {first.text}"
        yield Finding("rules", "fail", text, f"{shown} tells all")
        return
    told = f"{len(built.ruleset.rules)} in {len(sources)} files, revision {built.ruleset.revision}"
    if warnings:
        yield Finding("rules", "warn", f"{told}, {warnings} to mind", f"{shown} tells")
    else:
        yield Finding("rules", "ok", told)


# Files


def _files(settings: Settings, source: CredentialSource) -> Iterator[Finding]:
    from ..services.store.address import parse_store
    from .credentials import ADMIN_TOKEN, STORE, TLS, TRACING_TOKEN, UPSTREAM_TLS, Unusable

    folder = settings.secrets
    if folder is not None:
        yield _secret_files(Path(folder))
    for name, part in (("admin token", ADMIN_TOKEN), ("tracing token", TRACING_TOKEN)):
        try:
            source.read(part)
        except Unusable as error:
            text = f"{error.cause}, which {part} names"
            yield Finding(name, "fail", text, "make its file in the folder of the secrets")
    yield from _own_tls("own TLS", TLS, settings.tls.key, source)
    yield from _own_tls("own TLS to the upstream", UPSTREAM_TLS, settings.upstream.tls.key, source)
    yield from _own_tls("own TLS to the store", STORE, parse_store(settings.store).key, source)


def _secret_files(folder: Path) -> Finding:
    try:
        files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    except OSError as error:
        return Finding("secrets", "fail", f"{folder}: {error.strerror}", "make the folder, or give --secrets another")
    unread = [file for file in files if not os.access(file, os.R_OK)]
    if unread:
        return Finding("secrets", "fail", f"{_named(unread)} cannot be read", "give them to the user of the run")
    written = [file for file in (folder, *files) if file.stat().st_mode & stat.S_IWOTH]
    if written:
        return Finding("secrets", "fail", f"anybody can write {_named(written)}", f"chmod -R o-rwx {folder}")
    # Kubernetes mounts secrets for everybody in a container that has one user.
    is_closed = not folder.stat().st_mode & 0o007
    open_ = [file for file in files if file.stat().st_mode & stat.S_IROTH and not is_closed]
    if open_:
        return Finding("secrets", "warn", f"anybody here can read {_named(open_)}", f"chmod 600 {folder}/*")
    return Finding("secrets", "ok", f"{len(files)} in {folder}")


def _named(files: Sequence[Path]) -> str:
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return ", ".join(file.name for file in files[:3]) + more


def _own_tls(name: str, part: str, key: str | None, source: CredentialSource) -> Iterator[Finding]:
    from ..edge.tls import certificate_ends
    from .credentials import Unusable
    from .reaching import lifetime

    if key is None:
        return
    try:
        ends = certificate_ends(source.read(part).contents)
    except Unusable as error:
        yield Finding(name, "fail", error.cause, f"look at {part}.cert and {part}.key")
        return
    if Path(key).stat().st_mode & stat.S_IROTH:
        yield Finding(name, "warn", f"anybody here can read {key}", f"chmod 600 {key}")
    for end in ends.values():
        yield lifetime(name, f"{part}.cert", end)


# Services


def _key_sets(drafts: Sequence[Draft], url: str | None, upstream: Upstream | None) -> Iterator[Finding]:
    from ..language.actions.verify_token import VerifyToken, key_set

    addresses: dict[str, None] = {}
    for draft in drafts:
        for step, action, data in draft.steps:
            if action == "verify_token":
                jwks = VerifyToken.model_validate(data[action]).keys.jwks
                if jwks is not None:
                    addresses[key_set(step, jwks, "keys", "jwks")] = None
    for address in addresses:
        if address.startswith("/") and upstream is None:
            yield Finding("key set", "warn", f"{address} is the upstream's, and was not asked for")
        else:
            yield asyncio.run(_fetch(address, url or "", upstream))


async def _fetch(address: str, url: str, upstream: Upstream | None) -> Finding:
    from ..engine.effects import FetchKeys
    from ..engine.errors import EffectFailed
    from ..services.keys import KeySets
    from ..services.outbound import Own

    own = Own(url, upstream.authority, upstream.tls, upstream.server_name) if upstream is not None else None
    sets = KeySets(clock=time.monotonic, own=own)
    try:
        keys = await asyncio.wait_for(sets.fetch(FetchKeys(address)), _PATIENCE)
    except EffectFailed as error:
        return Finding("key set", "fail", f"{address}: {error.cause}", "rules that verify tokens with it answer 503")
    except TimeoutError:
        return Finding("key set", "fail", f"{address}: no answer in {_PATIENCE:g} s", "rules that need it answer 504")
    finally:
        await sets.close()
    if not keys:
        return Finding("key set", "fail", f"{address}: no key in it can verify", "no token will hold")
    kinds = ", ".join(sorted({str(key.get("kty")) for key in keys}))
    return Finding("key set", "ok", f"{address}: {len(keys)} {'key' if len(keys) == 1 else 'keys'} ({kinds})")


def _store(settings: Settings, secrets: Secrets, source: CredentialSource) -> Finding:
    from ..services.store import StoreError
    from .credentials import STORE, Unusable
    from .services import choose_store

    try:
        source.read(STORE)
        with choose_store(settings.store, secrets) as chosen:
            if chosen.address.kind == "memory":
                return Finding("store", "ok", "memory, of one worker")
            milliseconds = asyncio.run(_round_trip(chosen))
            told = f"{chosen.shown}: written, read and deleted in {milliseconds:.1f} ms"
            if chosen.note is not None:
                return Finding("store", "warn", f"{told}; {chosen.note}", "make that secret, the same for all")
            return Finding("store", "ok", told)
    except Unusable as error:
        return Finding("store", "fail", f"its TLS: {error.cause}", "look at the files that --store names")
    except StoreError as error:
        return Finding("store", "fail", str(error), "rules that need it answer 503; look at --store")
    except TimeoutError:
        return Finding("store", "fail", f"no answer in {_PATIENCE:g} s", "look whether it can be reached from here")


async def _round_trip(chosen: ChosenStore) -> float:
    from ..services.store import StoreError
    from ..services.store.opening import open_store

    store = open_store(chosen.address, chosen.pepper)
    key, value = f"doctor\0{uuid.uuid4()}", os.urandom(16)
    began = time.monotonic()
    try:
        async with asyncio.timeout(_PATIENCE):
            await store.set(key, value, 60.0)
            if await store.take(key) != value or await store.get(key) is not None:
                raise StoreError("the store does not give back what was put into it")
        return (time.monotonic() - began) * 1000
    finally:
        await store.close()


# The machine


def _ports(settings: Settings) -> Iterator[Finding]:
    from ..edge.sockets import ListenError, open_socket

    addresses = [
        *settings.listens,
        *settings.served.values(),
        *([settings.admin.listen] if settings.admin.listen is not None else []),
    ]
    for address in addresses:
        made = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
        was_there = made is not None and made.exists()
        try:
            open_socket(address).close()
        except (ListenError, OSError) as error:
            if settings.handover is not None:
                yield Finding("port", "ok", f"{address} is in use: a run with `handover` takes it over")
            else:
                yield Finding("port", "fail", str(error), "stop what listens there, or listen elsewhere")
        else:
            if made is not None and not was_there:
                made.unlink(missing_ok=True)
            yield Finding("port", "ok", f"{address} is free")


def _descriptors(settings: Settings) -> Finding:
    from ..edge.listener import share_descriptors

    wanted, pool = settings.limits.connections, settings.upstream.pool.connections
    clients, upstreams = share_descriptors(wanted, pool)
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if clients < wanted or upstreams < pool:
        text = (
            f"{allowed} open files are allowed: {clients} clients and {upstreams} connections to the upstream a worker"
        )
        return Finding("open files", "warn", text, f"raise it (ulimit -n, LimitNOFILE=) for the {wanted} of the limits")
    return Finding("open files", "ok", f"{allowed} are allowed, enough for {wanted} clients a worker")


def _machine() -> Iterator[Finding]:
    from ..engine import phase

    if importlib.util.find_spec("uvloop") is None:
        yield Finding("event loop", "warn", "asyncio's own, half as fast", "pip install uvloop")
    else:
        yield Finding("event loop", "ok", "uvloop")
    if str(phase.__file__).endswith(".py"):
        text = "not compiled, which takes about a quarter more CPU: HATCH_BUILD_HOOK_ENABLE_MYPYC=1 compiles it"
        yield Finding("code", "ok", text)
    else:
        yield Finding("code", "ok", "compiled")
