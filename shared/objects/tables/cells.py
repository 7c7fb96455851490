"""What the cells of several kinds have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.objects import times

Object = Mapping[str, Any]
Cells = Callable[[Object, datetime], list[Any]]

NONE = "<none>"
UNSET = "<unset>"
MOST_SHOWN = 3


def name(obj: Object) -> str:
    return str(obj["metadata"].get("name", ""))


def age(obj: Object, now: datetime) -> str:
    return times.age(obj["metadata"].get("creationTimestamp"), now)


def labels_text(labels: Mapping[str, str] | None) -> str:
    """`a=b,c=d` in the order of the keys."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector in the syntax of label queries, requirements in the order of their keys."""
    if selector is None:
        return NONE
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression.get("key", ""), expression.get("operator")
        values = ",".join(sorted(expression.get("values") or ()))
        text = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}.get(
            operator, f"!{key}"
        )
        parts.append((key, text))
    return ",".join(text for _, text in sorted(parts)) or NONE


def containers_and_images(template: Mapping[str, Any]) -> tuple[str, str]:
    containers = (template.get("spec") or {}).get("containers") or ()
    return ",".join(one.get("name", "") for one in containers), ",".join(one.get("image", "") for one in containers)


def first_few(items: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    shown = ",".join(items[:MOST_SHOWN])
    return f"{shown} + {len(items) - MOST_SHOWN} more..." if len(items) > MOST_SHOWN else shown
