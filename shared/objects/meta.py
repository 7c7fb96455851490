"""Small questions about objects that every part asks: who owns it, is it going away, is the pod ready."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from shared.objects import times

Object = dict[str, Any]

SAFE_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Letters and digits of generated names: no vowels and no look-alikes, so that no words come out."""

_GENERATED_SUFFIX = 5
_LONGEST_BASE = 63 - _GENERATED_SUFFIX


def key(obj: Mapping[str, Any]) -> tuple[str, str]:
    """(namespace, name); the namespace is "" for cluster-scoped objects."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def name(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"]["name"])


def namespace(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"].get("namespace", ""))


def uid(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"].get("uid", ""))


def labels(obj: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("labels") or {}
    return found


def annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def owner_reference(obj: Mapping[str, Any], controller: bool = True) -> Object:
    """A reference to `obj` for the ownerReferences of something it makes."""
    reference: Object = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
    }
    if controller:
        reference["controller"] = True
        reference["blockOwnerDeletion"] = True
    return reference


def controller_of(obj: Mapping[str, Any]) -> Object | None:
    """The owner reference of the managing controller, if there is one."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def condition(obj: Mapping[str, Any], type: str) -> Object | None:  # noqa: A002
    """The status condition of that type, if the object has it."""
    for one in (obj.get("status") or {}).get("conditions") or ():
        if one.get("type") == type:
            return dict(one)
    return None


def condition_true(obj: Mapping[str, Any], type: str) -> bool:  # noqa: A002
    found = condition(obj, type)
    return found is not None and found.get("status") == "True"


def set_condition(
    conditions: list[Object],
    type: str,  # noqa: A002
    status: str,
    reason: str = "",
    message: str = "",
    now: str | None = None,
    **extra: Any,
) -> bool:
    """Set a condition in place and tell whether anything changed; the transition time moves with the status only."""
    wanted: Object = {"type": type, "status": status, **extra}
    if reason:
        wanted["reason"] = reason
    if message:
        wanted["message"] = message
    for index, present in enumerate(conditions):
        if present.get("type") != type:
            continue
        if present.get("status") == status and "lastTransitionTime" in present:
            wanted["lastTransitionTime"] = present["lastTransitionTime"]
        else:
            wanted["lastTransitionTime"] = now or times.now()
        merged = {**{k: v for k, v in present.items() if k not in ("reason", "message")}, **wanted}
        if merged == present:
            return False
        conditions[index] = merged
        return True
    wanted["lastTransitionTime"] = now or times.now()
    conditions.append(wanted)
    return True


def pod_phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def pod_finished(pod: Mapping[str, Any]) -> bool:
    """Whether the pod has run to its end, well or not."""
    return pod_phase(pod) in ("Succeeded", "Failed")


def pod_active(pod: Mapping[str, Any]) -> bool:
    """Whether a controller counts the pod as one of its replicas."""
    return not pod_finished(pod) and not is_deleting(pod)


def pod_ready(pod: Mapping[str, Any]) -> bool:
    return condition_true(pod, "Ready")


def new_uid() -> str:
    """A random UUID (RFC 9562, version 4), at a third of the price of uuid.uuid4."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def generate_name(base: str) -> str:
    """A name from a generateName prefix: five random characters, the prefix cut so that 63 are not exceeded."""
    suffix = "".join(secrets.choice(SAFE_ALPHABET) for _ in range(_GENERATED_SUFFIX))
    return base[:_LONGEST_BASE] + suffix


def suffix_of(value: Any) -> str:
    """Five characters for a name that is to be the same for the same JSON data, though not for all time."""
    digest = hashlib.blake2b(_pack(value), digest_size=_GENERATED_SUFFIX).digest()
    return "".join(SAFE_ALPHABET[byte % len(SAFE_ALPHABET)] for byte in digest)


def hash_template(template: Mapping[str, Any], collision_count: int = 0) -> str:
    """A short stable hash of a pod template, fit for a label and a name (the pod-template-hash).

    Equal templates hash equally whatever their key order; another `collision_count` gives another hash.
    """
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(f"{text}{collision_count or ''}".encode(), digest_size=4).digest()
    number = str(int.from_bytes(digest, "big"))
    return "".join(SAFE_ALPHABET[ord(digit) % len(SAFE_ALPHABET)] for digit in number)


def copy(value: Any) -> Any:
    """A deep copy of JSON data, ten times faster than copy.deepcopy: encoding and decoding happen in C."""
    try:
        return _unpack(_pack(value))
    except OverflowError:
        # a number beyond 64 bits, which only lives until validation
        return _copy(value)


def copies(value: Any) -> Iterator[Any]:
    """JSON data itself, then as often as asked a copy of what it was at first, whatever has become of it since.

    For what is nearly always needed once: decoding, the larger part of a copy, is put off until there is a second time.
    """
    try:
        packed = _pack(value)
    except OverflowError:
        kept = _copy(value)
        yield value
        while True:
            yield _copy(kept)
    yield value
    while True:
        yield _unpack(packed)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode
