"""Arithmetic on resource lists (`{"cpu": "250m", "memory": "1Gi"}`), exact and in Kubernetes' notation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shared.objects import quantities

Amounts = dict[str, str]
Listed = Mapping[str, str]


def total(*lists: Listed) -> Amounts:
    """The sum of resource lists, name by name."""
    found: Amounts = {}
    for one in lists:
        for name, text in one.items():
            found[name] = quantities.add(found[name], text) if name in found else quantities.canonical(text)
    return found


def difference(left: Listed, right: Listed) -> Amounts:
    """`left` minus `right`, never below zero."""
    found: Amounts = {}
    for name, text in left.items():
        rest = quantities.subtract(text, right[name]) if name in right else quantities.canonical(text)
        found[name] = rest if quantities.parse(rest) > 0 else "0"
    return found


def largest(*lists: Listed) -> Amounts:
    """The largest amount of each name."""
    found: Amounts = {}
    for one in lists:
        for name, text in one.items():
            if name not in found or quantities.parse(text) > quantities.parse(found[name]):
                found[name] = quantities.canonical(text)
    return found


def only(amounts: Listed, names: Iterable[str]) -> Amounts:
    """The amounts of some names."""
    return {name: amounts[name] for name in names if name in amounts}


def positive(amounts: Listed) -> Amounts:
    """The amounts above zero."""
    return {name: text for name, text in amounts.items() if quantities.parse(text) > 0}


def beyond(amounts: Listed, bounds: Listed) -> list[str]:
    """Names whose amount is larger than their bound, sorted."""
    exceeded = (
        name
        for name, text in amounts.items()
        if name in bounds and quantities.parse(text) > quantities.parse(bounds[name])
    )
    return sorted(exceeded)


def texts(listed: Mapping[str, object] | None) -> Amounts:
    """A resource list of an object: its values may be numbers."""
    return {name: str(amount) for name, amount in (listed or {}).items()}
