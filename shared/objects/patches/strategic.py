"""Strategic merge patch, the server's half: lists merge by the keys of the schema, directives say otherwise.

Directives: `$patch: replace|delete|merge` in maps and list elements, `$retainKeys`, `$setElementOrder/<list>` and
`$deleteFromPrimitiveList/<list>`. Elements that are new come first unless an order is given, as the real server does.
Source: apimachinery's strategicpatch package and the community document on strategic merge patch.
"""

from __future__ import annotations

from typing import Any

from shared.errors import BadRequest, Invalid
from shared.objects import json
from shared.objects.schema import Field, Struct

Object = dict[str, Any]

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def strategic_merge(struct: Struct, obj: Object, patch: Any) -> Object:
    """The object after the patch, which shares with it what the patch leaves alone.

    BadRequest for a malformed patch or directive, Invalid for a missing merge key.
    """
    if not isinstance(patch, dict):
        kind = json.json_type(patch)
        raise BadRequest(f"error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]any")
    return _merge_map(struct, obj, patch)


def _merge_map(struct: Struct | None, target: Object, patch: Object) -> Object:
    """The merged map; `target` stays as it is."""
    directive = patch.get(_PATCH)
    if directive is not None:
        if directive == "replace":
            replaced: Object = _without_directives(patch)
            return replaced
        if directive == "delete":
            return {}
        if directive != "merge":
            raise BadRequest(f"unknown patch type {directive!r} found in the $patch directive")
    target = dict(target)
    _retain_keys(target, patch)
    ordered = _merge_ordered_lists(struct, target, patch)
    for key, value in patch.items():
        if key in (_PATCH, _RETAIN) or key.startswith(_ORDER) or key in ordered:
            continue
        if key.startswith(_DELETE):
            _delete_primitives(target, key.removeprefix(_DELETE), value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = _merge_value(_field(struct, key), key, target.get(key), value)
    return target


def _merge_value(field: Field | None, key: str, present: Any, value: Any) -> Any:
    if isinstance(value, dict):
        if not isinstance(present, dict) or (field is not None and "replace" in field.patch):
            if value.get(_PATCH) == "delete":
                return {}
            return _without_directives(_without_nulls(value))
        inner = field.struct if field is not None and not field.container else None
        if field is not None and field.container == "map":
            return _merge_map_of(field, present, value)
        return _merge_map(inner, present, value)
    if isinstance(value, list):
        if not isinstance(present, list):
            present = []
        if field is None or "merge" not in field.patch:
            return _without_directives(value)
        return _merge_list(field, key, present, value)
    return value


def _merge_map_of(field: Field, present: Object, value: Object) -> Object:
    """A map with keys of the user's choosing: its values, not its keys, have a struct."""
    if field.struct is None or _PATCH in value:
        return _merge_map(None, present, value)
    present = dict(present)
    for key, item in value.items():
        if item is None:
            present.pop(key, None)
        elif isinstance(item, dict) and isinstance(present.get(key), dict):
            present[key] = _merge_map(field.struct, present[key], item)
        else:
            present[key] = _without_directives(item)
    return present


def _field(struct: Struct | None, key: str) -> Field | None:
    return struct.fields.get(key) if struct is not None else None


def _retain_keys(target: Object, patch: Object) -> None:
    retained = patch.get(_RETAIN)
    if retained is None:
        return
    if not isinstance(retained, list):
        raise BadRequest("$retainKeys must be a list of field names")
    names = {name for name in retained if isinstance(name, str)}
    for key in patch:
        if not key.startswith("$") and key not in names:
            raise BadRequest(f"field {key!r} is patched but not in $retainKeys")
    for key in [key for key in target if key not in names]:
        del target[key]


def _merge_ordered_lists(struct: Struct | None, target: Object, patch: Object) -> frozenset[str]:
    """Merge the lists the patch gives an order for; returns their names."""
    done: set[str] = set()
    for directive, order in patch.items():
        if not directive.startswith(_ORDER):
            continue
        key = directive.removeprefix(_ORDER)
        field = _field(struct, key)
        if not isinstance(order, list) or field is None or "merge" not in field.patch:
            raise BadRequest(f"{directive} does not order a list that is merged")
        done.add(key)
        patched = patch.get(key, [])
        present = target.get(key, [])
        if patched is None:
            target.pop(key, None)
            continue
        if not isinstance(patched, list) or not isinstance(present, list):
            raise BadRequest(f"{key} must be a list")
        _check_in_order(field, key, patched, order)
        merged = _merge_list(field, key, list(present), patched) if key in patch else present
        if merged or key in target or key in patch:
            target[key] = _in_order(field, merged, order, present)
    return frozenset(done)


def _check_in_order(field: Field, key: str, patched: list[Any], order: list[Any]) -> None:
    known = {_identity(field, item) for item in order}
    for item in patched:
        if isinstance(item, dict) and _PATCH in item:
            continue
        if _identity(field, item) not in known:
            raise BadRequest(f"{key}: the order in $setElementOrder does not name {_identity(field, item)}")


def _delete_primitives(target: Object, key: str, values: Any) -> None:
    present = target.get(key)
    if not isinstance(values, list):
        raise BadRequest(f"{_DELETE}{key} must be a list")
    if isinstance(present, list):
        gone = {item for item in values if not isinstance(item, dict | list)}
        target[key] = [item for item in present if isinstance(item, dict | list) or item not in gone]


def _merge_list(field: Field, key: str, present: list[Any], patch: list[Any]) -> list[Any]:
    if not field.merge_key:
        merged = list(dict.fromkeys([*present, *(_primitive(key, item) for item in patch)]))
        return _in_order(field, merged, patch, present)
    present, plain = _apply_element_directives(field, key, present, patch)
    merged = list(present)
    index = {_identity(field, item): at for at, item in enumerate(merged)}
    for item in plain:
        identity = _required_identity(field, key, item)
        if identity in index:
            merged[index[identity]] = _merge_map(field.struct, merged[index[identity]], item)
        else:
            index[identity] = len(merged)
            merged.append(_without_directives(_without_nulls(item)))
    return _in_order(field, merged, plain, present)


def _apply_element_directives(
    field: Field, key: str, present: list[Any], patch: list[Any]
) -> tuple[list[Any], list[Any]]:
    """Carry out `$patch` elements: what is left of the list, and the elements to merge into it."""
    plain: list[Any] = []
    replace = False
    for item in patch:
        if not isinstance(item, dict):
            raise BadRequest(f"{key}: a merged list of objects cannot take a {json.json_type(item)}")
        directive = item.get(_PATCH)
        if directive is None:
            plain.append(item)
        elif directive == "replace":
            replace = True
        elif directive == "delete":
            identity = _required_identity(field, key, item)
            present = [one for one in present if _identity(field, one) != identity]
        else:
            raise BadRequest(f"{key}: unknown patch type {directive!r} found in the $patch directive")
    if replace:
        return [_without_directives(_without_nulls(item)) for item in plain], []
    return present, plain


def _primitive(key: str, item: Any) -> Any:
    if isinstance(item, dict | list):
        raise BadRequest(f"{key}: a list of plain values cannot take a {json.json_type(item)}")
    return item


def _identity(field: Field, item: Any) -> str:
    value = item.get(field.merge_key) if field.merge_key and isinstance(item, dict) else item
    return str(value)


def _required_identity(field: Field, key: str, item: Object) -> str:
    if item.get(field.merge_key) is None:
        raise Invalid(f"{key}: an element does not contain declared merge key: {field.merge_key}")
    return _identity(field, item)


def _in_order(field: Field, merged: list[Any], order: list[Any], before: list[Any]) -> list[Any]:
    """Elements named in `order` follow it, the others keep the order they had.

    One of the others goes in front of the next named one only if the list had it in front of that before.
    """
    place = {_identity(field, item): at for at, item in enumerate(order)}
    live = {_identity(field, item): at for at, item in enumerate(before)}
    named = [item for item in merged if _identity(field, item) in place]
    others = [item for item in merged if _identity(field, item) not in place]
    named.sort(key=lambda item: place[_identity(field, item)])
    others.sort(key=lambda item: live.get(_identity(field, item), len(live)))
    result: list[Any] = []
    waiting = iter(others)
    other = next(waiting, None)
    for item in named:
        at = live.get(_identity(field, item))
        while other is not None and at is not None and live.get(_identity(field, other), at) < at:
            result.append(other)
            other = next(waiting, None)
        result.append(item)
    if other is not None:
        result.append(other)
        result.extend(waiting)
    return result


def _without_nulls(value: Any) -> Any:
    """What a null would remove is not there to be removed."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _without_directives(value: Any) -> Any:
    """A copy with the directives taken out, for parts that had nothing to merge with."""
    if isinstance(value, list):
        return [
            _without_directives(item)
            for item in value
            if not (isinstance(item, dict) and item.get(_PATCH) in ("delete", "replace"))
        ]
    if isinstance(value, dict):
        return {
            key: _without_directives(item)
            for key, item in value.items()
            if key not in (_PATCH, _RETAIN) and not key.startswith((_ORDER, _DELETE))
        }
    return value
