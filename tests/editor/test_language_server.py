"""An editor's language server (redhat's, of VS Code, Neovim and others) completes and checks rules by the schema."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.language.actions import ACTIONS
from tests.running import ROOT

SERVER = Path(__file__).parent / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
MODELINE = "# yaml-language-server: $schema={}\n"
SETTINGS = {
    "yaml": {"schemaStore": {"enable": False}, "validate": True, "completion": True, "hover": True},
    "http": {},
    "[yaml]": {},
    "editor": {},
    "files": {},
}


class Editor:
    """What an editor says to a language server, and hears of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.ids = itertools.count(1)
        self.found: dict[str, list[Any]] = {}
        root = ROOT.as_uri()
        capabilities = {
            "workspace": {"configuration": True},
            "textDocument": {"hover": {"contentFormat": ["markdown"]}},
        }
        self.ask("initialize", {"processId": None, "rootUri": root, "capabilities": capabilities})
        self.tell("initialized", {})
        self.tell("workspace/didChangeConfiguration", {"settings": SETTINGS})

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        length = 0
        while (line := self.process.stdout.readline().strip()) or not length:
            assert line, "the language server has ended"
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        message: dict[str, Any] = json.loads(self.process.stdout.read(length))
        return message

    def hear(self) -> dict[str, Any]:
        """Take one message; answer what the server asks."""
        message = self.read()
        if message.get("method") == "textDocument/publishDiagnostics":
            self.found[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif message.get("method") == "workspace/configuration":
            asked = message["params"]["items"]
            self.send({"id": message["id"], "result": [SETTINGS.get(item["section"], {}) for item in asked]})
        elif "method" in message and "id" in message:
            self.send({"id": message["id"], "result": None})
        return message

    def tell(self, method: str, params: dict[str, Any]) -> None:
        self.send({"method": method, "params": params})

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        number = next(self.ids)
        self.send({"id": number, "method": method, "params": params})
        while (message := self.hear()).get("id") != number or "method" in message:
            pass
        assert "error" not in message, message
        return message["result"]

    def open(self, file: Path, text: str) -> str:
        """Open a file with a text, and wait until it was checked."""
        uri = file.as_uri()
        self.tell(
            "textDocument/didOpen",
            {"textDocument": {"uri": uri, "languageId": "yaml", "version": 1, "text": text}},
        )
        while uri not in self.found:
            self.hear()
        return uri

    def at(self, method: str, uri: str, line: int, character: int) -> Any:
        position = {"line": line, "character": character}
        return self.ask(f"textDocument/{method}", {"textDocument": {"uri": uri}, "position": position})


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed here")
    if not SERVER.exists():
        pytest.skip("yaml-language-server is not installed here: `make clients` does it")
    with subprocess.Popen([node, str(SERVER), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Editor(process)
        finally:
            process.kill()


RULES = MODELINE.format(ROOT / "rules" / "schema.json") + "version: 1\nrules:\n  - name: a\n    before:\n      - "


@pytest.mark.parametrize("phase", ["before", "after", "continue"])
def test_at_a_step_the_actions_of_its_phase_are_offered(phase: str, editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "a.yaml", RULES.replace("before", phase))
    found = editor.at("completion", uri, 5, 8)
    offered = {item["label"] for item in found["items"]}
    assert {name for name, action in ACTIONS.items() if phase in action.phases} <= offered
    assert not {name for name, action in ACTIONS.items() if phase not in action.phases} & offered
    assert "when" in offered


def test_over_an_action_its_description_is_shown(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "a.yaml", RULES + "deny: {reason: no}\n")
    shown = editor.at("hover", uri, 5, 10)["contents"]["value"]
    assert "Answer with an error instead" in shown or "deny" in shown.lower()
    reason = editor.at("hover", uri, 5, 16)["contents"]["value"]
    assert "client" in reason
    assert "Disposable addresses cannot sign in." in reason


def test_a_typing_error_is_underlined_where_it_stands(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "a.yaml", RULES + "deny: {statsu: 403}\n")
    (found,) = [one for one in editor.found[uri] if "statsu" in one["message"]]
    start, end = found["range"]["start"], found["range"]["end"]
    assert (start["line"], start["character"], end["character"]) == (5, 15, 21)


@pytest.mark.parametrize(
    "file",
    # A pack has no schema.
    [file for file in sorted((ROOT / "rules").glob("*/*.yaml")) if file.name != "pack.yaml"],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_no_file_that_ships_has_anything_underlined(file: Path, editor: Editor) -> None:
    text = file.read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=")
    assert [one["message"] for one in editor.found[editor.open(file, text)]] == []


def test_a_test_file_is_completed_too(editor: Editor, tmp_path: Path) -> None:
    text = MODELINE.format(ROOT / "rules" / "test-schema.json") + "cases:\n  - name: a\n    expect:\n      "
    uri = editor.open(tmp_path / "a.test.yaml", text)
    offered = {item["label"] for item in editor.at("completion", uri, 4, 6)["items"]}
    assert {"response", "upstream", "rules"} <= offered
