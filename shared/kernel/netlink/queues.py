"""Token buckets (tc-tbf(8)) over rtnetlink, which limit what a link may send."""

import socket
import struct

from shared.kernel.netlink import wire
from shared.kernel.netlink.wire import Message

RTM_NEWQDISC = 36
RTM_DELQDISC = 37

_TCA_KIND = 1
_TCA_OPTIONS = 2
_TBF_PARAMETERS = 1
_TBF_RATE64 = 4
_TBF_BURST = 6
_ROOT = 0xFFFFFFFF
_HANDLE = 1 << 16
_ETHERNET = 1
_MAX_RATE32 = (1 << 32) - 1
_MIN_BURST = 64 << 10
_LATENCY = 0.025

_TRAFFIC = struct.Struct("=BxxxiIII")
_RATE = struct.Struct("=BBHhHI")
_LIMITS = struct.Struct("=III")


def limit(index: int, bits_per_second: int) -> Message:
    """Let the link send at most this much: bursts of 64 KiB (or 10 ms) and a queue of 25 ms."""
    rate = bits_per_second // 8
    burst = max(_MIN_BURST, rate // 100)
    queue = int(rate * _LATENCY) + burst
    parameters = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(rate, _MAX_RATE32)) + _RATE.pack(0, 0, 0, 0, 0, 0)
    options = [wire.attribute(_TBF_PARAMETERS, parameters + _LIMITS.pack(min(queue, _MAX_RATE32), 0, 0))]
    if rate > _MAX_RATE32:
        options.append(wire.attribute(_TBF_RATE64, struct.pack("=Q", rate)))
    options.append(wire.u32(_TBF_BURST, min(burst, _MAX_RATE32)))
    body = _TRAFFIC.pack(socket.AF_UNSPEC, index, _HANDLE, _ROOT, 0)
    body += wire.text(_TCA_KIND, "tbf") + wire.nested(_TCA_OPTIONS, *options)
    return Message(RTM_NEWQDISC, wire.F_CREATE | wire.F_REPLACE, body)
