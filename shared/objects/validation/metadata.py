"""Object metadata: names, labels, annotations, owners, finalizers; what of it may change."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from shared.objects import groups
from shared.objects.registry import Resource
from shared.objects.validation import names
from shared.objects.validation.causes import Cause, forbidden, invalid, required, too_long

MAX_ANNOTATION_BYTES = 256 * 1024

# what is longer is wrong, and too long to be remembered: a domain, a slash and a name; a label's value or name
_LONGEST_KEY = 253 + 1 + 63
_LONGEST_VALUE = 63
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_NAMES: dict[str, Callable[[str], list[str]]] = {
    "CertificateSigningRequest": names.path_segment,
    "ClusterRole": names.path_segment,
    "ClusterRoleBinding": names.path_segment,
    # its own validation wants an address
    "IPAddress": names.path_segment,
    "Namespace": names.label,
    "Role": names.path_segment,
    "RoleBinding": names.path_segment,
    "Service": names.label,
}
"""Kinds whose names are not DNS subdomains."""


def create(resource: Resource, obj: Mapping[str, Any]) -> list[Cause]:
    metadata = obj.get("metadata") or {}
    rule = names.subdomain if resource.schema.custom is not None else _NAMES.get(resource.kind, names.subdomain)
    found: list[Cause] = []
    prefix = metadata.get("generateName")
    if prefix:
        found += [invalid("metadata.generateName", prefix, one) for one in rule(_masked(prefix))]
    name = metadata.get("name")
    if name:
        found += [invalid("metadata.name", name, one) for one in rule(name)]
    elif not prefix:
        found.append(required("metadata.name", "name or generateName is required"))
    namespace = metadata.get("namespace")
    if resource.namespaced:
        if not namespace:
            found.append(required("metadata.namespace"))
        else:
            found += [invalid("metadata.namespace", namespace, one) for one in _namespace(namespace)]
    elif namespace:
        found.append(forbidden("metadata.namespace", "not allowed on this type"))
    return found + _common(metadata, str(obj.get("apiVersion") or ""))


def update(obj: Mapping[str, Any], old: Mapping[str, Any]) -> list[Cause]:
    """Complaints about what an update does to the metadata; the caller has already put back what clients cannot set."""
    metadata, before = obj.get("metadata") or {}, old.get("metadata") or {}
    found = [
        invalid(f"metadata.{key}", metadata.get(key, ""), "field is immutable")
        for key in ("name", "namespace", "uid")
        if metadata.get(key) != before.get(key)
    ]
    if before.get("deletionTimestamp"):
        added = [one for one in metadata.get("finalizers") or () if one not in (before.get("finalizers") or ())]
        if added:
            listed = ", ".join(f'"{one}"' for one in added)
            detail = "no new finalizers can be added if the object is being deleted, found new finalizers"
            found.append(forbidden("metadata.finalizers", f"{detail} []string{{{listed}}}"))
    return found + _common(metadata, str(obj.get("apiVersion") or ""))


def labels(field: str, values: Mapping[str, str] | None) -> list[Cause]:
    found: list[Cause] = []
    for key, value in (values or {}).items():
        if not _is_known_key(key):
            found += [invalid(field, key, one) for one in names.qualified_name(key)]
        if not _is_known_value(value):
            found += [invalid(field, value, one) for one in names.label_value(value)]
    return found


def annotations(field: str, values: Mapping[str, str] | None) -> list[Cause]:
    found: list[Cause] = []
    size = 0
    for key, value in (values or {}).items():
        if not _is_known_key(key):
            found += [invalid(field, key, one) for one in names.qualified_name(key.lower())]
        size += _bytes(key) + _bytes(value)
    if size > MAX_ANNOTATION_BYTES:
        found.append(too_long(field, MAX_ANNOTATION_BYTES))
    return found


def _is_known_key(key: str) -> bool:
    """Whether a key is one that was found to be right before: the same ones come with every object."""
    return len(key) <= _LONGEST_KEY and _is_right_key(key)


@lru_cache(maxsize=4096)
def _is_right_key(key: str) -> bool:
    return not names.qualified_name(key)


def _is_known_value(value: str) -> bool:
    """As `_is_known_key`, for the value of a label."""
    return len(value) <= _LONGEST_VALUE and _is_right_value(value)


@lru_cache(maxsize=4096)
def _is_right_value(value: str) -> bool:
    return not names.label_value(value)


def _namespace(name: str) -> Iterable[str]:
    return _about_namespace(name) if len(name) <= _LONGEST_VALUE else names.label(name)


@lru_cache(maxsize=1024)
def _about_namespace(name: str) -> tuple[str, ...]:
    return tuple(names.label(name))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _masked(prefix: str) -> str:
    """A prefix may end in a dash, for something follows it."""
    return prefix[:-1] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix


def _common(metadata: Mapping[str, Any], api_version: str) -> list[Cause]:
    found = labels("metadata.labels", metadata.get("labels"))
    found += annotations("metadata.annotations", metadata.get("annotations"))
    given = metadata.get("finalizers")
    if given:
        is_free = bool(api_version) and groups.package_of(api_version) in (None, "apiextensions/v1")
        found += finalizers(given, lambda index: "metadata.finalizers", any_name=is_free)
    owners = metadata.get("ownerReferences")
    if owners:
        found += _owners(owners)
    return found


def finalizers(given: Iterable[str], where: Callable[[int], str], *, any_name: bool = False) -> list[Cause]:
    """What is wrong with names of finalizers; `where` is the field of the one at an index.

    Definitions and custom resources may have finalizers without a domain (`any_name`), kinds of Kubernetes may not.
    """
    found: list[Cause] = []
    for index, one in enumerate(given):
        complaints = names.qualified_name(one)
        if not complaints and "/" not in one and one not in _STANDARD_FINALIZERS and not any_name:
            complaints = ["name is neither a standard finalizer name nor is it fully qualified"]
        found += [invalid(where(index), one, complaint) for complaint in complaints]
    return found


def _owners(owners: Any) -> list[Cause]:
    found: list[Cause] = []
    controllers = [one.get("name", "") for one in owners if one.get("controller")]
    for owner in owners:
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                found.append(invalid(f"metadata.ownerReferences.{key}", "", f"{key} must not be empty"))
    if len(controllers) > 1:
        detail = (
            'Only one reference can have Controller set to true. Found "true" in references for '
            f"{controllers[0]} and {controllers[1]}"
        )
        found.append(invalid("metadata.ownerReferences", list(owners), detail))
    return found
