"""Kubernetes' IP and CIDR libraries, which read addresses as strictly as Kubernetes validates them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from shared.objects.cel.declarations import Library, traversal
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.types import BOOL, INT, STRING
from shared.objects.cel.values import Opaque

library = Library()
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Ip(Opaque):
    """An address."""

    address: _Address
    type_name = "net.IP"

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Cidr(Opaque):
    """An address with a prefix length; the address may have host bits."""

    interface: _Network
    type_name = "net.CIDR"

    def __str__(self) -> str:
        return str(self.interface)


IP = library.opaque_type("net.IP", Ip)
CIDR = library.opaque_type("net.CIDR", Cidr)


def _ip(text: str) -> Ip:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as exc:
        raise EvaluationError(f'IP Address "{text}" parse error during conversion from string: {exc}') from exc
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
        if address.scope_id is not None:
            raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
    return Ip(address)


def _cidr(text: str) -> Cidr:
    try:
        _, slash, prefix = text.partition("/")
        if not slash or not prefix.isdecimal() or (len(prefix) > 1 and prefix[0] == "0"):
            raise ValueError("a prefix length is missing")
        interface = ipaddress.ip_interface(text)
    except ValueError as exc:
        raise EvaluationError(f'network address parse error during conversion from string: "{text}": {exc}') from exc
    if isinstance(interface, ipaddress.IPv6Interface) and interface.ip.ipv4_mapped is not None:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return Cidr(interface)


def _is_ip(text: str) -> bool:
    return _readable(_ip, text)


def _is_cidr(text: str) -> bool:
    return _readable(_cidr, text)


def _readable(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except EvaluationError:
        return False
    return True


def _is_global_unicast(held: Ip) -> bool:
    address = held.address
    broadcast = str(address) == "255.255.255.255"
    return not (
        broadcast or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    )


def _link_local_multicast(held: Ip) -> bool:
    address = held.address
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.IPv4Network("224.0.0.0/24")
    return address.is_multicast and address.packed[1] & 0x0F == 2


def _contains_ip(held: Cidr, ip: Ip) -> bool:
    return ip.address.version == held.interface.version and ip.address in held.interface.network


def _contains_cidr(held: Cidr, other: Cidr) -> bool:
    mine, its = held.interface.network, other.interface.network
    return mine.version == its.version and mine.prefixlen <= its.prefixlen and its.network_address in mine


def _masked(held: Cidr) -> Cidr:
    return Cidr(ipaddress.ip_interface(str(held.interface.network)))


_READ = traversal(0)
library.function("ip", (STRING,), IP, _ip, cost=_READ)
library.function("isIP", (STRING,), BOOL, _is_ip, cost=_READ)
library.function("ip.isCanonical", (STRING,), BOOL, lambda text: str(_ip(text)) == text, cost=_READ)
library.method("family", (IP,), INT, lambda held: held.address.version)
library.method("isUnspecified", (IP,), BOOL, lambda held: held.address.is_unspecified)
library.method("isLoopback", (IP,), BOOL, lambda held: held.address.is_loopback)
library.method("isLinkLocalMulticast", (IP,), BOOL, _link_local_multicast)
library.method("isLinkLocalUnicast", (IP,), BOOL, lambda held: held.address.is_link_local)
library.method("isGlobalUnicast", (IP,), BOOL, _is_global_unicast)
library.function("string", (IP,), STRING, str)
library.function("cidr", (STRING,), CIDR, _cidr, cost=_READ)
library.function("isCIDR", (STRING,), BOOL, _is_cidr, cost=_READ)
library.method("containsIP", (CIDR, IP), BOOL, _contains_ip)
library.method("containsIP", (CIDR, STRING), BOOL, lambda held, text: _contains_ip(held, _ip(text)))
library.method("containsCIDR", (CIDR, CIDR), BOOL, _contains_cidr)
library.method("containsCIDR", (CIDR, STRING), BOOL, lambda held, text: _contains_cidr(held, _cidr(text)))
library.method("ip", (CIDR,), IP, lambda held: Ip(held.interface.ip))
library.method("masked", (CIDR,), CIDR, _masked)
library.method("prefixLength", (CIDR,), INT, lambda held: held.interface.network.prefixlen)
library.function("string", (CIDR,), STRING, str)
