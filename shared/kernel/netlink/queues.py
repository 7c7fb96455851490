"""Token buckets (tc-tbf(8)) over rtnetlink, which limit what a link may send."""

from shared.kernel.netlink import wire
from shared.kernel.netlink.rtnetlink import Attribute, Structure, nested, request
from shared.kernel.netlink.wire import Message

_ROOT = 0xFFFFFFFF
_HANDLE = 1 << 16
_ETHERNET = 1
_MAX_RATE32 = (1 << 32) - 1
_MIN_BURST = 64 << 10
_LATENCY = 0.025


def limit(index: int, bits_per_second: int) -> Message:
    """Let the link send at most this much: bursts of 64 KiB (or 10 ms) and a queue of 25 ms."""
    rate = bits_per_second // 8
    burst = max(_MIN_BURST, rate // 100)
    queue = int(rate * _LATENCY) + burst
    parameters = (
        # the low bits of what pyroute2 calls reserved are the link layer (struct tc_ratespec)
        ("rate___reserved", _ETHERNET),
        ("rate", min(rate, _MAX_RATE32)),
        ("limit", min(queue, _MAX_RATE32)),
    )
    options: list[Attribute] = [("TCA_TBF_PARMS", Structure(fields=parameters))]
    if rate > _MAX_RATE32:
        options.append(("TCA_TBF_RATE64", rate))
    options.append(("TCA_TBF_BURST", min(burst, _MAX_RATE32)))
    return request(
        "RTM_NEWQDISC",
        wire.F_CREATE | wire.F_REPLACE,
        (("index", index), ("handle", _HANDLE), ("parent", _ROOT)),
        ("TCA_KIND", "tbf"),
        ("TCA_OPTIONS", nested(*options)),
    )
