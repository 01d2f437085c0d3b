"""`vestibule run`: serve."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from ..services.store import StoreError
from ..settings import Leaf, Settings, leaves, load_settings
from .services import ChosenStore, choose_store

if TYPE_CHECKING:
    from ..edge.options import Upstream
    from ..language.compile import Built
    from ..language.document import Source
    from .inspecting import Inspection
    from .recording import Recording

EXIT_CONFIGURATION = 3

# A login to try, by sandbox.
_LOGINS = {
    "kibo": """curl -si --compressed {address}/api/commerce/customer/authtickets \\
  -H 'content-type: application/json' -H 'x-vol-tenant: 1' -H 'x-vol-site: 2' \\
  -d '{{"username":"jane@example.com","password":"correct-horse-1"}}'""",
    "oauth": """curl -si {address}/oauth/token -u shop:sandbox \\
  -d grant_type=password -d username=jane@example.com -d password=correct-horse-1""",
    "sfcc": """curl -si --compressed {address}/s/RefArch/dw/shop/v23_2/customers/auth \\
  -u jane@example.com:correct-horse-1 -H 'content-type: application/json' -H 'x-dw-client-id: try' \\
  -d '{{"type":"credentials"}}'""",
}


def setting_options(command: click.Command, *, without: str | None = None) -> click.Command:
    """Give a command a flag for each setting but one."""
    for leaf in leaves():
        if leaf.name != without:
            command.params.append(_option(leaf))
    return command


def _option(leaf: Leaf) -> click.Option:
    name = leaf.name.replace(".", "__")
    return click.Option([leaf.flag, name], multiple=leaf.many, help=leaf.help or None)


def given_flags(values: dict[str, Any]) -> dict[str, Any]:
    """Give the flags by the dotted names of their settings; a list may also be separated by commas."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, tuple):
            value = tuple(part.strip() for text in value for part in text.split(",") if part.strip())
        found[name.replace("__", ".")] = value
    return found


def load_or_exit(file: Path | None, values: dict[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Load the settings; print what is wrong with them and exit 3."""
    loaded = load_settings(file, os.environ, given_flags(values))
    if loaded.settings is None:
        for fault in loaded.faults:
            click.echo(fault, err=True)
        sys.exit(EXIT_CONFIGURATION)
    return loaded.settings, loaded.origins


@click.command("run")
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The settings' file; ./vestibule.yaml when it is there.",
)
@click.option("--watch", is_flag=True, help="Reload whenever rules, certificates or secrets change.")
def command(file: Path | None, *, watch: bool, **values: Any) -> None:
    """Serve: apply the rules to everything on its way to the upstream and back.

    Every setting is also a variable: --upstream is VESTIBULE_UPSTREAM. SIGHUP reloads rules, certificates and secrets,
    SIGTERM drains and stops, a second one stops at once.
    """
    serve(file, values, watch=watch)


def serve(file: Path | None, values: dict[str, Any], *, watch: bool) -> None:
    """Serve with the settings of a file and of flags, until told to stop."""
    settings, _ = load_or_exit(file, values)
    if settings.upstream.url is None and (not settings.serve or "listen" in settings.model_fields_set):
        _fail("no upstream: give --upstream http://host:port, or --upstream sandbox:kibo to try")
    if not settings.rules:
        click.echo("note: no rules are given; everything passes through unchanged", err=True)
    harden()
    # Until the processes are forked (`settle`): what is made until then stays.
    gc.disable()
    _Run(settings, watch=watch).start()


setting_options(command)


def _fail(text: str) -> None:
    click.echo(text, err=True)
    sys.exit(EXIT_CONFIGURATION)


def harden() -> None:
    """Leave no core dump, which would hold secrets, and open as many descriptors as are allowed."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@dataclass(slots=True)
class _Sandbox:
    """A sandbox that runs beside the proxy, and ends with it."""

    process: subprocess.Popen[bytes]
    address: str


@contextlib.contextmanager
def start_sandbox(name: str, data: str | None) -> Iterator[_Sandbox]:
    """Start a sandbox in a process of its own; it ends when this process does, however that happens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy.sandbox", name, *([data] if data else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        address = process.stdout.readline().decode().strip() if process.stdout is not None else ""
        if not address:
            _fail(f"the sandbox {name} did not start")
        yield _Sandbox(process, address)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


class _Run:
    """Everything between the settings and the processes that serve."""

    def __init__(self, settings: Settings, *, watch: bool) -> None:
        from ..services.secrets import Secrets
        from .serving import make_rules

        self.settings = settings
        self.watch = watch
        self.secrets = Secrets(settings.secrets)
        self.rules = make_rules(settings, self.secrets)

    def start(self) -> None:
        from ..adapters.serving import reserve_all
        from ..edge.handover import find_predecessor, name_admin
        from ..edge.options import NOWHERE
        from ..edge.sockets import ListenError, open_socket
        from ..observe.log import open_sink
        from .credentials import CredentialSource, Unusable, make_server_tls, make_upstream_tls
        from .serving import Serving

        packs: dict[str, Source | None] = {}
        built, sources = self.rules.build(packs)
        self._report(built)
        if built.ruleset is None:
            sys.exit(EXIT_CONFIGURATION)
        self._check_tracing()
        source = CredentialSource(self.settings, self.secrets)
        try:
            credentials = source.read()
        except Unusable as error:
            _fail(str(error))
        admin: socket.socket | None = None
        try:
            if self.settings.handover is not None:
                folder = Path(self.settings.handover).absolute().parent
                if not os.access(folder, os.W_OK | os.X_OK):
                    _fail(f"handover: nothing can be made in {folder}")
            predecessor = find_predecessor(self.settings.handover) if self.settings.handover is not None else None
            asked = self.settings.admin.listen
            names = [*self.settings.listens, *([name_admin(asked)] if asked is not None else [])]
            handed = predecessor.take(names) if predecessor is not None else {}
            if asked is not None:
                admin = handed.get(name_admin(asked)) or open_socket(asked)
            sockets = [handed.get(address) or open_socket(address) for address in self.settings.listens]
            reserved = reserve_all(self.settings.served, workers=self.settings.workers, taken=predecessor is not None)
            if self.settings.log.to not in ("stdout", "stderr"):
                open_sink(self.settings.log.to).close()
            recording = self._recording()
        except ListenError as error:
            _fail(str(error))
        except OSError as error:
            _fail(f"a file of the settings cannot be used: {error.filename or ''} {error.strerror or error}")
        url = self.settings.upstream.url or ""
        with contextlib.ExitStack() as stack:
            name = url.removeprefix("sandbox:") if url.startswith("sandbox:") else None
            if name is not None:
                url = stack.enter_context(start_sandbox(name, self.settings.sandbox_data)).address
            secure = url.startswith("https:")
            upstream_tls = make_upstream_tls(credentials) if secure else None
            upstream = make_upstream(url, self.settings, upstream_tls) if url else NOWHERE
            tls = make_server_tls(credentials) if self.settings.tls.cert is not None else None
            try:
                store = stack.enter_context(choose_store(self.settings.store, self.secrets))
            except StoreError as error:
                _fail(str(error))
            # A reload that is asked for from here on waits until there is somebody to take it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
            self._greet(sockets, admin, built, url, name, store, reserved.addresses, tls=tls is not None)
            serving = Serving(
                self.settings, self.rules, built.ruleset, url, upstream, store, sockets, source, credentials, tls,
                admin, predecessor, recording, self._inspection(built.ruleset.revision, sources, packs),
                reserved.addresses,
            )  # fmt: skip
            serving.run(watch=self.watch)

    def _check_tracing(self) -> None:
        if self.settings.tracing.endpoint is None:
            return
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
            _fail("tracing: OpenTelemetry is not installed: pip install '.[otel]'")

    def _recording(self) -> Recording | None:
        """Make ready what is recorded; raise OSError for a file that cannot be written."""
        if self.settings.record.file is None and not self.settings.admin.inspect:
            return None
        from .recording import Recording

        recording = Recording(self.settings.record, self.secrets)
        recording.prove()
        return recording

    def _inspection(self, revision: str, sources: list[Source], packs: dict[str, Source | None]) -> Inspection | None:
        if not self.settings.admin.inspect:
            return None
        from ..edge.reload import texts_of
        from .inspecting import Inspection

        return Inspection(texts_of(0, revision, sources, packs), self.secrets)

    def _report(self, built: Built) -> None:
        from ..language.problems import render

        texts: dict[str, str | None] = {}
        for problem in built.problems:
            if problem.source not in texts:
                try:
                    texts[problem.source] = Path(problem.source).read_text("utf-8")
                except (OSError, UnicodeDecodeError):
                    texts[problem.source] = None
            click.echo(render(problem, texts[problem.source], color=sys.stderr.isatty()), err=True)
        if built.ruleset is None:
            count = len(built.problems.errors)
            click.echo(f"{count} {'error' if count == 1 else 'errors'} in the rules: not started", err=True)

    def _greet(
        self,
        sockets: list[socket.socket],
        admin: socket.socket | None,
        built: Built,
        upstream: str,
        sandbox: str | None,
        store: ChosenStore,
        served: Mapping[str, str],
        *,
        tls: bool,
    ) -> None:
        from .. import __version__
        from ..edge.sockets import name_of

        rules = built.ruleset.rules if built.ruleset is not None else ()
        addresses = [name_of(sock, tls=tls) for sock in sockets]
        click.echo(f"vestibule {__version__}", err=True)
        for address in addresses:
            click.echo(f"  listening on  {address}", err=True)
        if upstream:
            made_up = f" (sandbox:{sandbox}: made-up customers)" if sandbox else ""
            click.echo(f"  upstream      {upstream}{made_up}", err=True)
        for name, address in served.items():
            click.echo(f"  {name:<13} {address}", err=True)
        if admin is not None:
            name = name_of(admin, tls=False)
            click.echo(f"  admin         {name}", err=True)
            if self.settings.admin.inspect:
                click.echo(
                    f"  inspector     {name}/inspect/{'#token=…' if self.settings.admin.token else ''}, "
                    f"the last {self.settings.admin.inspect} exchanges with what is secret replaced",
                    err=True,
                )
        click.echo(f"  store         {store.shown}", err=True)
        if store.note is not None:
            click.echo(f"                note: {store.note}", err=True)
        if self.settings.record.file is not None:
            click.echo(f"  recording to  {self.settings.record.file}, with what is secret replaced", err=True)
        click.echo(f"  rules         {len(rules)}: {', '.join(rule.name for rule in rules) or 'none'}", err=True)
        if sandbox in _LOGINS:
            click.echo("\nTry a login (its answer as the rules leave it):\n", err=True)
            click.echo(_LOGINS[sandbox].format(address=addresses[0]) + "\n", err=True)
            click.echo(f"The same without the proxy: replace {addresses[0]} by {upstream}\n", err=True)


def make_upstream(url: str, settings: Settings, tls: ssl.SSLContext | None) -> Upstream:
    """Turn the settings of the upstream into what the data plane takes."""
    from ..edge.options import Upstream

    given = settings.upstream
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    shown = f"[{host}]" if ":" in host else host
    authority = given.host or (shown if port == (443 if secure else 80) else f"{shown}:{port}")
    return Upstream(
        host=host,
        port=port,
        authority=authority,
        base=parts.path.rstrip("/"),
        tls=tls,
        server_name=(given.tls.server_name or host) if secure else None,
        connections=given.pool.connections,
        pending=given.pool.pending,
        connect=given.timeouts.connect,
        first_byte=given.timeouts.first_byte,
        stall=given.timeouts.stall,
        idle=given.pool.idle,
    )
