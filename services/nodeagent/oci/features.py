"""What this runtime understands, for callers that ask before they rely on it (runtime-spec, features.md)."""

from __future__ import annotations

from services.nodeagent.keeper import capabilities
from services.nodeagent.oci import filters, options
from services.nodeagent.oci.config import HOOKS, NAMESPACES, VERSION_MAX, VERSION_MIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def document() -> dict[str, Any]:
    return {
        "ociVersionMin": VERSION_MIN,
        "ociVersionMax": VERSION_MAX,
        "hooks": list(HOOKS),
        "mountOptions": options.KNOWN,
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": [f"CAP_{name}" for name in capabilities.NAMES],
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": list(filters.ACTIONS),
                "operators": list(filters.OPERATORS),
                "archs": list(filters.ARCHITECTURES),
                "knownFlags": list(filters.FLAGS),
                "supportedFlags": list(filters.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
    }
