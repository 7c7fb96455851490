"""The files that a volume made of API objects holds, as values: paths, bytes and modes. Pure.

Source: core/v1 ConfigMapVolumeSource, SecretVolumeSource, DownwardAPIVolumeSource, ProjectedVolumeSource.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.nodeagent.environment import (
    ConfigurationError,
    NodeFacts,
    ObjectSource,
    decode_value,
    pod_field,
    resource_field,
)

DEFAULT_MODE = 0o644
_GROUP_READ = 0o440
_MISSING_KEY = {
    "configmaps": "configmap references non-existent config key",
    "secrets": "references non-existent secret key",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file: `mode` are permission bits, `owner` a uid."""

    data: bytes
    mode: int = DEFAULT_MODE
    owner: int = 0


Payload = dict[str, File]


def object_files(
    kind: str, source: Mapping[str, Any], namespace: str, objects: ObjectSource, default_mode: int
) -> Payload:
    """Files of a ConfigMap ("configmaps") or Secret ("secrets").

    Raises ConfigurationError if the object, or a key that `items` names, is missing and not optional.
    """
    name = source.get("secretName") or source.get("name") or ""
    optional = bool(source.get("optional"))
    found = objects.get(kind, namespace, name)
    if found is None:
        if optional:
            return {}
        raise ConfigurationError(f'{kind[:-1]} "{name}" not found')
    data = {key: decode_value(kind, value) for key, value in (found.get("data") or {}).items()}
    data.update({key: decode_value("secrets", value) for key, value in (found.get("binaryData") or {}).items()})
    if not source.get("items"):
        return {key: File(value, default_mode) for key, value in data.items()}
    files: Payload = {}
    for item in source["items"]:
        if item["key"] in data:
            files[checked_path(item["path"])] = File(data[item["key"]], _mode(item, default_mode))
        elif not optional:
            raise ConfigurationError(f"{_MISSING_KEY[kind]}: {item['key']}")
    return files


def downward_files(
    source: Mapping[str, Any],
    pod: Mapping[str, Any],
    node: NodeFacts,
    addresses: tuple[str, ...],
    default_mode: int,
) -> Payload:
    """Files that show fields of the pod itself."""
    files: Payload = {}
    for item in source.get("items") or ():
        if "fieldRef" in item:
            text = pod_field(pod, item["fieldRef"]["fieldPath"], node, addresses)
        else:
            reference = item["resourceFieldRef"]
            text = resource_field(pod, {"name": reference.get("containerName", "")}, reference, node)
        files[checked_path(item["path"])] = File(text.encode(), _mode(item, default_mode))
    return files


def token_file(pod: Mapping[str, Any], path: str, token: str, default_mode: int) -> Payload:
    """The file of a service account token, readable by the user that all containers run as, if it is one.

    Source: KEP-1205 (file permission of projected tokens).
    """
    security = pod["spec"].get("securityContext") or {}
    containers = [*(pod["spec"].get("initContainers") or ()), *(pod["spec"].get("containers") or ())]
    users = {(c.get("securityContext") or {}).get("runAsUser", security.get("runAsUser")) for c in containers}
    mode, owner = default_mode, 0
    if security.get("fsGroup") is not None:
        mode = 0o600
    elif len(users) == 1 and (user := users.pop()) is not None:
        mode, owner = 0o600, int(user)
    return {checked_path(path): File(token.encode(), mode, owner)}


def for_group(files: Payload, group: int | None) -> Payload:
    """The same files as the members of `group` (fsGroup) may read them."""
    if group is None:
        return files
    return {path: replace(file, mode=file.mode | _GROUP_READ) for path, file in files.items()}


def checked_path(path: str) -> str:
    """A relative path that stays inside the volume. Raises ConfigurationError for any other."""
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise ConfigurationError(f'path "{path}" of a volume item leaves its volume')
    return path


def _mode(item: Mapping[str, Any], default: int) -> int:
    value = item.get("mode")
    return default if value is None else int(value)
