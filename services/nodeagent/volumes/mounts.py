"""From the volumeMounts of a container to the mounts that the keeper makes. Pure.

Nothing is resolved here: a subPath is handed on as it is and resolved by the keeper with openat2(2) inside the volume
at the moment of mounting, so no link can lead out of it.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from services.nodeagent.environment import ConfigurationError, expand, unknown
from services.nodeagent.runtime.model import Mount

_PROPAGATION = {"None": "private", "HostToContainer": "slave", "Bidirectional": "shared"}


def container_mounts(
    spec: Mapping[str, Any],
    volumes: Mapping[str, Path],
    environment: Mapping[str, str],
    read_only: frozenset[str],
    layers: Mapping[str, list[str]] | None = None,
) -> list[Mount]:
    """Mounts of a container, outer ones first; `volumes` maps names to paths of the node.

    `read_only` names the volumes that are made of API objects, which no container may write to; `layers` are those of
    the volumes that are unions, top first.
    """
    result = []
    for mount in spec.get("volumeMounts") or ():
        name = mount["name"]
        if name not in volumes:
            raise ConfigurationError(f'volume "{name}" of container "{spec["name"]}" does not exist')
        sub_path = str(mount.get("subPath") or "")
        if mount.get("subPathExpr"):
            if missing := unknown(mount["subPathExpr"], environment):
                raise ConfigurationError(f'missing value for "{missing}"')
            sub_path = expand(mount["subPathExpr"], environment)
        if sub_path.startswith("/") or ".." in PurePosixPath(sub_path).parts:
            raise ConfigurationError(f'subPath "{sub_path}" must be relative and not contain ".."')
        result.append(
            Mount(
                source=str(volumes[name]),
                target=mount["mountPath"],
                read_only=bool(mount.get("readOnly")) or name in read_only,
                propagation=_PROPAGATION.get(mount.get("mountPropagation") or "None", "private"),
                sub_path=sub_path,
                recursive_read_only=mount.get("recursiveReadOnly") in ("Enabled", "IfPossible"),
                layers=list((layers or {}).get(name, ())),
            )
        )
    return sorted(result, key=lambda mount: len(PurePosixPath(mount.target).parts))
