"""JSON merge patch (RFC 7396): maps merge, null removes, everything else replaces."""

from __future__ import annotations

from typing import Any

from shared.errors import BadRequest
from shared.objects import json, meta


def merge_patch(obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    """The object after the patch, which shares with it what the patch leaves alone; BadRequest if the patch is none."""
    if not isinstance(patch, dict):
        kind = json.json_type(patch)
        raise BadRequest(f"error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]any")
    return _merged(obj, patch)


def _merged(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict):
            made[key] = _merged(made.get(key), value)
        else:
            made[key] = meta.copy(value)
    return made
