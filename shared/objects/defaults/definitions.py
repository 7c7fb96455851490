"""Defaults of custom resource definitions: the names that follow from others, and how versions are converted."""

from __future__ import annotations

from shared.objects.defaults.rules import Object, Rule


def _names(names: Object) -> None:
    kind = names.get("kind")
    if kind:
        if not names.get("singular"):
            names["singular"] = kind.lower()
        if not names.get("listKind"):
            names["listKind"] = f"{kind}List"


def _spec(spec: Object) -> None:
    spec.setdefault("conversion", {"strategy": "None"})


RULES: dict[str, Rule] = {
    "apiextensions/v1.CustomResourceDefinitionNames": _names,
    "apiextensions/v1.CustomResourceDefinitionSpec": _spec,
}
