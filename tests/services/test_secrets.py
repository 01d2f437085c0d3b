"""Secrets: from a folder, else from the environment, and never in a representation."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.services.secrets import Secrets


def test_a_file_comes_before_a_variable_and_loses_its_line_break(tmp_path: Path) -> None:
    (tmp_path / "mfa_hmac").write_text("test-only-file\n")
    secrets = Secrets(tmp_path, {"VESTIBULE_SECRET_MFA_HMAC": "test-only-variable", "VESTIBULE_SECRET_OTHER": "x"})
    assert secrets.get("mfa_hmac") == "test-only-file"
    assert secrets.get("other") == "x"
    assert secrets.get("none") is None


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "key"
    secrets = Secrets(tmp_path, {})
    assert secrets.get("key") is None
    file.write_text("test-only-one")
    assert secrets.get("key") == "test-only-one"
    new = tmp_path / "new"
    new.write_text("test-only-two")
    new.replace(file)
    assert secrets.get("key") == "test-only-two"
    file.unlink()
    assert secrets.get("key") is None


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".hidden", "a" * 200, "a b"])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("test-only")
    folder = tmp_path / "secrets"
    folder.mkdir()
    assert Secrets(folder, {}).get(name) is None


def test_a_file_that_is_no_text_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    assert Secrets(tmp_path, {}).get("key") is None


def test_no_value_is_in_the_representation(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("test-only-value")
    secrets = Secrets(tmp_path, {"VESTIBULE_SECRET_A": "test-only-value"})
    secrets.get("key")
    assert "value" not in repr(secrets)
