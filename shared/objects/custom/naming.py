"""Which names a definition gets: those that no other definition of its group has taken.

Source: apiextensions-apiserver's pkg/controller/status (naming) and pkg/controller/establish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from shared.objects import meta

Object = Mapping[str, Any]


class Named(NamedTuple):
    """What a definition's status is to say."""

    accepted: dict[str, Any]
    conditions: list[dict[str, Any]]


def decide(definition: Object, others: Iterable[Object], now: str) -> Named:
    """The names and conditions of a definition among all definitions."""
    group = definition["spec"]["group"]
    own = definition["metadata"]["name"]
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other["metadata"]["name"] == own or other["spec"]["group"] != group:
            continue
        taken = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {taken.get("plural", ""), taken.get("singular", ""), *(taken.get("shortNames") or ())}
        kinds |= {taken.get("kind", ""), taken.get("listKind", "")}
    wanted = definition["spec"]["names"]
    status = definition.get("status") or {}
    before = status.get("acceptedNames") or {}
    accepted: dict[str, Any] = {"plural": before.get("plural", ""), "kind": before.get("kind", "")}
    accepted |= {name: value for name, value in before.items() if value}
    reason, message = _settle(wanted, before, accepted, resources - {""}, kinds - {""})
    if wanted.get("categories"):
        accepted["categories"] = list(wanted["categories"])
    else:
        accepted.pop("categories", None)
    conditions = [dict(one) for one in status.get("conditions") or ()]
    if reason:
        meta.set_condition(conditions, "NamesAccepted", "False", reason, message, now)
    else:
        meta.set_condition(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
    if not reason or meta.condition_true(definition, "Established"):
        text = "the initial names have been accepted"
        meta.set_condition(conditions, "Established", "True", "InitialNamesAccepted", text, now)
    else:
        meta.set_condition(conditions, "Established", "False", "NotAccepted", "not all names are accepted", now)
    _protect(definition, conditions, now)
    return Named(accepted, conditions)


def _settle(
    wanted: Object, before: Object, accepted: dict[str, Any], resources: set[str], kinds: set[str]
) -> tuple[str, str]:
    """Take over every name that is free, in place; the last conflict as reason and message, both empty without one."""
    reason = message = ""

    def is_free(name: str, known: Any, taken: set[str]) -> bool:
        return not name or name == known or name not in taken

    for field, taken, conflict in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
    ):
        name = wanted.get(field, "")
        if is_free(name, before.get(field), taken):
            accepted[field] = name
        else:
            reason, message = conflict, f'"{name}" is already in use'
    shorts = wanted.get("shortNames") or []
    clashing = [
        one for one in shorts if not is_free(one, one if one in (before.get("shortNames") or ()) else None, resources)
    ]
    if clashing:
        reason, message = "ShortNamesConflict", ", ".join(f'"{one}" is already in use' for one in clashing)
    elif shorts:
        accepted["shortNames"] = list(shorts)
    else:
        accepted.pop("shortNames", None)
    for field, conflict in (("kind", "KindConflict"), ("listKind", "ListKindConflict")):
        name = wanted.get(field, "")
        if is_free(name, before.get(field), kinds):
            accepted[field] = name
        else:
            reason, message = conflict, f'"{name}" is already in use'
    for field in ("singular", "listKind"):
        if not accepted.get(field):
            accepted.pop(field, None)
    return reason, message


def _protect(definition: Object, conditions: list[dict[str, Any]], now: str) -> None:
    """Groups of Kubernetes itself say whether their API was reviewed (KEP-1111)."""
    group = definition["spec"]["group"]
    if not group.endswith((".k8s.io", ".kubernetes.io")):
        return
    value = (definition["metadata"].get("annotations") or {}).get("api-approved.kubernetes.io", "")
    kind = "KubernetesAPIApprovalPolicyConformant"
    if value.startswith("unapproved"):
        text = f'not approved: "{value}"'
        meta.set_condition(conditions, kind, "False", "UnapprovedAnnotation", text, now)
    elif value:
        text = f"approved in {value}"
        meta.set_condition(conditions, kind, "True", "ApprovedAnnotation", text, now)
