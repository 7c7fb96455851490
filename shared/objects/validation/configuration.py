"""ConfigMaps and Secrets: keys that can be file names, a size limit, types with required keys, frozen objects."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from shared.objects.json import syntax_error
from shared.objects.validation import names
from shared.objects.validation.causes import Cause, forbidden, invalid, required, too_long

MAX_BYTES = 1024 * 1024

Object = Mapping[str, Any]

_SERVICE_ACCOUNT = "kubernetes.io/service-account.name"
_REQUIRED_KEYS: dict[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_FROZEN = "field is immutable when `immutable` is set"


def config_map(obj: Object) -> list[Cause]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    found: list[Cause] = []
    for key in data:
        found += [invalid(f"data[{key}]", key, one) for one in names.config_key(key)]
        if key in binary:
            found.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    for key in binary:
        found += [invalid(f"binaryData[{key}]", key, one) for one in names.config_key(key)]
    size = sum(len(value.encode()) for value in data.values()) + _decoded_size(binary)
    if size > MAX_BYTES:
        found.append(too_long("[]", MAX_BYTES))
    return found


def secret(obj: Object) -> list[Cause]:
    data = obj.get("data") or {}
    kind = obj.get("type", "")
    found: list[Cause] = []
    for key in data:
        found += [invalid(f"data[{key}]", key, one) for one in names.config_key(key)]
    if _decoded_size(data) > MAX_BYTES:
        found.append(too_long("data", MAX_BYTES))
    if kind == "kubernetes.io/service-account-token":
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        if not annotations.get(_SERVICE_ACCOUNT):
            found.append(required(f"metadata.annotations[{_SERVICE_ACCOUNT}]"))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        found += [required("data[username]"), required("data[password]")]
    for key in _REQUIRED_KEYS.get(kind, ()):
        if key not in data:
            found.append(required(f"data[{key}]"))
        elif kind.startswith("kubernetes.io/docker"):
            found += _docker_config(key, data[key])
    return found


def _docker_config(key: str, encoded: str) -> list[Cause]:
    try:
        json.loads(base64.b64decode(encoded))
    except json.JSONDecodeError as exc:
        return [invalid(f"data[{key}]", "<secret contents redacted>", syntax_error(exc))]
    except ValueError as exc:
        return [invalid(f"data[{key}]", "<secret contents redacted>", str(exc).lower())]
    return []


def _decoded_size(data: Mapping[str, str]) -> int:
    return sum(len(value) * 3 // 4 - value[-2:].count("=") for value in data.values())


def update_config_map(obj: Object, old: Object) -> list[Cause]:
    return _frozen(obj, old, ("data", "binaryData"))


def update_secret(obj: Object, old: Object) -> list[Cause]:
    return _frozen(obj, old, ("data",))


def _frozen(obj: Object, old: Object, fields: tuple[str, ...]) -> list[Cause]:
    if not old.get("immutable"):
        return []
    found = [] if obj.get("immutable") else [forbidden("immutable", _FROZEN)]
    return found + [forbidden(one, _FROZEN) for one in fields if (obj.get(one) or {}) != (old.get(one) or {})]
