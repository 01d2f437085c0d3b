"""IP addresses and networks, by the names that Kubernetes gave them.

An IPv4 address in IPv6's clothes (`::ffff:c0a8:1`) is the IPv4 address, so that no list of networks is walked around.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ....engine.errors import EvaluationError
from ..environment import Function
from ..types import BOOL, CIDR, INT, IP, STRING, Type
from ..values import Address, no_overload


@lru_cache(maxsize=1024)
def parse_ip(text: str) -> Address:
    """Read an address; one with a zone or with an IPv4 part in dots within IPv6 is an EvaluationError."""
    # Imported late: few rule sets name an address.
    import ipaddress

    try:
        if "%" in text or (":" in text and "." in text):
            raise ValueError
        found = ipaddress.ip_address(text)
    except ValueError:
        raise EvaluationError("the text is no IP address") from None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return Address(found.max_prefixlen, int(found))


@lru_cache(maxsize=256)
def parse_cidr(text: str) -> Address:
    """Read a network such as `10.0.0.0/8`; raise EvaluationError."""
    address, slash, length = text.partition("/")
    try:
        made = parse_ip(address)
    except EvaluationError:
        slash = ""
    if not slash or not (length.isascii() and length.isdigit()) or (len(length) > 1 and length[0] == "0"):
        raise EvaluationError("the text is no network such as 10.0.0.0/8")
    prefix = int(length) if len(length) <= 3 else 999
    # The prefix of a mapped network counts the IPv6 bits before it.
    if made.bits == 32 and ":" in address:
        prefix -= 96
    if not 0 <= prefix <= made.bits:
        raise EvaluationError("a network's prefix is out of range")
    return Address(made.bits, made.number, prefix)


def is_ip(text: str) -> bool:
    try:
        parse_ip(text)
    except EvaluationError:
        return False
    return True


def is_cidr(text: str) -> bool:
    try:
        parse_cidr(text)
    except EvaluationError:
        return False
    return True


def is_canonical(text: str) -> bool:
    """Say whether an address is written as it would be written back."""
    return str(parse_ip(text)) == text


def to_ip(value: Any) -> Address:
    return parse_ip(value) if type(value) is str else value


def to_cidr(value: Any) -> Address:
    return parse_cidr(value) if type(value) is str else value


def _leading(address: Address, bits: int) -> int:
    return address.number >> (address.bits - bits)


def contains_ip(network: Address, value: Any) -> bool:
    """Say whether a network holds an address, given as one or as text."""
    address = to_ip(value)
    prefix = network.prefix
    if prefix is None or address.prefix is not None:
        raise no_overload("containsIP", network, value)
    return network.bits == address.bits and _leading(network, prefix) == _leading(address, prefix)


def contains_cidr(network: Address, value: Any) -> bool:
    inner = to_cidr(value)
    prefix = network.prefix
    if prefix is None or inner.prefix is None:
        raise no_overload("containsCIDR", network, value)
    return (
        network.bits == inner.bits and inner.prefix >= prefix and _leading(network, prefix) == _leading(inner, prefix)
    )


def address_of(network: Address) -> Address:
    return Address(network.bits, network.number)


def masked(network: Address) -> Address:
    """Return the network without the bits of a host."""
    host = network.bits - (network.prefix or 0)
    return Address(network.bits, network.number >> host << host, network.prefix)


def prefix_length(network: Address) -> int:
    return network.prefix or 0


def family(address: Address) -> int:
    return 4 if address.bits == 32 else 6


def _is_in(address: Address, *networks: str) -> bool:
    return any(contains_ip(parse_cidr(network), address) for network in networks)


def is_unspecified(address: Address) -> bool:
    return address.number == 0


def is_loopback(address: Address) -> bool:
    return _is_in(address, "127.0.0.0/8", "::1/128")


def is_link_local_unicast(address: Address) -> bool:
    return _is_in(address, "169.254.0.0/16", "fe80::/10")


def is_link_local_multicast(address: Address) -> bool:
    return _is_in(address, "224.0.0.0/24", "ff02::/16")


def is_global_unicast(address: Address) -> bool:
    """Say whether an address is a unicast one beyond its link; private ranges are (RFC 1122, RFC 4291)."""
    special = _is_in(address, "224.0.0.0/4", "255.255.255.255/32", "ff00::/8")
    return not (special or is_unspecified(address) or is_loopback(address) or is_link_local_unicast(address))


def _members(type: Type, *pairs: tuple[str, Any, Type]) -> tuple[Function, ...]:
    return tuple(
        Function(name=name, overloads=(((type,), result),), call=call, member=True) for name, call, result in pairs
    )


FUNCTIONS = (
    Function(name="ip", overloads=(((STRING,), IP), ((IP,), IP)), call=to_ip),
    Function(name="cidr", overloads=(((STRING,), CIDR), ((CIDR,), CIDR)), call=to_cidr),
    Function(name="isIP", overloads=(((STRING,), BOOL),), call=is_ip),
    Function(name="isCIDR", overloads=(((STRING,), BOOL),), call=is_cidr),
    Function(name="ip.isCanonical", overloads=(((STRING,), BOOL),), call=is_canonical),
    Function(name="containsIP", overloads=(((CIDR, IP), BOOL), ((CIDR, STRING), BOOL)), call=contains_ip, member=True),
    Function(
        name="containsCIDR", overloads=(((CIDR, CIDR), BOOL), ((CIDR, STRING), BOOL)), call=contains_cidr, member=True
    ),
    *_members(CIDR, ("ip", address_of, IP), ("masked", masked, CIDR), ("prefixLength", prefix_length, INT)),
    *_members(
        IP,
        ("family", family, INT),
        ("isUnspecified", is_unspecified, BOOL),
        ("isLoopback", is_loopback, BOOL),
        ("isLinkLocalUnicast", is_link_local_unicast, BOOL),
        ("isLinkLocalMulticast", is_link_local_multicast, BOOL),
        ("isGlobalUnicast", is_global_unicast, BOOL),
    ),
)
