"""What an operator may set: `vestibule.yaml`, flags and variables, and where each value came from.

Flags win over variables, variables over the file, the file over the defaults. A problem in the file has its place, one
in a flag or a variable its name.
"""

from __future__ import annotations

import ipaddress
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .adapters import NAMES as ADAPTERS
from .language.document import Document, Source, load, plain
from .language.fields import Duration
from .language.problems import Problems, nearest, render
from .language.validation import NOT_MADE, explain_validation
from .services.rulefiles import SETTINGS
from .services.store.address import hide_password, parse_store

PREFIX = "VESTIBULE_"
SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|kB|MB|GB)?")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
# What a worker takes before it has served anything, and some to serve with.
LEAST_MEMORY = 128 << 20
# What a part of the settings is when it is a bare text.
_BARE = {"upstream": "url", "admin": "listen", "record": "file", "tracing": "endpoint"}
# What is so often typed that its flag is short.
_SHORT = {"admin.inspect": "inspect"}


class Model(BaseModel):
    """What all parts of the settings share: frozen, and no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _size(value: Any) -> Any:
    if isinstance(value, str):
        found = SIZE.fullmatch(value.strip())
        if found is None:
            raise ValueError("a size is a number of bytes, or a number with KiB, MiB or GiB")
        return int(found[1]) * _UNITS[found[2] or "B"]
    return value


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"not a network in CIDR form: {error}") from None
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"(?:\*\.)?[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\]", value):
        raise ValueError("a host is a name without a port, *.example.com for all below it, or an address")
    return value.lower()


def parse_address(value: str) -> str:
    """Check `host:port`, `[v6]:port` or `unix:/path`; raise ValueError."""
    if value.startswith("unix:"):
        if len(value) == 5:
            raise ValueError("`unix:` needs a path")
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("an address is host:port or unix:/path")
    return value


def parse_served(value: str) -> str:
    """Check `ADAPTER=host:port`; raise ValueError."""
    name, is_, address = value.partition("=")
    if not is_:
        raise ValueError("write what is served and where: forward_auth=127.0.0.1:9001")
    if name not in ADAPTERS:
        hint = nearest(name, ADAPTERS)
        known = f"did you mean {hint}?" if hint else f"there are {', '.join(ADAPTERS)}"
        raise ValueError(f"there is no adapter {name}; {known}")
    parse_address(address)
    return value


def _pairs(value: Any) -> Any:
    return [f"{name}={address}" for name, address in value.items()] if isinstance(value, Mapping) else _listed(value)


def is_loopback(address: str) -> bool:
    """Say whether `host:port` or `unix:/path` is reached from this machine alone."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _upstream_url(value: str) -> str:
    if value.startswith("sandbox:"):
        from .sandbox import NAMES

        if value.removeprefix("sandbox:") not in NAMES:
            raise ValueError(f"there is no such sandbox; there are {', '.join(f'sandbox:{name}' for name in NAMES)}")
        return value
    parts = urlsplit(value)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port of the upstream's address is not a number") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("the upstream is http://host[:port][/path], https://… or sandbox:kibo")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the upstream's address has no user, query or fragment")
    return value


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/") or "@" in parts.netloc:
        raise ValueError("an origin is https://host or https://host:port")
    return value.rstrip("/")


def _collector(value: str) -> str:
    parts = urlsplit(value)
    more = "@" in parts.netloc or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or more:
        raise ValueError("a collector is http://host:4318 or https://host/v1/traces")
    return value if parts.path.strip("/") else value.rstrip("/") + "/v1/traces"


def _store(value: str) -> str:
    parse_store(value)
    return value


def _default_store(given: Mapping[str, Any]) -> str:
    return "memory" if given.get("workers", 1) == 1 else "sqlite"


Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Texts = Annotated[list[str], BeforeValidator(_listed)]
Count = Annotated[int, Field(ge=1)]


class Tls(Model):
    """TLS for the addresses that are listened on. A reload reads the files again."""

    cert: str | None = Field(None, description="The certificate chain, a PEM file; a reload reads it again.")
    key: str | None = Field(None, description="Its key, a PEM file; a reload reads it again.")


class UpstreamTls(Model):
    """TLS to the upstream. A reload reads the files again."""

    ca: str | None = Field(None, description="The authorities to trust, a PEM file; the system's when not given.")
    cert: str | None = Field(None, description="Our certificate, for an upstream that asks for one (mTLS).")
    key: str | None = Field(None, description="Its key.")
    server_name: str | None = Field(
        None, description="The name in the upstream's certificate, when it is not its host."
    )


class Timeouts(Model):
    """How long the upstream may take."""

    connect: Duration = Field(5.0, description="Until a connection stands.")
    first_byte: Duration = Field(30.0, description="Until the first byte of the answer.")
    stall: Duration = Field(30.0, description="Between bytes, while a body passes.")


class PoolSettings(Model):
    """Connections to the upstream, of each worker."""

    connections: Count = Field(256, description="At most so many at once.")
    pending: Annotated[int, Field(ge=0)] = Field(1024, description="Requests that wait for one; more get a 503.")
    idle: Duration = Field(4.0, description="How long one is kept unused; less than the upstream's own keep-alive.")


class UpstreamSettings(Model):
    """The auth service."""

    url: Annotated[str, AfterValidator(_upstream_url)] | None = Field(
        None, description="http://host[:port][/path], https://…, or a sandbox such as sandbox:kibo."
    )
    host: str | None = Field(None, description="The Host header that it gets; that of its address when not given.")
    tls: UpstreamTls = Field(default_factory=UpstreamTls)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    pool: PoolSettings = Field(default_factory=PoolSettings)


class ClientDeadlines(Model):
    """How long a client may take."""

    header: Duration = Field(15.0, description="For the head of a request.")
    body: Duration = Field(30.0, description="For a body that rules read.")
    stall: Duration = Field(
        60.0,
        description="Between bytes of a body that passes through, and for each 16 KiB of a slowly taken answer.",
    )
    idle: Duration = Field(75.0, description="Between requests.")
    total: Duration = Field(600.0, description="For the whole exchange.")


class LimitSettings(Model):
    """How much a message may be."""

    header_bytes: Size = Field(32 << 10, description="The head of a request.")
    header_count: Count = Field(100, description="Header lines.")
    target_bytes: Size = Field(8190, description="Path and query.")
    body_bytes: Size = Field(4 << 20, description="A body that rules read, as sent.")
    decoded_bytes: Size = Field(8 << 20, description="A body that rules read, decoded.")
    json_depth: Count = Field(64, description="Levels of a JSON body that rules read.")
    stream_bytes: Size = Field(16 << 30, description="A body that passes through.")
    connections: Count = Field(10_000, description="Client connections of each worker.")
    memory: Size | None = Field(
        None,
        description="Resident memory of each worker: at 90 % of it, what bodies may come to take counted in, requests "
        "get a 503 and connections are not kept. "
        "When not given, its share of what the container (control group) may have, if that is limited. 0 is no cap.",
    )
    deadlines: ClientDeadlines = Field(default_factory=ClientDeadlines)


class LogSettings(Model):
    """The log: one line an exchange."""

    level: Literal["debug", "info", "warning", "error", "off"] = Field("info", description="The least that is written.")
    to: str = Field("stdout", description="stdout, stderr, or a file.")


class AdminSettings(Model):
    """The admin port: /livez, /readyz, /metrics and the inspector, of a process beside the workers."""

    listen: Annotated[str, AfterValidator(parse_address)] | None = Field(
        None, description="Its address, host:port or unix:/path; without one there is no admin port."
    )
    token: str | None = Field(
        None,
        description="The name of the secret that callers give as a bearer token, except for /livez and /readyz; needed "
        "when the address is not a loopback one.",
    )
    ready: Literal["upstream", "workers"] = Field(
        "upstream",
        description="What /readyz asks for: `upstream`, workers that serve and an upstream that can be reached; "
        "`workers`, only the former, so that clients get the 502 of a dead upstream from here.",
    )
    inspect: Annotated[int, Field(ge=0, le=100_000)] = Field(
        0,
        description="How many exchanges the inspector at /inspect/ keeps and shows, with what is secret replaced; 0: "
        "there is none, and nothing is kept. `record.fraction`, `record.operations` and `record.body` hold for it too.",
    )


class RecordSettings(Model):
    """Exchanges that are recorded, with what is secret replaced: for `vestibule replay` and `vestibule diff`."""

    file: str | None = Field(
        None, description="The file, one exchange a line, for its owner alone; without one nothing is recorded."
    )
    size: Size = Field(
        64 << 20,
        description="How large the file becomes before it is renamed to FILE.1, in the place of the one before.",
    )
    fraction: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="The share of exchanges that is recorded.")
    operations: Texts = Field(
        default_factory=list, description="Record only these operations of the packs; all exchanges when none is given."
    )
    body: Size = Field(64 << 10, description="A longer body is recorded by its length alone.")


class TracingSettings(Model):
    """Spans of exchanges, sent to an OpenTelemetry collector: `pip install '.[otel]'`."""

    endpoint: Annotated[str, AfterValidator(_collector)] | None = Field(
        None,
        description="The OTLP/HTTP address of the collector, http://host:4318 or with the path for traces; without "
        "one no spans are made, and `traceparent` goes on as it came.",
    )
    ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="The share of exchanges that is sampled, where the client's `traceparent` does not say."
    )
    service: str = Field("vestibule", description="The `service.name` of the spans.")
    token: str | None = Field(None, description="The name of the secret that the collector asks for, a bearer token.")


def _bare_tracing(value: Any) -> Any:
    return {"endpoint": value} if isinstance(value, str) else value


def _bare_record(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def _bare_admin(value: Any) -> Any:
    return {"listen": value} if isinstance(value, str) else value


def _bare_upstream(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class Settings(Model):
    """Everything that an operator may set."""

    listen: Annotated[list[Annotated[str, AfterValidator(parse_address)]], BeforeValidator(_listed)] = Field(
        default_factory=lambda: ["127.0.0.1:8080"], description="Addresses: host:port or unix:/path."
    )
    serve: Annotated[list[Annotated[str, AfterValidator(parse_served)]], BeforeValidator(_pairs)] = Field(
        default_factory=list,
        description="Other proxies that ask for the rules instead of sending their clients through this one, and where "
        f"they ask: ADAPTER=host:port or ADAPTER=unix:/path. ADAPTER is {', '.join(ADAPTERS)}. With it the proxy "
        "itself is listened on only when there is an upstream.",
    )
    tls: Tls = Field(default_factory=Tls)
    admin: Annotated[AdminSettings, BeforeValidator(_bare_admin)] = Field(default_factory=AdminSettings)
    upstream: Annotated[UpstreamSettings, BeforeValidator(_bare_upstream)] = Field(default_factory=UpstreamSettings)
    rules: Texts = Field(default_factory=list, description="Rule files and folders.")
    secrets: str | None = Field(None, description="The folder of the secrets, one file each.")
    workers: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Processes that serve.")
    hang: Duration = Field(
        30.0,
        description="How long the event loop of a worker may stand still before the worker is killed and replaced. 0s "
        "is for ever.",
    )
    store: Annotated[str, AfterValidator(_store)] = Field(
        default_factory=_default_store,
        description="Where rules keep what they store: memory, of one worker, the default of one; sqlite, a file that "
        "the workers of this run share, the default of several; sqlite:PATH, which a restart does not forget; "
        "redis://[[user]:password@]host[:port][/database] or rediss:// with TLS (?ca=FILE&cert=FILE&key=FILE); "
        "redis+cluster:// or rediss+cluster://host:port,host:port. Values are encrypted; the secret store_key is part "
        "of what they are encrypted with.",
    )
    sandbox_data: str | None = Field(None, description="The SQLite file of a sandbox; without one its data go with it.")
    limits: LimitSettings = Field(default_factory=LimitSettings)
    trusted_proxies: Annotated[list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_listed)] = Field(
        default_factory=list, description="Networks whose X-Forwarded-* and Forwarded are believed."
    )
    hosts: Annotated[list[Annotated[str, AfterValidator(_host)]], BeforeValidator(_listed)] = Field(
        default_factory=list,
        description="Hosts that are served, without port, *.example.com for all below it; a request for another gets "
        "421. All when none is given.",
    )
    public_origin: Annotated[str, AfterValidator(_origin)] | None = Field(
        None, description="The address that clients know: https://shop.example."
    )
    allow_redirects: Texts = Field(default_factory=list, description="Hosts that redirects may lead to.")
    drain_delay: Duration = Field(
        0.0,
        description="How long a stop goes on taking requests, with `Connection: close` on every answer, so that who "
        "sends them here hears of it.",
    )
    drain: Duration = Field(10.0, description="How long a stop waits for exchanges that run, after that.")
    handover: str | None = Field(
        None,
        description="A path: a run that is started with the same one takes the listening sockets of this one over, "
        "which then stops. No client is refused meanwhile.",
    )
    log: LogSettings = Field(default_factory=LogSettings)
    record: Annotated[RecordSettings, BeforeValidator(_bare_record)] = Field(default_factory=RecordSettings)
    tracing: Annotated[TracingSettings, BeforeValidator(_bare_tracing)] = Field(default_factory=TracingSettings)

    @property
    def listens(self) -> list[str]:
        """Where the proxy itself is listened on: nowhere, where only adapters are served."""
        return self.listen if self.upstream.url is not None else []

    @property
    def served(self) -> dict[str, str]:
        """The addresses of adapters by their names."""
        return dict(one.split("=", 1) for one in self.serve)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting that has a value: its dotted name, its flag and its variable."""

    name: str
    many: bool
    help: str

    @property
    def flag(self) -> str:
        return "--" + re.sub(r"[._]", "-", self._short)

    @property
    def variable(self) -> str:
        return PREFIX + self._short.replace(".", "_").upper()

    @property
    def _short(self) -> str:
        if self.name in _SHORT:
            return _SHORT[self.name]
        above, _, last = self.name.rpartition(".")
        return above if _BARE.get(above) == last else self.name


def _inner(annotation: Any) -> Any:
    """Unwrap Annotated and optional."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(part for part in get_args(annotation) if part is not type(None))
        else:
            return annotation


def leaves(model: type[BaseModel] = Settings, above: str = "") -> Iterator[Leaf]:
    """Give every setting that has a value, in the order of the models."""
    for name, info in model.model_fields.items():
        inner = _inner(info.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{above}{name}.")
        else:
            yield Leaf(f"{above}{name}", get_origin(inner) is list, info.description or "")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, the origin of each by its dotted name, and what is wrong with them as lines to show."""

    settings: Settings | None
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def load_settings(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Loaded:
    """Merge file, variables and flags; `file` None is the default one, if it is there. `flags` are by dotted name."""
    faults: list[str] = []
    document = _read_file(file, faults)
    data: dict[str, Any] = plain(document.data) if document is not None and isinstance(document.data, dict) else {}
    for name, inner in _BARE.items():
        if isinstance(data.get(name), str):
            data[name] = {inner: data[name]}
    origins: dict[str, str] = {}
    known = list(leaves())
    for leaf in known:
        origins[leaf.name] = "default"
        if document is not None and _has(data, leaf.name):
            mark = document.mark(tuple(leaf.name.split(".")))
            origins[leaf.name] = f"{document.source.name}:{mark.line}"
        if leaf.variable in environ:
            _put(data, leaf.name, _from_text(environ[leaf.variable], leaf))
            origins[leaf.name] = leaf.variable
        given = flags.get(leaf.name)
        if given not in (None, ()):
            value = list(given) if isinstance(given, tuple) else given
            _put(data, leaf.name, value if leaf.many or not isinstance(value, str) else _from_text(value, leaf))
            origins[leaf.name] = leaf.flag
    _check_variables(environ, known, faults)
    if faults:
        return Loaded(None, origins, faults)
    try:
        settings = Settings.model_validate(data, strict=False)
    except ValidationError as error:
        return Loaded(None, origins, _explain(error, origins))
    faults += _check_together(settings)
    return Loaded(settings if not faults else None, origins, faults)


def _read_file(file: Path | None, faults: list[str]) -> Document | None:
    path = file or Path(SETTINGS)
    if file is None and not path.is_file():
        return None
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        faults.append(f"{path}: error[unreadable-file]: the settings cannot be read: {words}")
        return None
    problems = Problems()
    document = check_file(Source(str(path), text), problems)
    faults += [render(problem, hide_password(text)) for problem in problems]
    return document


def check_file(source: Source, problems: Problems) -> Document | None:
    """Find what is wrong in a file of settings by itself; None when it is no YAML that holds together."""
    document = load(source, problems)
    if document is not None:
        try:
            Settings.model_validate(plain(document.data))
        except ValidationError as error:
            explain_validation(error, Settings, document, (), problems)
    return document


def _has(data: Mapping[str, Any], name: str) -> bool:
    inner: Any = data
    for part in name.split("."):
        if not isinstance(inner, Mapping) or part not in inner:
            return False
        inner = inner[part]
    return True


def _put(data: dict[str, Any], name: str, value: Any) -> None:
    *above, last = name.split(".")
    for part in above:
        inner = data.get(part)
        if not isinstance(inner, dict):
            inner = data[part] = {}
        data = inner
    data[last] = value


def _from_text(text: str, leaf: Leaf) -> Any:
    """Read a flag or a variable: a list is separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()] if leaf.many else text


def _check_variables(environ: Mapping[str, str], known: list[Leaf], faults: list[str]) -> None:
    names = {leaf.variable for leaf in known}
    for name in sorted(environ):
        if name.startswith(PREFIX) and not name.startswith("VESTIBULE_SECRET_") and name not in names:
            hint = nearest(name, names)
            faults.append(f"{name}: there is no such setting" + (f"; did you mean {hint}?" if hint else ""))


def _explain(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    found = []
    for one in error.errors(include_url=False, include_input=False):
        if one["type"] == NOT_MADE:
            continue
        parts = [str(part) for part in one["loc"]]
        name = next(
            (".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in origins), ".".join(parts)
        )
        context = one.get("ctx", {}).get("error")
        words = str(context) if context is not None else one["msg"][:1].lower() + one["msg"][1:]
        found.append(f"{origins.get(name, name)}: {words.replace('input should', 'this must')}")
    return found


def _check_together(settings: Settings) -> list[str]:
    faults = []
    if (settings.tls.cert is None) != (settings.tls.key is None):
        faults.append("tls: give both `cert` and `key`, or neither")
    if (settings.upstream.tls.cert is None) != (settings.upstream.tls.key is None):
        faults.append("upstream.tls: give both `cert` and `key`, or neither")
    if 0 < (settings.limits.memory or 0) < LEAST_MEMORY:
        faults.append(f"limits.memory: a worker needs {LEAST_MEMORY >> 20} MiB for itself")
    if settings.admin.listen and not settings.admin.token and not is_loopback(settings.admin.listen):
        faults.append("admin.token: an admin port that others can reach needs one, the name of a secret")
    if settings.admin.inspect and not settings.admin.listen:
        faults.append("admin.inspect: the inspector is on the admin port: give it an address, `--admin 127.0.0.1:9090`")
    if len(settings.served) < len(settings.serve):
        faults.append("serve: each adapter has one address")
    if settings.workers > 1 and settings.store == "memory":
        faults.append(
            "store: `memory` is of one worker, and there are several: give `sqlite`, or a store that they share"
        )
    return faults
