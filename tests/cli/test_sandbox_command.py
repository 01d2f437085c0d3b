"""`vestibule sandbox`: an auth service to try rules against, by itself."""

from __future__ import annotations

import http.client
import signal
from pathlib import Path

import pytest

from tests.running import PATIENCE, Lines, command, run_command


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    data = tmp_path / "customers.sqlite"
    with command("sandbox", "oauth", "--listen", "127.0.0.1:0", "--data", data) as process:
        out, err = Lines(process.stdout), Lines(process.stderr)
        assert "It is not for production" in err.next("the warning")
        host = out.next("the address").strip().removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        connection.request("GET", "/.well-known/openid-configuration")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert data.exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("kiboo",), 2, "kibo"),
        (("kibo", "--listen", "8081"), 2, "an address is host:port"),
        (("kibo", "--listen", "unix:/tmp/x"), 2, "a sandbox listens on host:port"),
        (("kibo", "--listen", "192.0.2.1:8081"), 1, "cannot be served on 192.0.2.1:8081"),
        (("kibo", "--listen", "127.0.0.1:0", "--data", "/nowhere/data"), 1, "unable to open database file"),
    ],
)
def test_what_it_cannot_do_is_said_in_words(words: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = run_command("sandbox", *words)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
