"""The functions that every expression may call, by name and by whether they are members."""

from __future__ import annotations

from collections.abc import Mapping

from ..environment import Function
from . import encoders, mathematics, network, operators, optionals, standard, strings, time, tokens

FunctionTable = Mapping[tuple[str, bool], Function]

STANDARD: FunctionTable = {
    (function.name, function.member): function
    for module in (operators, standard, optionals, strings, mathematics, time, encoders, network, tokens)
    for function in module.FUNCTIONS
}
