"""The functions that every expression may call, by name and by whether they are members."""

from __future__ import annotations

from collections.abc import Mapping

from ..environment import Function
from . import operators, standard

FunctionTable = Mapping[tuple[str, bool], Function]

STANDARD: FunctionTable = {
    (function.name, function.member): function
    for module in (operators, standard)
    for function in module.FUNCTIONS
}
