"""Volumes of a pod: one source each, with what that source needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shared.objects import quantities
from shared.objects.validation import containers, names
from shared.objects.validation.causes import Cause, duplicate, forbidden, invalid, one_of, required

Object = Mapping[str, Any]

_MAX_MODE = 0o777
_MIN_TOKEN_SECONDS = 600
_MAX_TOKEN_SECONDS = 1 << 32
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")


def volumes(at: str, given: Iterable[Object]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, volume in enumerate(given):
        field = f"{at}[{index}]"
        name = volume.get("name", "")
        if not name:
            found.append(required(f"{field}.name"))
        else:
            found += [invalid(f"{field}.name", name, text) for text in names.label(name)]
            if name in seen:
                found.append(duplicate(f"{field}.name", name))
            seen.add(name)
        sources = [key for key in volume if key != "name"]
        found += [forbidden(f"{field}.{key}", "may not specify more than 1 volume type") for key in sources[1:]]
        if not sources:
            found.append(required(field, "must specify a volume type"))
        else:
            found += source(f"{field}.{sources[0]}", sources[0], volume[sources[0]])
    return found


def source(at: str, kind: str, given: Object) -> list[Cause]:
    """Complaints about the volume source of that kind, for example hostPath."""
    check = _SOURCES.get(kind)
    return check(at, given) if check is not None else []


def _empty_dir(at: str, source: Object) -> list[Cause]:
    limit = source.get("sizeLimit")
    if limit is not None and quantities.parse(limit) < 0:
        return [forbidden(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _host_path(at: str, source: Object) -> list[Cause]:
    path = source.get("path", "")
    if not path:
        return [required(f"{at}.path")]
    found = [invalid(f"{at}.path", path, "must not contain '..'")] if ".." in path.split("/") else []
    return found + one_of(f"{at}.type", source.get("type") or "", _HOST_PATH_TYPES)


def _config_map(at: str, source: Object) -> list[Cause]:
    found = [] if source.get("name") else [required(f"{at}.name")]
    return found + _mode(at, source) + _items(at, source)


def _secret(at: str, source: Object) -> list[Cause]:
    found = [] if source.get("secretName") else [required(f"{at}.secretName")]
    return found + _mode(at, source) + _items(at, source)


def _mode(at: str, source: Object, key: str = "defaultMode") -> list[Cause]:
    mode = source.get(key)
    if mode is not None and not 0 <= mode <= _MAX_MODE:
        return [invalid(f"{at}.{key}", mode, "must be a number between 0 and 0777 (octal), both inclusive")]
    return []


def _items(at: str, source: Object) -> list[Cause]:
    found: list[Cause] = []
    for index, item in enumerate(source.get("items") or ()):
        field = f"{at}.items[{index}]"
        if not item.get("key"):
            found.append(required(f"{field}.key"))
        found += _local_path(f"{field}.path", item.get("path", ""))
        found += _mode(field, item, "mode")
    return found


def _local_path(at: str, path: str) -> list[Cause]:
    if not path:
        return [required(at)]
    found = containers.relative_path(at, path)
    if path.startswith("..") and not found:
        found.append(invalid(at, path, "must not start with '..'"))
    return found


def _downward(at: str, source: Object) -> list[Cause]:
    found = _mode(at, source)
    for index, item in enumerate(source.get("items") or ()):
        field = f"{at}.items[{index}]"
        found += _local_path(f"{field}.path", item.get("path", ""))
        found += _mode(field, item, "mode")
        if "fieldRef" in item:
            found += containers.field_reference(f"{field}.fieldRef", item["fieldRef"])
            if "resourceFieldRef" in item:
                found.append(
                    invalid(field, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
                )
        elif "resourceFieldRef" in item:
            reference = item["resourceFieldRef"]
            if not reference.get("containerName"):
                found.append(required(f"{field}.resourceFieldRef.containerName"))
            found += containers.resource_reference(f"{field}.resourceFieldRef", reference)
        else:
            found.append(required(field, "one of fieldRef and resourceFieldRef is required"))
    return found


def _projected(at: str, source: Object) -> list[Cause]:
    found = _mode(at, source)
    for index, one in enumerate(source.get("sources") or ()):
        field = f"{at}.sources[{index}]"
        kinds = list(one)
        if not kinds:
            found.append(required(field))
        found += [
            forbidden(f"{field}.{key}", "may not specify more than 1 volume type per source") for key in kinds[1:]
        ]
        for key in kinds[:1]:
            found += _projection(f"{field}.{key}", key, one[key])
    return found


def _projection(at: str, kind: str, source: Object) -> list[Cause]:
    if kind in ("configMap", "secret"):
        return ([] if source.get("name") else [required(f"{at}.name")]) + _items(at, source)
    if kind == "downwardAPI":
        return _downward(at, source)
    if kind != "serviceAccountToken":
        return []
    found = _local_path(f"{at}.path", source.get("path", ""))
    seconds = source.get("expirationSeconds", 3600)
    if seconds < _MIN_TOKEN_SECONDS:
        found.append(invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    elif seconds > _MAX_TOKEN_SECONDS:
        found.append(invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"))
    return found


def _claim(at: str, source: Object) -> list[Cause]:
    return [] if source.get("claimName") else [required(f"{at}.claimName")]


def _nfs(at: str, source: Object) -> list[Cause]:
    found = [required(f"{at}.{key}") for key in ("server", "path") if not source.get(key)]
    path = source.get("path", "")
    return (
        found if not path or path.startswith("/") else [*found, invalid(f"{at}.path", path, "must be an absolute path")]
    )


_SOURCES: dict[str, Callable[[str, Object], list[Cause]]] = {
    "configMap": _config_map,
    "downwardAPI": _downward,
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "nfs": _nfs,
    "persistentVolumeClaim": _claim,
    "projected": _projected,
    "secret": _secret,
}
