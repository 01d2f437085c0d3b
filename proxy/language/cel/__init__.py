"""CEL, compiled: expressions are parsed and checked at load and become Python functions.

Pure: nothing here reads a clock, a file or the network; what an expression may read is given as an Environment.
"""

from .codec import CelCodec
from .environment import Environment, Function, Reader, Variable
from .findings import Read
from .functions.secrets import secret_function
from .moments import Duration, Timestamp
from .problems import CelProblem, CelProblems
from .program import Program, compile
from .types import (
    BOOL,
    BYTES,
    CIDR,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    IP,
    NULL,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    Type,
    list_of,
    map_of,
    optional_of,
)
from .values import Maybe, UInt, to_json, to_text

__all__ = [
    "BOOL",
    "BYTES",
    "CIDR",
    "DOUBLE",
    "DURATION",
    "DYN",
    "INT",
    "IP",
    "NULL",
    "STRING",
    "TIMESTAMP",
    "TYPE",
    "UINT",
    "CelCodec",
    "CelProblem",
    "CelProblems",
    "Duration",
    "Environment",
    "Function",
    "Maybe",
    "Program",
    "Read",
    "Reader",
    "Timestamp",
    "Type",
    "UInt",
    "Variable",
    "compile",
    "list_of",
    "map_of",
    "optional_of",
    "secret_function",
    "to_json",
    "to_text",
]
