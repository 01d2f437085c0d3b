"""What the documents say is so: generated files are current, examples load, commands exist."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from proxy.cli import COMMANDS
from proxy.cli.check import check
from proxy.cli.reference import BEGIN, END, insert, metric_reference, reference
from proxy.cli.reports import FORMATS
from proxy.cli.schema import SCHEMAS, rule_file_schema, write
from proxy.language.compile import Options, build
from proxy.language.document import Source, load, plain
from proxy.language.problems import Problems
from proxy.language.variables import request, response
from proxy.services.rulefiles import find_pack, read
from tests.documentation import NOT_RUN, Reader, Unrun, blocks

PROJECT = Path(__file__).parent.parent
PAGES = [
    str(page.relative_to(PROJECT))
    for pattern in (
        "README.md",
        "rules/**/README.md",
        "proxy/README.md",
        "tests/**/README.md",
        "deploy/*.md",
        ".github/*.md",
    )
    for page in sorted(PROJECT.glob(pattern))
    # What `make clients` installed has pages of its own.
    if "node_modules" not in page.parts
]


def text(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.timeout(600)  # a page is many commands, and the machine may be busy
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_so(page: str, tmp_path: Path) -> None:
    """Whoever does what a page says, block by block, gets what it says."""
    follow(Reader(page, tmp_path), text(page))


def follow(reader: Reader, page: str) -> None:
    try:
        for block in blocks(reader.page, page):
            reader.read(block)
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("page", "place", "said"),
    [
        ("x\n\n```promql\nup\n```\n", "x.md:3", "nothing runs a block of `promql`"),
        ("```\nls\n```\n", "x.md:1", "nothing runs a block of ``"),
        ("- x\n  ```sh\n  ls\n  ```\n", "x.md:2", "nothing runs this block"),
        ("```sh\nls\n", "x.md:1", "nothing runs this block"),
        ("```sh\nvestibule chekc rules\n```\n", "x.md:1", "No such command"),
        ("```sh\nmake nothing\n```\n", "x.md:1", "No rule to make target"),
        ("```sh\nfalse\n```\n", "x.md:1", "exit 1"),
        ("```sh\nvestibule run\nls\n```\n", "x.md:1", "it must be the last line"),
        ("```sh\nvestibule version\n```\n\n```text\nvestibule 9\n```\n", "x.md:5", "shows another output"),
        ("```text\n$ vestibule version\nvestibule\n```\n", "x.md:1", "shows another output"),
        ("```yaml\n- denny: {}\n```\n", "x.md:1", "did you mean 'deny'"),
        ("```yaml\nversion: 1\nrules: [{name: x, matsch: {}}]\n```\n", "x.md:1", "did you mean 'match'"),
        (
            "```yaml\ncases: [{name: x, request: {path: /}, expect: {response: {status: 1}}}]\n```\n",
            "x.md:1",
            "expected 1",
        ),
        ("```yaml\nlissten: 127.0.0.1:1\n```\n", "x.md:1", "lissten"),
        ("```yaml\n- 7\n```\n", "x.md:1", "exit 1"),
    ],
)  # fmt: skip
def test_a_block_that_is_not_so_is_told_with_its_place(page: str, place: str, said: str, tmp_path: Path) -> None:
    reader = Reader("x.md", tmp_path)
    with pytest.raises(Unrun) as told:
        follow(reader, page)
    assert str(told.value).startswith(f"{place}: ")
    assert said in str(told.value)


def test_text_that_may_differ_is_written_as_an_ellipsis(tmp_path: Path) -> None:
    page = "```sh\nls rules; pwd\n```\n\n```text\nREADME.md\n…\ntest…\n/…\n```\n"
    follow(Reader("x.md", tmp_path), page)


@pytest.mark.parametrize("start", NOT_RUN)
def test_what_is_not_run_stands_on_a_page(start: str) -> None:
    lines = [line for page in PAGES for block in blocks(page, text(page)) for line in block.text.splitlines()]
    assert any(line.startswith(start) for line in lines), "take it off the list"


def rule_files_shown() -> list[Any]:
    return [
        pytest.param(block.text, id=block.place)
        for page in PAGES
        for block in blocks(page, text(page))
        if block.kind == "yaml" and "version: 1" in block.text
    ]


@pytest.mark.parametrize(
    ("name", "kind"), [("schema.json", "rules"), ("test-schema.json", "tests"), ("settings-schema.json", "settings")]
)
def test_the_schema_files_are_current(name: str, kind: str) -> None:
    assert text(f"rules/{name}") == write(SCHEMAS[kind]()), "run `make docs`"


@pytest.mark.parametrize(("name", "build"), [("rules/README.md", reference), ("deploy/METRICS.md", metric_reference)])
def test_a_reference_is_current(name: str, build: Callable[[], str]) -> None:
    page = text(name)
    assert page.count(BEGIN) == page.count(END) == 1
    assert page == insert(page, build()), "run `make docs`"


@pytest.mark.parametrize("block", rule_files_shown())
def test_the_schema_takes_the_rules_that_a_page_shows(block: str) -> None:
    jsonschema.validate(yaml.safe_load(block), rule_file_schema())


def test_the_mistake_that_the_readme_shows_is_reported_like_that(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```text\nrules/login.yaml:(.*?)\n```", text("README.md"), re.DOTALL)
    rules = tmp_path / "login.yaml"
    rules.write_text(
        "version: 1\nrules:\n  - name: x\n    match:\n      path: /x\n    before:\n      - end: true\n"
        "      - deny: {statsu: 403}\n",
        encoding="utf-8",
    )
    assert FORMATS["text"](check((rules,)), False).strip() == f"{rules}:{shown}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_names_exist(page: str) -> None:
    named = set(re.findall(r"(?m)(?:`|^)vestibule ([a-z]+)\b", text(page)))
    assert named <= COMMANDS.keys()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_on_the_front_page(name: str) -> None:
    assert f"| `vestibule {name}` |" in text("README.md")


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_that_a_page_names_exist(page: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", text("Makefile")))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=`|  )", text(page))) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    folder = (PROJECT / page).parent
    for link, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", text(page)):
        target = folder / link if link else PROJECT / page
        assert "://" in link or target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}#{anchor}"


def anchors(page: str) -> set[str]:
    """Give what the headings of a page are linked by."""
    headings = re.findall(r"(?m)^#+ (.+)$", page)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_what_a_login_costs_is_what_was_measured() -> None:
    """The page for newcomers may round, and be a little behind, but not tell another story."""
    measured = {}
    for row in re.findall(r"(?m)^\| (.+)", text("tests/benchmarks/README.md").partition("Memory after start")[0]):
        name, _, login, *_ = (cell.strip() for cell in row.split("|"))
        if found := re.fullmatch(r".*\(([0-9.]+)\)", login):
            measured[name] = float(found[1])
    shown = {}
    for name, cell in re.findall(
        r"(?m)^\| (.+?) \|.*\| (.+?) \|$", text("README.md").partition("| CPU of a login |")[2]
    ):
        for number, kind in zip(re.findall(r"[0-9.]+", cell), ("", ", compiled"), strict=False):
            shown[name.strip("*") + kind] = float(number)
    same = {
        "Vestibule": "Vestibule",
        "Vestibule, compiled": "Vestibule, compiled",
        "nginx 1.22 + Lua + cjson": "nginx + Lua + cjson",
        "nginx + njs 0.7": "nginx + njs",
        "Envoy 1.40 + Lua": "Envoy + Lua",
        "http-proxy-middleware 3": "http-proxy-middleware",
        "mitmproxy 11, an addon": "mitmproxy",
    }
    assert shown.keys() == same.keys()
    for name, peer in same.items():
        assert shown[name] == pytest.approx(measured[peer], rel=0.25), name


def test_every_name_of_a_message_is_explained() -> None:
    page = text("rules/README.md")
    for root, variable in (("request", request()), ("response", response())):
        for name in variable.members or {}:
            assert f"`{root}.{name}" in page, f"{root}.{name}"


@pytest.mark.parametrize("file", sorted((PROJECT / "tests" / "cases").glob("*.yaml")), ids=lambda file: str(file.name))
def test_the_schema_takes_what_the_language_takes(file: Path) -> None:
    """A schema that is stricter than the language would underline what is right."""
    document = load(Source(file.name, file.read_text(encoding="utf-8")), Problems())
    assert document is not None
    validator = jsonschema.Draft202012Validator(rule_file_schema())
    for rules in rule_files(document.data):
        build_problems = build([Source("x", json.dumps(rules))], Options(lambda _: "x", lambda n: find_pack(n, ())))
        if build_problems.problems.errors:
            continue
        assert [error.message for error in validator.iter_errors(rules)] == []


def test_the_schema_takes_the_rules_that_ship() -> None:
    sources, problems = read([PROJECT / "rules"])
    assert list(problems) == []
    assert len(sources) >= 1
    validator = jsonschema.Draft202012Validator(rule_file_schema())
    for source in sources:
        document = load(source, Problems())
        assert document is not None
        assert [error.message for error in validator.iter_errors(plain(document.data))] == [], source.name


def rule_files(data: Any) -> list[dict[str, Any]]:
    """Give the rule files inside a case file: its own rules, and those of a case."""
    found = []
    for part in [data, *(data.get("cases") or [])]:
        if isinstance(part, dict) and isinstance(part.get("rules"), list):
            keys = ("packs", "configuration", "rules")
            found.append({"version": 1, **{key: plain(part[key]) for key in keys if key in part}})
    return [one for one in found if all(isinstance(rule, dict) for rule in one["rules"])]


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"name": "x", "bfore": []}, ["rules", 0]),
        ({"name": "x", "before": [{"hedaers": {}}]}, ["rules", 0, "before", 0]),
        ({"name": "x", "before": [{"end": True, "deny": {}}]}, ["rules", 0, "before", 0]),
        ({"name": "x", "before": [{"select": "a"}]}, ["rules", 0, "before", 0]),
        ({"name": "x", "before": [{"deny": {"status": 99}}]}, ["rules", 0, "before", 0, "deny", "status"]),
        ({"name": "x", "mode": "shdow"}, ["rules", 0, "mode"]),
        ({"match": {}}, ["rules", 0]),
    ],
)
def test_the_schema_refuses_what_the_language_refuses(rule: dict[str, Any], place: list[str | int]) -> None:
    validator = jsonschema.Draft202012Validator(rule_file_schema())
    found = [list(error.absolute_path) for error in validator.iter_errors({"version": 1, "rules": [rule]})]
    assert place in found
