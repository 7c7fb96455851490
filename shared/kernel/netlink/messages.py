"""The rtnetlink(7) message classes by message type: pyroute2's, and one that knows more than pyroute2 0.9.

Exists apart from `rtnetlink`, which loads it when it is needed, because loading pyroute2 takes 0.2 s.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any

# The package itself imports everything that pyroute2 can do: four megabytes in each agent, and a sixth of the time that
# the first message waits for. What is imported here needs it as a place only.
_place = PathFinder.find_spec("pyroute2") if "pyroute2" not in sys.modules else None
if _place is not None:
    sys.modules["pyroute2"] = module_from_spec(_place)
try:
    from pyroute2.netlink import nla, nlmsg
    from pyroute2.netlink.rtnl import RTM_NAMES, RTM_NEWQDISC
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl
    from pyroute2.netlink.rtnl.tcmsg import sched_tbf, tcmsg
finally:
    if _place is not None:
        del sys.modules["pyroute2"]

NUMBERS: dict[str, int] = RTM_NAMES


class _TokenBucket(nlmsg):  # type: ignore[misc]
    """A tcmsg for tc-tbf(8). pyroute2's ends before the attributes for rates above 34 Gbit/s.

    It is no subclass of tcmsg, whose attribute table, once compiled, holds for its subclasses too.
    """

    prefix = tcmsg.prefix
    fields = tcmsg.fields
    nla_map = (("TCA_UNSPEC", "none"), ("TCA_KIND", "asciiz"), ("TCA_OPTIONS", "options"))

    class options(nla):  # type: ignore[misc]
        nla_map = (
            *sched_tbf.options.nla_map,
            ("TCA_TBF_RATE64", "uint64"),
            ("TCA_TBF_PRATE64", "uint64"),
            ("TCA_TBF_BURST", "uint32"),
        )
        rtab = nla.hex
        ptab = nla.hex

        class tbf_parms(nla):  # type: ignore[misc]
            fields = sched_tbf.options.tbf_parms.fields


CLASSES: dict[int, type[Any]] = {**MarshalRtnl.msg_map, RTM_NEWQDISC: _TokenBucket}
