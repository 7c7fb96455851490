"""Looking at subPaths before a container is made of them.

The keeper resolves a subPath at the moment of mounting, so nothing that a container does in between can fool it. But an
error there counts as a start that failed; what is wrong with the pod is found out here, before there is an attempt.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.keeper.plan import Bind
from services.nodeagent.keeper.rootfs import open_source
from services.nodeagent.runtime.model import Mount


def check(spec: Mapping[str, Any], mounts: Iterable[Mount]) -> None:
    """Make what is missing of every subPath. Raises ConfigurationError naming the volume if one leads out of it."""
    names = {mount["mountPath"]: mount["name"] for mount in spec.get("volumeMounts") or ()}
    for mount in mounts:
        if not mount.sub_path or mount.layers:
            continue
        try:
            os.close(open_source(Bind(mount.source, mount.target, sub_path=mount.sub_path)))
        except OSError as exc:
            where = f'volumeMount "{names.get(mount.target, "")}" of container "{spec["name"]}"'
            why = f"{mount.sub_path}: {os.strerror(exc.errno or 0).lower()}"
            raise ConfigurationError(f"failed to prepare subPath for {where}: {why}") from exc
