"""Which rule files there are, in which order, and what cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.language.document import SIZE
from proxy.language.problems import Problems
from proxy.services.rulefiles import find_pack, read


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n", encoding="utf-8")


def names(*paths: Path) -> list[str]:
    sources, problems = read(paths)
    assert list(problems) == []
    return [Path(source.name).name for source in sources]


def problem(*paths: Path) -> tuple[str, int, int, str]:
    _, problems = read(paths)
    (one,) = problems
    return one.code, one.line, one.column, one.text


def test_files_come_in_the_order_of_their_names_whatever_the_order_given(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", "a.yml", "c.yaml")
    assert names(tmp_path / "c.yaml", tmp_path / "a.yml", tmp_path / "b.yaml") == ["a.yml", "b.yaml", "c.yaml"]
    assert names(tmp_path) == ["a.yml", "b.yaml", "c.yaml"]


def test_a_folder_gives_everything_below_it_but_tests_packs_and_hidden_names(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "a.test.yaml", "deep/er/b.yml", "deep/pack.yaml", ".hidden/c.yaml", ".d.yaml", "notes.md")
    assert names(tmp_path) == ["a.yaml", "b.yml"]


def test_a_file_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml")
    (tmp_path / "again.yaml").symlink_to(tmp_path / "a.yaml")
    assert len(names(tmp_path / "a.yaml", tmp_path)) == 1


def test_a_mounted_configuration_is_read_through_its_links(tmp_path: Path) -> None:
    write(tmp_path, "..2026_11_24/a.yaml")
    (tmp_path / "..data").symlink_to("..2026_11_24")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert names(tmp_path) == ["a.yaml"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml")
    (tmp_path / "self").symlink_to(tmp_path)
    assert names(tmp_path) == ["a.yaml"]


def test_a_file_given_by_name_needs_no_suffix(tmp_path: Path) -> None:
    write(tmp_path, "rules.txt")
    assert names(tmp_path / "rules.txt") == ["rules.txt"]


def test_a_folder_without_rules_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "a.test.yaml")
    assert problem(tmp_path) == ("unreadable-file", 1, 1, "there is no rule file here")


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert problem(tmp_path / "a.yaml")[0] == "unreadable-file"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    assert problem(tmp_path) == ("unreadable-file", 1, 1, "this is not a file")


def test_a_link_to_itself_and_one_to_nothing_are_problems(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "gone")
    _, problems = read([tmp_path])
    assert [one.code for one in problems] == ["unreadable-file", "unreadable-file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml")
    (tmp_path / "a.yaml").chmod(0)
    assert problem(tmp_path)[0] == "unreadable-file"


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [(b"a: \xff", 1, 4), ("a: é\nb: ".encode() + b"\xe9", 2, 4), ("a: 1".encode("utf-16"), 1, 1)],
)
def test_what_is_not_utf_8_is_told_with_its_place(tmp_path: Path, content: bytes, line: int, column: int) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    assert problem(tmp_path) == ("syntax", line, column, "this is not UTF-8")


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(4 * SIZE + 1)
    assert problem(tmp_path)[0] == "too-large"


def test_the_files_that_can_be_read_come_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "c.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff")
    sources, problems = read([tmp_path])
    assert [Path(source.name).name for source in sources] == ["a.yaml", "c.yaml"]
    assert len(problems) == 1


def test_a_pack_is_found_beside_the_rules_before_the_built_in_one(tmp_path: Path) -> None:
    write(tmp_path, "kibo/pack.yaml", "kibo/login.yaml", "shop/login.yaml", "rules.yaml")
    for near in ("kibo", "kibo/login.yaml", "shop", "shop/login.yaml", "rules.yaml"):
        found = find_pack("kibo", [tmp_path / near])
        assert found is not None
        assert Path(found.name).resolve() == tmp_path / "kibo" / "pack.yaml"


def test_a_built_in_pack_is_found_from_anywhere(tmp_path: Path) -> None:
    found = find_pack("kibo", [tmp_path])
    assert found is not None
    assert "operations:" in found.text


@pytest.mark.parametrize("name", ["", "..", "../kibo", "a/b", ".kibo", "no-such-pack", "kibo\n"])
def test_a_name_that_is_no_packs_finds_nothing(tmp_path: Path, name: str) -> None:
    write(tmp_path, "pack.yaml", "rules/pack.yaml")
    assert find_pack(name, [tmp_path / "rules"]) is None


def test_a_pack_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pack.yaml").write_bytes(b"\xff")
    problems = Problems()
    assert find_pack("own", [tmp_path], problems) is None
    assert [one.code for one in problems] == ["syntax"]
