"""Whose request it is: the client behind trusted proxies, and the Forwarded fields that say so upstream.

Nothing that a client writes about itself is believed; a trusted proxy's chain is believed up to the first address that
is not trusted (RFC 7239 section 8.1).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from ..engine.message import Line
from .options import Network, Trust
from .refusal import Refusal

Address = IPv4Address | IPv6Address

_authority = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?").fullmatch
_with_port = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?").fullmatch
_pair = re.compile(r'[ \t]*([A-Za-z]+)=(?:"([^"\\]*)"|([^\s",;=]*))[ \t]*').fullmatch
_chain = 32


def check_host(text: str) -> None:
    """Refuse a Host that is not one host and port (RFC 9110 section 7.2)."""
    found = _authority(text)
    if found is None or (found[1] and int(found[1]) > 65_535):
        raise Refusal(400, "the Host is empty or malformed")
    if text.startswith("["):
        try:
            IPv6Address(text[1 : text.index("]")])
        except ValueError:
            raise Refusal(400, "the Host is empty or malformed") from None


def _read(text: str) -> Address | None:
    found = _with_port(text)
    try:
        address = ip_address((found[1] or found[2]) if found else text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:
            return None
    return address


def _holds(networks: tuple[Network, ...], address: Address | None) -> bool:
    return address is not None and any(address in network for network in networks)


class Origin:
    """What is known of a request's client: `ip`, the chain `ips` from the client to the peer, scheme, host."""

    __slots__ = ("host", "ip", "ips", "lines", "scheme")

    def __init__(self, ips: tuple[str, ...], scheme: str, host: str, port: str) -> None:
        self.ip = ips[0]
        self.ips = ips
        self.scheme = scheme
        self.host = host
        lines: list[tuple[bytes, str]] = [(b"X-Forwarded-For", ", ".join(ips))]
        if host:
            lines.append((b"X-Forwarded-Host", host))
        lines.append((b"X-Forwarded-Proto", scheme))
        lines.append((b"X-Forwarded-Port", port))
        hops = [f'for="[{ip}]"' if ":" in ip else f"for={ip}" for ip in ips]
        said = f'{hops[0]};host="{host}"' if host else hops[0]
        hops[0] = f"{said};proto={scheme}"
        lines.append((b"Forwarded", ", ".join(hops)))
        # What goes upstream, ready to be laid on a request.
        self.lines: tuple[Line, ...] = tuple((name.lower(), name, value.encode("latin-1")) for name, value in lines)


class Peer:
    """The other end of a client's connection."""

    __slots__ = ("_hosts", "_last", "_port", "_scheme", "ip", "networks", "trusted")

    def __init__(self, ip: str, scheme: str, port: int, trust: Trust) -> None:
        address = _read(ip.partition("%")[0])
        self.ip = str(address) if address is not None else "unknown"
        self._scheme = scheme
        self._port = str(port)
        self._hosts = trust.hosts
        self.networks = trust.proxies
        self.trusted = bool(trust.proxies) and _holds(trust.proxies, address)
        self._last: Origin | None = None

    def origin(self, host: str, said: list[Line]) -> Origin:
        """Return the origin of a request with this Host; `said` are the forwarding fields it came with."""
        if not self.trusted or not said:
            last = self._last
            if last is None or last.host != host:
                self._check(host)
                last = self._last = Origin((self.ip,), self._scheme, host, self._port)
            return last
        return self._believe(host, said)

    def _check(self, host: str) -> None:
        if host:
            check_host(host)
        if self._hosts and not _serves(self._hosts, host):
            raise Refusal(421, "the Host is not one that is served")

    def _believe(self, host: str, said: list[Line]) -> Origin:
        values: dict[bytes, list[str]] = {}
        for key, _, value in said:
            values.setdefault(key, []).append(value.decode("latin-1").strip())
        # Where both stand, one of them may be the client's own: X-Forwarded-* is what most proxies write.
        if values.keys() == {b"forwarded"}:
            return self._believe_forwarded(host, values[b"forwarded"])
        ips = [self.ip]
        hops = [hop.strip() for hop in ",".join(values.get(b"x-forwarded-for", ())).split(",")][-_chain:]
        for hop in reversed(hops):
            address = _read(hop)
            if address is None:
                break
            ips.insert(0, str(address))
            if not _holds(self.networks, address):
                break
        scheme = _one(values, b"x-forwarded-proto").lower()
        named = _one(values, b"x-forwarded-host")
        port = _one(values, b"x-forwarded-port")
        return self._origin(ips, scheme, named or host, port)

    def _believe_forwarded(self, host: str, lines: list[str]) -> Origin:
        """Read Forwarded (RFC 7239); scheme and host are those that the first proxy which is believed was asked for."""
        ips = [self.ip]
        scheme = ""
        for hop in reversed(",".join(lines).split(",")[-_chain:]):
            pairs = _pairs(hop)
            address = _read(pairs.get("for", ""))
            if address is None:
                break
            ips.insert(0, str(address))
            scheme = pairs.get("proto", "").lower()
            host = pairs.get("host") or host
            if not _holds(self.networks, address):
                break
        return self._origin(ips, scheme, host, "")

    def _origin(self, ips: list[str], scheme: str, host: str, port: str) -> Origin:
        if scheme not in ("http", "https"):
            scheme = self._scheme
        self._check(host)
        if not (port.isascii() and port.isdigit() and len(port) < 6):
            port = self._port
        return Origin(tuple(ips), scheme, host, port)


def _serves(hosts: frozenset[str], host: str) -> bool:
    name = host.lower() if host.endswith("]") else host.rpartition(":")[0].lower() or host.lower()
    return name in hosts or any(f"*{name[at:]}" in hosts for at, mark in enumerate(name) if mark == "." and at)


def _pairs(hop: str) -> dict[str, str]:
    """Read one element of Forwarded; nothing of one that is malformed or says a thing twice."""
    pairs: dict[str, str] = {}
    for part in hop.split(";"):
        found = _pair(part)
        if found is None or found[1].lower() in pairs:
            return {}
        pairs[found[1].lower()] = found[3] if found[2] is None else found[2]
    return pairs


def _one(values: dict[bytes, list[str]], key: bytes) -> str:
    found = values.get(key, [])
    if len(found) > 1 or (found and "," in found[0]):
        raise Refusal(400, "a forwarding field of a trusted proxy holds more than one value")
    return found[0] if found else ""
