"""Where a pod may run: selectors, affinity, tolerations, spreading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.objects.validation import metadata, names
from shared.objects.validation.causes import Cause, duplicate, forbidden, invalid, one_of, required

Object = Mapping[str, Any]

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_NODE_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")
_VALUES_GIVEN = "must be specified when `operator` is 'In' or 'NotIn'"
_VALUES_FORBIDDEN = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"


def placement(spec: Object) -> list[Cause]:
    found = metadata.labels("spec.nodeSelector", spec.get("nodeSelector"))
    found += tolerations("spec.tolerations", spec.get("tolerations") or ())
    affinity = spec.get("affinity")
    if affinity:
        found += _affinity("spec.affinity", affinity)
    found += _spread("spec.topologySpreadConstraints", spec.get("topologySpreadConstraints") or ())
    return found


def label_selector(at: str, selector: Object | None) -> list[Cause]:
    """Complaints about a meta/v1 LabelSelector."""
    if selector is None:
        return []
    found = metadata.labels(f"{at}.matchLabels", selector.get("matchLabels"))
    for index, one in enumerate(selector.get("matchExpressions") or ()):
        field = f"{at}.matchExpressions[{index}]"
        operator, values = one.get("operator", ""), one.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                found.append(required(f"{field}.values", _VALUES_GIVEN))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                found.append(forbidden(f"{field}.values", _VALUES_FORBIDDEN))
        else:
            found.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
        key = one.get("key", "")
        found += [invalid(f"{field}.key", key, text) for text in names.qualified_name(key)]
        for place, value in enumerate(values):
            found += [invalid(f"{field}.values[{place}]", value, text) for text in names.label_value(value)]
    return found


def tolerations(at: str, given: Iterable[Object]) -> list[Cause]:
    found: list[Cause] = []
    for index, one in enumerate(given):
        field = f"{at}[{index}]"
        key, operator, effect = one.get("key", ""), one.get("operator", ""), one.get("effect", "")
        if key:
            found += [invalid(f"{field}.key", key, text) for text in names.qualified_name(key)]
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(invalid(f"{field}.operator", operator, detail))
        if one.get("tolerationSeconds") is not None and effect != "NoExecute":
            found.append(
                invalid(f"{field}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
            )
        if operator in ("Equal", ""):
            found += [
                invalid(f"{field}.operator", one["value"], text) for text in names.label_value(one.get("value", ""))
            ]
        elif operator == "Exists":
            if one.get("value"):
                found.append(invalid(f"{field}.operator", dict(one), "value must be empty when `operator` is 'Exists'"))
        elif operator not in ("Gt", "Lt"):
            found += one_of(f"{field}.operator", operator, ("Equal", "Exists"))
        if effect:
            found += one_of(f"{field}.effect", effect, _EFFECTS)
    return found


def _affinity(at: str, affinity: Object) -> list[Cause]:
    found: list[Cause] = []
    node = affinity.get("nodeAffinity") or {}
    needed = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if needed is not None:
        field = f"{at}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        terms = needed.get("nodeSelectorTerms") or ()
        if not terms:
            found.append(required(field, "must have at least one node selector term"))
        for index, term in enumerate(terms):
            found += node_term(f"{field}[{index}]", term)
    for index, one in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        field = f"{at}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        found += _weight(field, one)
        found += node_term(f"{field}.preference", one.get("preference") or {})
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(kind) or {}
        for index, term in enumerate(pods.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            found += _pod_term(f"{at}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{index}]", term)
        for index, one in enumerate(pods.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            field = f"{at}.{kind}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            found += _weight(field, one)
            found += _pod_term(f"{field}.podAffinityTerm", one.get("podAffinityTerm") or {})
    return found


def _weight(at: str, one: Object) -> list[Cause]:
    weight = one.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid(f"{at}.weight", weight, "must be in the range 1-100")]


def node_term(at: str, term: Object) -> list[Cause]:
    """Complaints about one term of a node selector."""
    found: list[Cause] = []
    for index, one in enumerate(term.get("matchExpressions") or ()):
        field = f"{at}.matchExpressions[{index}]"
        operator, values, key = one.get("operator", ""), one.get("values") or (), one.get("key", "")
        if operator in ("In", "NotIn") and not values:
            found.append(required(f"{field}.values", _VALUES_GIVEN))
        elif operator in ("Exists", "DoesNotExist") and values:
            found.append(forbidden(f"{field}.values", _VALUES_FORBIDDEN))
        elif operator in ("Gt", "Lt") and len(values) != 1:
            found.append(required(f"{field}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
        elif operator not in _NODE_OPERATORS:
            found.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
        found += [invalid(f"{field}.key", key, text) for text in names.qualified_name(key)]
    for index, one in enumerate(term.get("matchFields") or ()):
        field = f"{at}.matchFields[{index}]"
        if one.get("key") != "metadata.name":
            found.append(invalid(f"{field}.key", one.get("key", ""), "not a valid field selector key"))
        if one.get("operator") not in ("In", "NotIn"):
            found.append(invalid(f"{field}.operator", one.get("operator", ""), "not a valid selector operator"))
        elif len(one.get("values") or ()) != 1:
            detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            found.append(required(f"{field}.values", detail))
    return found


def _pod_term(at: str, term: Object) -> list[Cause]:
    found = label_selector(f"{at}.labelSelector", term.get("labelSelector"))
    found += label_selector(f"{at}.namespaceSelector", term.get("namespaceSelector"))
    for namespace in term.get("namespaces") or ():
        found += [invalid(f"{at}.namespace", namespace, text) for text in names.label(namespace)]
    key = term.get("topologyKey", "")
    if not key:
        return [*found, required(f"{at}.topologyKey", "can not be empty")]
    return found + [invalid(f"{at}.topologyKey", key, text) for text in names.qualified_name(key)]


def _spread(at: str, constraints: Iterable[Object]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(constraints):
        field = f"{at}[{index}]"
        skew, key, action = one.get("maxSkew", 0), one.get("topologyKey", ""), one.get("whenUnsatisfiable", "")
        if skew <= 0:
            found.append(invalid(f"{field}.maxSkew", skew, "must be greater than zero"))
        found += (
            [invalid(f"{field}.topologyKey", key, text) for text in names.qualified_name(key)]
            if key
            else [required(f"{field}.topologyKey", "can not be empty")]
        )
        found += one_of(f"{field}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        if (key, action) in seen:
            found.append(duplicate(field, f"{{{key}, {action}}}"))
        seen.add((key, action))
        found += label_selector(f"{field}.labelSelector", one.get("labelSelector"))
    return found
