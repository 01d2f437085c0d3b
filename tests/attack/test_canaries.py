"""No secret leaves: twelve are planted in a proxy that runs, and looked for in everything that comes out of it.

They go through success, denial, suspension, faults of rules, services and stores, malformed heads, and rules that do
not load. What may be told, and to whom, is written at each call; everything else is a finding.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pyotp
import pytest

from tests.figures import Figures
from tests.running import PATIENCE, Answer, Proxy, run_command, running

TOTP = "CANARY7TOTP7SECRET7CANARY7TOTP77"
CANARIES = {
    "authorization": "canary-authorization-5d2a",
    "cookie": "canary-cookie-93be",
    "set-cookie": "canary-set-cookie-71cc",
    "password": "canary-password-e04f",
    "code": "canary-code-2b6d",
    "key": "canary-hmac-key-canary-hmac-key-a8f1",
    "store": "canary-store-4c9e",
    "refresh": "canary-refresh-token-60d3",
    "totp": TOTP,
    "withheld": "canary-withheld-answer-f7b2",
    "service": "canary-service-key-1e85",
}
RULES = """
version: 1
packs: [oauth]
factors:
  otp: {{secret: "${{response.body.totp}}"}}
  email: {{to: "${{response.body.mail}}", send: {{url: "{service}/mail", method: POST, json: {{code: "${{code}}"}}}}}}
rules:
  - name: mints
    match: {{path: /login}}
    before:
      - mint_token: {{key: "${{secret:key}}", algorithm: HS256, claims: {{sub: jane}}, expires_in: 60s, into: minted}}
      - headers: {{set: {{x-minted: "${{minted}}"}}}}
      - limit: {{key: "${{request.body.password}}", failures: 50, per: 1h}}
      - log: {{message: "a login", fields: {{user: "${{request.body.username}}", sent: "${{request.headers.size()}}"}}}}
    after:
      - when: has(response.body.refresh_token)
        cache_set: {{key: "${{response.body.username}}", value: "${{response.body.refresh_token}}", ttl: 60s}}
      - body: {{remove: [refresh_token]}}
  - name: looks
    match: {{path: /looks/*}}
    before:
      - lookup:
          url: "{service}/${{request.query.how}}"
          headers: {{authorization: "Bearer ${{secret('service')}}", x-sent: "${{request.headers.authorization}}"}}
          into: found
      - headers: {{set: {{x-found: "${{found.body.username}}"}}}}
  - name: verifies
    match: {{path: /verified}}
    before: [{{verify_token: {{keys: {{secret: "${{secret:key}}"}}, algorithms: [HS256], into: token}}}}]
  - name: denies
    match: {{path: /denied}}
    before: [{{deny: {{reason: No., detail: "of ${{request.headers[request.query.name]}}"}}}}]
  - name: breaks
    match: {{path: /breaks/*}}
    before:
      - when: request.query.at == 'body'
        headers: {{set: {{x-n: "${{request.body.password + 1}}"}}}}
      - when: request.query.at == 'header'
        headers: {{set: {{x-n: "${{request.headers.authorization}}\\u0020${{request.body.line}}"}}}}
      - when: request.query.at == 'number'
        set: {{n: "${{int(request.body.password)}}"}}
    after: [{{when: response.body.n == 1, body: {{set: {{a: 1}}}}}}]
  - name: second-factor
    match: {{path: /withheld, status: 200}}
    after:
      - redirect: {{to: "/proof", mode: redirect, token: {{secret: "${{secret:key}}", subject: jane}}}}
    continue:
      - verify_redirect_token: {{secret: "${{secret:key}}", into: back}}
  - name: asks-for-a-code
    match: {{path: /challenged, status: 200}}
    after: [{{challenge: {{factor: otp, additional: [email], subject: jane}}}}]
"""


class Service:
    """The auth service, and every other one; `seen` is what it was sent."""

    def __init__(self) -> None:
        service = self
        self.seen: list[str] = []
        self.mailed: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service.seen.append(f"{self.path}\n{self.headers}\n{body.decode('latin-1')}")
                service.answer(self, urlsplit(self.path).path, body)

            do_POST = do_GET  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        lines = "Content-Type: application/json\r\nSet-Cookie: session=" + CANARIES["set-cookie"] + "; Path=/\r\n"
        data: Any = {"username": "jane", "refresh_token": CANARIES["refresh"]}
        start = "HTTP/1.1 200 OK\r\n"
        match path.rpartition("/")[2]:
            case "mail":
                self.mailed.append(json.loads(body)["code"])
            case "withheld":
                data = {"ticket": CANARIES["withheld"]}
            case "challenged":
                data = {"ticket": CANARIES["withheld"], "totp": TOTP, "mail": "jane@example.com"}
            case "refused":
                start = "HTTP/1.1 401 Unauthorized\r\n"
            case "bad-head":
                lines += f"Bad Name {CANARIES['refresh']}: 1\r\n"
            case "bad-status":
                start = f"HTTP/1.1 999 {CANARIES['refresh']}\r\n"
            case "bad-json":
                data = None
            case "twice":
                lines += f"Location: /{CANARIES['refresh']}\r\nLocation: /b\r\n"
        content = (
            json.dumps(data).encode() if data is not None else f'{{"refresh_token": {CANARIES["refresh"]}'.encode()
        )
        if path.endswith("short"):
            head = f"{start}{lines}Content-Length: {len(content) + 9}\r\n\r\n"
            handler.close_connection = True
        else:
            head = f"{start}{lines}Content-Length: {len(content)}\r\n\r\n"
        handler.wfile.write(head.encode() + content)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


# In base64, a shorter piece than this stands in many a token by chance: four characters are three digits of a code.
SHORTEST = 8


def spellings(secret: str) -> set[str]:
    """Give the ways in which a secret could be written down."""
    found = {secret, quote(secret, safe=""), secret.upper(), json.dumps(secret)[1:-1], secret.encode().hex()}
    for shift in range(3):
        # Its base64, wherever it begins in what was encoded.
        coded = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        piece = coded[4 * bool(shift) : len(coded) // 4 * 4 - 4]
        if len(piece) >= SHORTEST:
            found.add(piece)
    return found


class Watch:
    """Everything that came out, and what was found in it."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = dict(CANARIES)
        self.found: list[str] = []
        self.looked = 0

    def look(self, place: str, text: str, *told: str) -> None:
        """Look for every secret in a text, but those that may be told there."""
        for name, secret in self.secrets.items():
            if name in told:
                continue
            self.looked += 1
            self.found += [f"{name} in {place}" for spelling in spellings(secret) if spelling in text]
        for word in ("Traceback", "aiohttp", "Python/", "CPython", 'File "/'):
            if word in text:
                self.found.append(f"{word} in {place}")

    def answer(self, place: str, answer: Answer, *told: str) -> Answer:
        """Look at an answer."""
        cookies = "\n".join(answer.cookies)
        self.look(f"the answer of {place}", f"{answer.headers}\n{cookies}\n{answer.body.decode('latin-1')}", *told)
        assert "Server" not in answer.headers, place
        assert "X-Powered-By" not in answer.headers, place
        return answer


HEADERS = {
    "Authorization": f"Bearer {CANARIES['authorization']}",
    "Cookie": f"session={CANARIES['cookie']}",
    "Content-Type": "application/json",
}
BODY = {"username": "jane", "password": CANARIES["password"]}


def secrets_folder(folder: Path) -> Path:
    found = folder / "secrets"
    found.mkdir()
    for name in ("key", "service"):
        (found / name).write_text(CANARIES[name])
    return found


@contextmanager
def serving(
    service: Service, folder: Path, watch: Watch, *flags: str, env: Mapping[str, str] | None = None
) -> Iterator[Proxy]:
    """Run a proxy with the rules; look at all that it wrote and told when it ends."""
    rules = folder / "rules.yaml"
    rules.write_text(RULES.format(service=service.address))
    words: tuple[str | Path, ...] = (
        "--upstream",
        service.address,
        "--rules",
        rules,
        "--secrets",
        secrets_folder(folder),
    )
    words += ("--admin", "127.0.0.1:0", "--log-level", "debug", "--upstream-timeouts-first-byte", "3s")
    recording = folder / "recording.ndjson"
    words += ("--record", recording)
    with running(*words, *flags, env=env) as proxy:
        yield proxy
        pids = {proxy.process.pid, *(event["pid"] for event in map(json.loads, proxy.raw))}
        # A process that checked rules may be gone by now.
        for pid in (pid for pid in pids if Path(f"/proc/{pid}/limits").exists()):
            watch.look("a command line", Path(f"/proc/{pid}/cmdline").read_text())
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size +0 +0 ", limits), "it would leave a core dump"
        admin = next(line.split()[-1] for line in proxy.greeting if line.startswith("  admin"))
        connection = http.client.HTTPConnection(admin.removeprefix("http://"), timeout=PATIENCE)
        for path in ("/metrics", "/readyz", "/livez", f"/{CANARIES['code']}"):
            connection.request("GET", path, headers=HEADERS)
            response = connection.getresponse()
            watch.look(f"the admin port's {path}", f"{response.headers}{response.read().decode('latin-1')}")
        connection.close()
        assert proxy.stop() == 0
        log = proxy.rest()
        assert log.count("\n") > 10
        watch.look("the log", log)
        recorded = recording.read_text()
        assert recorded.count("\n") >= 5
        watch.look("the recording", recorded)
        watch.look("stderr", "\n".join(proxy.greeting) + proxy.err.rest())


def raw(proxy: Proxy, data: bytes) -> str:
    """Send bytes and read to the end of the connection."""
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as wire:
        wire.sendall(data)
        wire.shutdown(socket.SHUT_WR)
        received = b""
        while part := wire.recv(65_536):
            received += part
    return received.decode("latin-1")


def malformed() -> Iterator[bytes]:
    """Give requests that the parsers refuse, each with secrets in it."""
    secret = CANARIES["authorization"].encode()
    cookie = b"Cookie: session=" + CANARIES["cookie"].encode()
    body = json.dumps(BODY).encode()
    start = b"POST /login?code=" + CANARIES["code"].encode() + b" HTTP/1.1\r\nHost: a\r\n"
    for bad in (b"\x01", b"\0", b"\x7f", b"\r", b"\n x", b"\xff"):
        yield start + b"Authorization: Bearer " + secret + bad + b"\r\n\r\n"
        yield start + cookie + bad + b"\r\n\r\n"
    yield start + b"Authorization : Bearer " + secret + b"\r\n\r\n"
    yield start + b"Authorization: Bearer " + secret + b"\r\nAuthorization: Bearer " + secret + b"\r\n\r\n"
    yield start + b"Authorization: Bearer " + secret * 1000 + b"\r\n\r\n"
    yield start + b"Auth orization-" + secret + b": x\r\n\r\n"
    yield start + secret + b"\r\n\r\n"
    yield start + b"Content-Length: " + secret + b"\r\n\r\n"
    yield start + b"Transfer-Encoding: " + secret + b"\r\n\r\n"
    yield start + b"Expect: " + secret + b"\r\n\r\n"
    yield start + b"Upgrade: " + secret + b"\r\nConnection: upgrade\r\n\r\n"
    yield start + b"Host: " + secret + b"\r\n\r\n"
    yield start + b"Transfer-Encoding: chunked\r\n\r\n" + secret + b"\r\n"
    yield start + b"Transfer-Encoding: chunked\r\n\r\n1;" + secret * 20 + b"\r\nx\r\n0\r\n\r\n"
    yield start + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + secret + b"\r\n\r\n"
    yield start + b"Content-Length: 900\r\n\r\n" + body
    yield start.replace(b" HTTP/1.1", b"#x HTTP/1.1") + b"\r\n"
    yield start.replace(b" HTTP/1.1", b" HTTP/" + secret) + b"\r\n"
    yield start.replace(b"POST ", b"POST" + secret + b" /%zz") + b"\r\n"
    yield start.replace(b"/login", b"//login;" + secret) + b"\r\n"
    yield secret + b"\r\n\r\n"
    json_head = start + b"Content-Type: application/json\r\nAuthorization: Bearer " + secret + b"\r\n"
    for content in (
        body[:-1], body + b"x", body.replace(b'"username"', b'"password"'), b'"' + secret + b'"', b"{" + secret,
        b"[" * 5000,
        body.replace(b'"jane"', b"1e999"), b"\xff" + body, b"\xef\xbb\xbf" + body, body.replace(b"jane", b"\\ud800"),
        json.dumps({"username": {"a": CANARIES["password"]}, "password": [CANARIES["password"]]}).encode(),
    ):  # fmt: skip
        yield json_head + b"Content-Length: %d\r\n\r\n" % len(content) + content


def attack(proxy: Proxy, service: Service, watch: Watch) -> None:
    """Do everything that has to do with secrets, right and wrong."""
    query = f"code={CANARIES['code']}"
    login = watch.answer("a login", proxy.call("POST", f"/login?{query}", BODY, HEADERS), "set-cookie")
    assert (login.status, login.json) == (200, {"username": "jane"})
    minted = re.search(r"x-minted: (\S+)", service.seen[-1])
    assert minted is not None
    watch.secrets["minted"] = minted[1]
    watch.secrets["minted's signature"] = minted[1].rpartition(".")[2]
    for how in ("refused", "bad-head", "bad-status", "bad-json", "twice", "short"):
        told = ("set-cookie", "refresh") if how in ("refused", "bad-json", "short") else ()
        # No rule reads these bodies: what the upstream says in them is the client's.
        watch.answer(how, call(proxy, f"/plain/{how}?{query}"), *told)
        watch.answer(f"{how} that a rule reads", call(proxy, f"/breaks/{how}?at=no&{query}"))
        watch.answer(f"{how} of a service", call(proxy, f"/looks/x?how={how}&{query}"), "set-cookie", "refresh")
    watch.answer("a denial", call(proxy, f"/denied?name=authorization&{query}"))
    watch.answer("a token that does not hold", call(proxy, f"/verified?{query}"))
    for at in ("body", "header", "number", "answer"):
        watch.answer(f"a fault at {at}", call(proxy, f"/breaks/x?at={at}&{query}"))
    watch.answer("nowhere", call(proxy, f"/.vestibule/x?{query}"))
    for data in malformed():
        watch.look("the answer to a malformed request", raw(proxy, data), "set-cookie")
    second_factor(proxy, service, watch)
    challenge(proxy, service, watch)


def call(proxy: Proxy, path: str) -> Answer:
    try:
        return proxy.call("POST", path, BODY, HEADERS)
    except (http.client.HTTPException, ConnectionError):
        # An answer that breaks off after its head is never made to look complete.
        return Answer(0, {}, b"")


def second_factor(proxy: Proxy, service: Service, watch: Watch) -> None:
    sent = watch.answer("a suspension", proxy.call("POST", "/withheld", BODY, HEADERS))
    (state,) = parse_qs(urlsplit(sent.headers["Location"]).query)["state"]
    token = parse_qs(urlsplit(sent.headers["Location"]).query)["session_token"][0]
    given = jwt.decode(token, options={"verify_signature": False})
    cookie = {"Cookie": sent.headers["Set-Cookie"].partition(";")[0]}
    watch.secrets |= {"state": state, "session token": token, "binding": cookie["Cookie"].partition("=")[2]}
    for key, claims in (("x" * 40, {}), (CANARIES["key"], {"sub": "mallory"}), (CANARIES["key"], {"state": "A" * 43})):
        back = jwt.encode({"iss": given["iss"], "sub": "jane", "exp": given["exp"], "state": state, **claims}, key)
        path = f"/.vestibule/continue?state={state}&session_token={back}"
        assert watch.answer("a wrong return", proxy.call("GET", path, headers=cookie)).status == 401
        assert watch.answer("a return of another", proxy.call("GET", path, headers=HEADERS)).status == 401
    back = jwt.encode({"iss": given["iss"], "sub": "jane", "exp": given["exp"], "state": state}, CANARIES["key"])
    path = f"/.vestibule/continue?state={state}&session_token={back}"
    answer = watch.answer("the right return", proxy.call("GET", path, headers=cookie), "withheld", "set-cookie")
    assert answer.json == {"ticket": CANARIES["withheld"]}
    assert watch.answer("a second return", proxy.call("GET", path, headers=cookie)).status == 401


def challenge(proxy: Proxy, service: Service, watch: Watch) -> None:
    asked = watch.answer("a challenge", proxy.call("POST", "/challenged", BODY, HEADERS)).json
    token = asked.get("challenge_token") or asked.get("mfa_token")
    assert token, asked
    way = {"challenge_token": token, "factor": "email"}
    watch.answer("a code that is sent", proxy.call("POST", "/.vestibule/challenge", way))
    (code,) = service.mailed
    # Of six digits, which stand in many a number.
    watch.secrets |= {"challenge token": token, "code of the webhook": f'"{code}"'}
    wrong = {"challenge_token": token, "factor": "otp", "code": "000000" if code != "000000" else "000001"}
    watch.answer("a wrong code", proxy.call("POST", "/.vestibule/challenge", wrong), "challenge token")
    right = {"challenge_token": token, "factor": "otp", "code": pyotp.TOTP(TOTP).now()}
    proved = proxy.call("POST", "/.vestibule/challenge", right)
    # The factor's secret is in the answer that the upstream gave to this client.
    watch.answer("a right code", proved, "withheld", "totp", "set-cookie", "challenge token")
    assert proved.status == 200, proved.body


def break_the_rules(proxy: Proxy, folder: Path) -> None:
    """Give it rules that do not load, with secrets where none may stand."""
    key = CANARIES["key"]
    for text in (
        f'version: 1\nrules: [{{name: r, before: [{{mint_token: {{key: "{key}", algorithm: HS256, into: t}}}}]}}]\n',
        f'version: 1\nrules: [{{name: r, before: [{{redirect: {{to: /x, token: {{secret: "{key}"}}}}}}]}}]\n',
        f"version: 1\nrules: [{{name: '{key} {key}', before: [{{wehn: {key}}}]}}]\n",
    ):
        (folder / "rules.yaml").write_text(text)
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reload-failed")


def test_no_canary_is_found_in_anything_that_comes_out(service: Service, tmp_path: Path, figures: Figures) -> None:
    watch = Watch()
    with serving(service, tmp_path, watch) as proxy:
        attack(proxy, service, watch)
    figures.add("canaries", cases=watch.looked, found=len(watch.found))
    assert sorted(set(watch.found)) == []
    everything = "\n".join(service.seen)
    assert [
        name for name in ("authorization", "cookie", "password", "code", "service") if CANARIES[name] not in everything
    ] == []


def test_nor_while_the_store_is_down_and_its_address_has_a_password(
    service: Service, tmp_path: Path, figures: Figures
) -> None:
    watch = Watch()
    env = {"VESTIBULE_STORE": f"redis://:{CANARIES['store']}@127.0.0.1:1/0"}
    with serving(service, tmp_path, watch, env=env) as proxy:
        for path in ("/login", "/withheld", "/challenged", "/looks/x?how=login"):
            answer = watch.answer(f"{path} without a store", call(proxy, path), "set-cookie", "refresh")
            assert answer.status == (200 if path.startswith("/looks") else 503), path
        for data in malformed():
            watch.look("the answer to a malformed request", raw(proxy, data))
    done = run_command("config", "--upstream", service.address, env=env)
    watch.look("the settings", "".join(map(str, done)))
    figures.add("canaries", cases=watch.looked, found=len(watch.found))
    assert sorted(set(watch.found)) == []


def test_nor_in_what_is_told_of_rules_that_do_not_load(service: Service, tmp_path: Path, figures: Figures) -> None:
    watch = Watch()
    with serving(service, tmp_path, watch) as proxy:
        for _ in range(5):
            call(proxy, "/denied?name=cookie")
        break_the_rules(proxy, tmp_path)
    figures.add("canaries", cases=watch.looked, found=len(watch.found))
    assert sorted(set(watch.found)) == []


def test_the_watch_sees_a_secret_however_it_is_written() -> None:
    for name, secret in CANARIES.items():
        coded = base64.b64encode(f"user:{secret}:x".encode()).decode()
        for text in (f"a {secret} b", secret.upper(), coded, secret.encode().hex()):
            watch = Watch()
            watch.look("a text", text)
            assert f"{name} in a text" in watch.found, text
            watch = Watch()
            watch.look("a text", text, name)
            assert watch.found == []
