"""The one table of actions: every entry is a model with words for its author."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import RootModel

from proxy.language.actions import ACTIONS

NAMES = list(ACTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_every_action_and_setting_says_what_it_does(name: str) -> None:
    action = ACTIONS[name]
    assert action.__doc__
    assert action.__doc__.strip().endswith(".")
    assert action.phases
    if not issubclass(action, RootModel):
        missing = [key for key, found in action.model_fields.items() if not found.description]
        assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_every_action_has_a_schema(name: str) -> None:
    schema = ACTIONS[name].model_json_schema()
    assert schema.get("type") or schema.get("anyOf") or schema.get("oneOf") or "const" in schema or "$ref" in schema


def test_an_action_that_is_not_there_is_not_in_the_table() -> None:
    assert "header" not in ACTIONS
    assert len(ACTIONS) == len(NAMES) == len(set(NAMES))
    with pytest.raises(KeyError):
        ACTIONS["header"]


def test_a_module_is_imported_when_its_action_is_first_used() -> None:
    code = (
        "import sys; from proxy.language.actions import ACTIONS\n"
        "assert 'redirect' in ACTIONS and 'proxy.language.actions.redirect' not in sys.modules\n"
        "ACTIONS['redirect']\n"
        "assert 'proxy.language.actions.redirect' in sys.modules and 'jwt' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
