"""The nf_tables expressions that rules are made of (linux/netfilter/nf_tables.h), as encoded attributes.

Exists because rules are programs for the kernel's register machine: an expression loads into, compares or consumes
registers. The sixteen registers of four bytes used here are R0..R15; one rule is one program, nothing is kept between
rules.
"""

import socket
import sys

from shared.kernel.netlink import wire
from shared.kernel.nftables.model import Verdict

R0, R1, R2, R3, R4, R5, R6, R7 = range(8, 16)
VERDICT_REGISTER = 0

META_OIFNAME = 7
META_IIFNAME = 6
META_L4PROTO = 16

CT_STATE = 0
CT_STATUS = 2
CT_PROTO_DST = 12
CT_DST_IP = 20
STATE_NEW = 8
STATUS_DNAT = 0x20

RANDOM_FULLY = 1 << 4
DYNAMIC_ADD = 0
DYNAMIC_UPDATE = 1

TYPE_LOCAL = 2
_FIB_ADDRESS_TYPE = 3
_FIB_DESTINATION = 2
_FIB_SOURCE = 1

_NETWORK_HEADER = 1
_TRANSPORT_HEADER = 2
_EQUAL, _NOT_EQUAL = 0, 1
_ORIGINAL = 0
_DNAT = 1
_NUMGEN_RANDOM = 1
_ICMP_UNREACHABLE = 0
_TCP_RESET = 1
ICMP_PORT_UNREACHABLE = 3

# nft prints only those attributes of an expression that it can name; the order below is that of the enums
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2


def _expression(name: str, *children: bytes) -> bytes:
    return wire.nested(1, wire.text(_EXPRESSION_NAME, name), wire.nested(_EXPRESSION_DATA, *children))


def value(kind: int, data: bytes) -> bytes:
    """An attribute that holds a plain value (NFTA_DATA_VALUE)."""
    return wire.nested(kind, wire.attribute(1, data))


def verdict_data(kind: int, verdict: Verdict) -> bytes:
    """An attribute that holds a verdict (NFTA_DATA_VERDICT)."""
    children = [wire.be32(1, verdict.code & 0xFFFFFFFF)]
    if verdict.chain:
        children.append(wire.text(2, verdict.chain))
    return wire.nested(kind, wire.nested(2, *children))


def payload(base: int, offset: int, size: int, register: int) -> bytes:
    """Load bytes of a packet header."""
    return _expression("payload", wire.be32(1, register), wire.be32(2, base), wire.be32(3, offset), wire.be32(4, size))


def source_address(register: int) -> bytes:
    """Load the IPv4 source address."""
    return payload(_NETWORK_HEADER, 12, 4, register)


def destination_address(register: int) -> bytes:
    """Load the IPv4 destination address."""
    return payload(_NETWORK_HEADER, 16, 4, register)


def destination_port(register: int) -> bytes:
    """Load the destination port of TCP, UDP or SCTP."""
    return payload(_TRANSPORT_HEADER, 2, 2, register)


def meta(key: int, register: int) -> bytes:
    """Load a property of the packet (META_*)."""
    return _expression("meta", wire.be32(2, key), wire.be32(1, register))


def conntrack(key: int, register: int, *, original: bool = False) -> bytes:
    """Load a property of the packet's connection (CT_*), addresses and ports of its original direction."""
    direction = wire.u8(3, _ORIGINAL) if original else b""
    return _expression("ct", wire.be32(2, key), wire.be32(1, register), direction)


def fib_type(register: int, *, source: bool = False) -> bytes:
    """Load the type of the destination (or source) address in the routing table, TYPE_LOCAL for an own one."""
    flags = _FIB_SOURCE if source else _FIB_DESTINATION
    return _expression("fib", wire.be32(1, register), wire.be32(2, _FIB_ADDRESS_TYPE), wire.be32(3, flags))


def equal(register: int, data: bytes, *, negate: bool = False) -> bytes:
    """Go on only if the register holds these bytes (or with `negate` does not)."""
    operation = _NOT_EQUAL if negate else _EQUAL
    return _expression("cmp", wire.be32(1, register), wire.be32(2, operation), value(3, data))


def mask(register: int, bits: bytes, *, target: int | None = None) -> bytes:
    """Keep only these bits of a register."""
    target = register if target is None else target
    size = len(bits)
    return _expression(
        "bitwise",
        wire.be32(1, register),
        wire.be32(2, target),
        wire.be32(3, size),
        value(4, bits),
        value(5, bytes(size)),
    )


def within(register: int, network: str, *, negate: bool = False, scratch: int | None = None) -> bytes:
    """Go on only if the address in the register belongs to a network such as 10.0.0.0/8.

    The masked address replaces the register's value, or with `scratch` that register's.
    """
    address, _, prefix = network.partition("/")
    bits = (0xFFFFFFFF << (32 - int(prefix)) & 0xFFFFFFFF).to_bytes(4, "big")
    target = register if scratch is None else scratch
    return mask(register, bits, target=target) + equal(target, socket.inet_aton(address), negate=negate)


def any_set(register: int, bits: int) -> bytes:
    """Go on only if one of the bits of a number in host order is set."""
    return mask(register, bits.to_bytes(4, sys.byteorder)) + equal(register, bytes(4), negate=True)


def none_set(register: int, bits: int) -> bytes:
    """Go on only if none of the bits of a number in host order is set."""
    return mask(register, bits.to_bytes(4, sys.byteorder)) + equal(register, bytes(4))


def is_type(register: int, kind: int, *, negate: bool = False) -> bytes:
    """Go on only if the register holds this number in host order."""
    return equal(register, kind.to_bytes(4, sys.byteorder), negate=negate)


def interface(register: int, name: str, *, negate: bool = False) -> bytes:
    """Go on only if the register (sixteen bytes) holds this interface name."""
    return equal(register, name.encode().ljust(16, b"\0"), negate=negate)


def lookup(name: str, register: int, *, target: int | None = None, negate: bool = False) -> bytes:
    """Go on only if the set holds the register's value; with `target` load the map's data there (0: a verdict)."""
    children = [wire.text(1, name), wire.be32(2, register)]
    if target is not None:
        children.append(wire.be32(3, target))
    if negate:
        children.append(wire.be32(5, 1))
    return _expression("lookup", *children)


def remember(name: str, register: int, *, timeout_ms: int, data: int | None = None, update: bool = False) -> bytes:
    """Put the register's value into a dynamic set, with `data` as its value; `update` renews the timeout."""
    children = [
        wire.text(1, name),
        wire.be32(3, DYNAMIC_UPDATE if update else DYNAMIC_ADD),
        wire.be32(4, register),
    ]
    if data is not None:
        children.append(wire.be32(5, data))
    children.append(wire.be64(6, timeout_ms))
    return _expression("dynset", *children)


def random_number(register: int, modulus: int) -> bytes:
    """Load a random number below `modulus`, in host order."""
    return _expression("numgen", wire.be32(1, register), wire.be32(2, modulus), wire.be32(3, _NUMGEN_RANDOM))


def verdict(decision: Verdict) -> bytes:
    """Decide."""
    return _expression("immediate", wire.be32(1, VERDICT_REGISTER), verdict_data(2, decision))


def dnat(address: int, port: int) -> bytes:
    """Send the connection to the address and port in these registers."""
    return _expression(
        "nat", wire.be32(1, _DNAT), wire.be32(2, socket.AF_INET), wire.be32(3, address), wire.be32(5, port)
    )


def masquerade() -> bytes:
    """Hide the source behind the address of the outgoing interface.

    Ports are chosen at random: with the default choice, two threads that connect at once race for one port and a packet
    is lost.
    """
    return _expression("masq", wire.be32(1, RANDOM_FULLY))


def reject_port() -> bytes:
    """Answer with ICMP port unreachable: a connect() fails at once."""
    return _expression("reject", wire.be32(1, _ICMP_UNREACHABLE), wire.u8(2, ICMP_PORT_UNREACHABLE))


def reset_connection() -> bytes:
    """Answer with a TCP reset, which unlike ICMP is not rate limited; for TCP packets only."""
    return _expression("reject", wire.be32(1, _TCP_RESET), wire.u8(2, 0))


def counter() -> bytes:
    """Count packets and bytes."""
    return _expression("counter", wire.be64(1, 0), wire.be64(2, 0))
