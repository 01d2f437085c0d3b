"""`vestibule doctor`: it finds what is wrong before a run does, on real servers, and prints no secret."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme

from tests.running import run_command

SECRET = "test-only-doctor-0123456789abcdef"
KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}


class Handler(BaseHTTPRequestHandler):
    """An auth service that answers anything, and has keys."""

    protocol_version = "HTTP/1.1"
    shift: ClassVar[dt.timedelta] = dt.timedelta()
    status: ClassVar[int] = 404
    keys: ClassVar[object] = {"keys": [KEY]}

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(dt.datetime.now(dt.UTC) + self.shift, usegmt=True)

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        body = json.dumps(self.keys).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serving(tls: ssl.SSLContext | None = None, **given: Any) -> Iterator[int]:
    handler = type("Given", (Handler,), given)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def doctor(*words: str | Path) -> tuple[int, dict[str, dict[str, str]]]:
    """Give the exit code, and the findings by their names."""
    code, out, err = run_command("doctor", "--json", "--listen", "127.0.0.1:0", *words)
    assert SECRET not in out + err
    return code, {one["name"]: one for one in json.loads(out)}


def state(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: one["state"] for name, one in found.items()}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    for name in ("store_key", "mine"):
        file = folder / name
        file.write_text(SECRET)
        file.chmod(0o600)
    return folder


RULES = """\
version: 1
rules:
  - name: verified
    before:
      - verify_token: {from: "${request.bearer}", keys: {jwks: "%s"}, algorithms: [ES256], into: token}
"""


def rules(folder: Path, address: str) -> Path:
    file = folder / "rules.yaml"
    file.write_text(RULES % address)
    return file


def test_where_all_is_well_nothing_fails(tmp_path: Path, secrets: Path) -> None:
    with serving() as port:
        given = rules(tmp_path, f"http://127.0.0.1:{port}/keys")
        store = f"sqlite:{tmp_path / 'store.db'}"
        upstream = f"http://127.0.0.1:{port}"
        code, found = doctor("--upstream", upstream, "--rules", given, "--secrets", secrets, "--store", store)
    assert code == 0
    assert {name for name, one in state(found).items() if one == "fail"} == set()
    well = ("settings", "rules", "secrets", "upstream name", "upstream", "upstream HTTP", "clock", "key set", "store")
    assert {name: state(found)[name] for name in well} == dict.fromkeys(well, "ok")
    assert found["key set"]["text"].endswith("1 key (EC)")


def test_it_is_one_line_each_for_people() -> None:
    code, out, err = run_command(
        "doctor", "--upstream", "sandbox:kibo", "--listen", "127.0.0.1:0", "--rules", "rules/kibo"
    )
    assert code == 0, out
    lines = out.splitlines()
    assert lines[0] == "ok    settings        from --listen, --rules, --upstream"
    assert all(line.startswith(("ok    ", "warn  ")) for line in lines)
    assert err.startswith(f"{len(lines)} looked at, 0 failed, ")


def test_settings_that_cannot_be_read_are_all_that_it_finds() -> None:
    code, found = doctor("--workers", "none")
    assert (code, state(found)) == (1, {"settings": "fail"})


def test_rules_with_a_mistake_fail_with_their_place(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("version: 1\nrules: [{name: a, bfore: []}]\n")
    code, found = doctor("--upstream", "sandbox:kibo", "--rules", file)
    assert (code, found["rules"]["state"]) == (1, "fail")
    assert f"{file}:2" in found["rules"]["text"]
    assert found["rules"]["todo"] == f"vestibule check {file} tells all"


def test_a_name_that_nobody_has_is_told() -> None:
    code, found = doctor("--upstream", "http://nowhere.invalid")
    assert (code, found["upstream name"]["state"]) == (1, "fail")
    assert "upstream" not in found


def test_an_upstream_that_is_down_is_told() -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else can have it meanwhile.
        taken.bind(("127.0.0.1", 0))
        code, found = doctor("--upstream", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert (code, found["upstream"]["state"]) == (1, "fail")
    assert "refused" in found["upstream"]["text"]


def test_one_that_speaks_something_else_is_told() -> None:
    with serving(do_HEAD=lambda self: self.wfile.write(b"220 mail ready\r\n")) as port:
        code, found = doctor("--upstream", f"http://127.0.0.1:{port}")
    assert (code, found["upstream HTTP"]["state"]) == (1, "fail")


def test_one_that_is_ill_is_to_mind() -> None:
    with serving(status=503) as port:
        code, found = doctor("--upstream", f"http://127.0.0.1:{port}")
    assert (code, found["upstream HTTP"]["state"]) == (0, "warn")


@pytest.mark.parametrize(
    ("seconds", "wanted", "told"), [(30, "warn", "behind"), (-30, "warn", "ahead of"), (600, "fail", "behind")]
)
def test_a_clock_that_differs_is_told_with_its_side(seconds: int, wanted: str, told: str) -> None:
    with serving(shift=dt.timedelta(seconds=seconds)) as port:
        code, found = doctor("--upstream", f"http://127.0.0.1:{port}")
    assert (code, found["clock"]["state"]) == (int(wanted == "fail"), wanted)
    assert told in found["clock"]["text"]


def context(days: int, authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days, hours=1)
    authority.issue_cert("127.0.0.1", not_after=end, not_before=end - dt.timedelta(days=400)).configure_cert(made)
    return made


@pytest.mark.parametrize(
    ("days", "wanted", "told"),
    [(200, "ok", "200 days left"), (3, "warn", "3 days left"), (-3, "fail", "certificate has expired")],
)
def test_a_certificate_is_told_before_it_ends(days: int, wanted: str, told: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(context(days, authority)) as port:
        code, found = doctor("--upstream", f"https://127.0.0.1:{port}", "--upstream-tls-ca", tmp_path / "ca.pem")
    assert (code, found["upstream TLS"]["state"]) == (int(wanted == "fail"), wanted)
    assert told in found["upstream TLS"]["text"]


def test_our_own_certificate_is_told_before_it_ends_and_when_the_key_is_another(tmp_path: Path) -> None:
    authority, end = trustme.CA(), dt.datetime.now(dt.UTC) + dt.timedelta(days=3, hours=1)
    pair, other = (authority.issue_cert("shop.example", not_after=end) for _ in range(2))
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    pair.cert_chain_pems[0].write_to_path(str(cert))
    words = ("--upstream", "sandbox:kibo", "--tls-cert", cert, "--tls-key", key)
    for private, wanted, told in (
        (pair, "warn", "tls.cert: the certificate has 3 days left"),
        (other, "fail", "the key is not that of the certificate"),
    ):
        private.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        _, found = doctor(*words)
        assert found["own TLS"]["state"] == wanted
        assert told in found["own TLS"]["text"]


def test_a_certificate_of_an_unknown_authority_is_refused() -> None:
    with serving(context(200, trustme.CA())) as port:
        code, found = doctor("--upstream", f"https://127.0.0.1:{port}")
    assert (code, found["upstream TLS"]["state"]) == (1, "fail")
    assert "upstream.tls.ca" in found["upstream TLS"]["todo"]
    assert "upstream HTTP" not in found


def test_a_key_set_that_has_no_keys_fails(tmp_path: Path) -> None:
    with serving(keys={"keys": []}) as port:
        given = rules(tmp_path, "/keys")
        code, found = doctor("--upstream", f"http://127.0.0.1:{port}", "--rules", given)
    assert (code, found["key set"]["state"]) == (1, "fail")


def test_a_store_that_is_down_fails_without_its_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store = f"redis://:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/0"
        code, found = doctor("--upstream", "sandbox:kibo", "--store", store)
    assert (code, found["store"]["state"]) == (1, "fail")


@pytest.mark.parametrize(("mode", "wanted"), [(0o644, "warn"), (0o666, "fail"), (0o600, "ok")])
def test_secrets_that_others_can_reach_are_told(mode: int, wanted: str, secrets: Path) -> None:
    secrets.chmod(0o755)
    (secrets / "mine").chmod(mode)
    code, found = doctor("--upstream", "sandbox:kibo", "--secrets", secrets)
    assert (code, found["secrets"]["state"]) == (int(wanted == "fail"), wanted)


def test_an_address_that_is_taken_fails_unless_it_is_handed_over(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("doctor", "--upstream", "sandbox:kibo", "--listen", address)
        code, out, _ = run_command(*words)
        assert (code, f"fail  port            cannot listen on {address}" in out) == (1, True)
        assert run_command(*words, "--handover", tmp_path / "handover")[0] == 0


def test_what_it_tries_leaves_nothing_behind(tmp_path: Path, secrets: Path) -> None:
    path = tmp_path / "listen.sock"
    code, out, _ = run_command("doctor", "--upstream", "sandbox:kibo", "--listen", f"unix:{path}", "--store", "sqlite")
    assert (code, f"unix:{path} is free" in out) == (0, True)
    assert [one.name for one in tmp_path.iterdir()] == ["secrets"]
