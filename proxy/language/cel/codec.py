"""Values of expressions as bytes, for what outlives an exchange; each comes back as the type that it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ...engine.errors import EvaluationError
from .moments import Duration, Timestamp
from .values import NONE, Address, Maybe, MixedMap, UInt

_Ext = msgspec.msgpack.Ext
_encode = msgspec.msgpack.Encoder().encode

_UINT, _TIMESTAMP, _DURATION, _MAYBE, _MIXED, _ADDRESS, _SET, _BIG = range(1, 9)
_NATIVE = (str, bytes, bool, float, type(None))


class CelCodec:
    """Writes and reads values of expressions, and lists, maps and sets of them."""

    def encode(self, value: Any) -> bytes:
        """Write a value; a type or anything foreign is an EvaluationError."""
        return _encode(_plain(value))

    def decode(self, data: bytes) -> Any:
        """Read what `encode` wrote; raises msgspec.DecodeError or ValueError for anything else."""
        return _decode(data)


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _NATIVE:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**64 else _Ext(_BIG, str(value).encode())
    if kind is UInt:
        return _Ext(_UINT, value.to_bytes(8, "big"))
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    if kind is dict:
        return {key if type(key) is str else _plain(key): _plain(item) for key, item in value.items()}
    if kind is Timestamp:
        return _Ext(_TIMESTAMP, str(value.nanos).encode())
    if kind is Duration:
        return _Ext(_DURATION, str(value.nanos).encode())
    if kind is Maybe:
        return _Ext(_MAYBE, _encode([_plain(value.value)] if value.present else []))
    if kind is MixedMap:
        return _Ext(_MIXED, _encode([[_plain(key), _plain(item)] for key, item in value.items()]))
    if kind is Address:
        return _Ext(_ADDRESS, _encode([value.bits, str(value.number), value.prefix]))
    if kind is frozenset:
        return _Ext(_SET, _encode(sorted(value)))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    raise EvaluationError(f"a {kind.__name__} cannot be kept while the exchange is suspended")


def _maybe(data: bytes) -> Maybe:
    found = _decode(data)
    return Maybe(found[0]) if found else NONE


def _address(data: bytes) -> Address:
    bits, number, prefix = _decode(data)
    return Address(bits, int(number), prefix)


_READ: Mapping[int, Callable[[bytes], Any]] = {
    _UINT: lambda data: UInt(int.from_bytes(data, "big")),
    _TIMESTAMP: lambda data: Timestamp(int(data)),
    _DURATION: lambda data: Duration(int(data)),
    _MAYBE: _maybe,
    _MIXED: lambda data: MixedMap(_decode(data)),
    _ADDRESS: _address,
    _SET: lambda data: frozenset(_decode(data)),
    _BIG: int,
}


def _ext(code: int, data: memoryview) -> Any:
    read = _READ.get(code)
    if read is None:
        raise ValueError("an unknown kind of value")
    return read(bytes(data))


_decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(ext_hook=_ext).decode
