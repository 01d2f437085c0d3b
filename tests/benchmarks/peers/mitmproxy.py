"""mitmproxy, the programmable proxy in Python, in an environment of its own; mitmproxy_addon.py does the jobs."""

from __future__ import annotations

from collections.abc import Sequence

from .peer import FILES, ROOT, Peer, Place, said

PROGRAM = ROOT / ".venv-mitmproxy" / "bin" / "mitmdump"


def _version() -> str | None:
    told = said(str(PROGRAM), "--version")
    return told and told.replace(":", "")


def _words(place: Place) -> Sequence[str]:
    # It prints a line of each exchange to its standard output, which is a file here.
    return [
        str(PROGRAM), "--mode", f"reverse:http://127.0.0.1:{place.upstream}", "--listen-host", "127.0.0.1",
        "--listen-port", str(place.port), "--scripts", str(FILES / "mitmproxy_addon.py"),
        "--set", "stream_large_bodies=4m", "--set", f"confdir={place.folder}",
    ]  # fmt: skip


PEER = Peer(
    name="mitmproxy",
    title="mitmproxy",
    install="make .venv-mitmproxy/.installed",
    version=_version,
    command=_words,
)
