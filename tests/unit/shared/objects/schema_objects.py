"""Hypothesis strategies that make objects of any kind from the schema table."""

import base64
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from shared.objects import times
from shared.objects.schema import Field, Struct

NAMES = st.text("abcxyz-.0189é", min_size=1, max_size=8)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
PLAIN = st.dictionaries(
    NAMES, st.one_of(NAMES, st.integers(-5, 5), st.booleans(), st.lists(NAMES, max_size=2)), min_size=1, max_size=2
)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": NAMES,
    "bytes": st.binary(max_size=6).map(lambda raw: base64.b64encode(raw).decode()),
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "Quantity": st.sampled_from(["0", "1", "500m", "1Gi", "1536Mi", "2e3", "-3", "100n"]),
    "QuantityValue": st.just("1"),
    "Time": MOMENTS.map(times.format_time),
    "MicroTime": MOMENTS.map(times.format_micro),
    "IntOrString": st.one_of(st.integers(-(2**31), 2**31 - 1), NAMES),
    "RawExtension": PLAIN,
    "FieldsV1": PLAIN,
    "Verbs": st.lists(NAMES, min_size=1, max_size=3),
}


def objects(struct: Struct, depth: int = 4, *, nested: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a struct with any of its fields; below `depth` only fields without structs.

    Only the outermost object says its apiVersion and kind, for protobuf has no place for those of inner ones.
    """

    def build(draw: Any) -> dict[str, Any]:
        names = [name for name, field in struct.fields.items() if (depth > 0 or field.struct is None) and field.number]
        names = [name for name in names if struct.fields[name].type in VALUES or struct.fields[name].struct is not None]
        chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=5)) if names else []
        made = {name: draw(value(struct.fields[name], depth - 1)) for name in chosen}
        if struct.is_kind and not nested:
            group, version = struct.group_version
            made |= {"apiVersion": f"{group}/{version}" if group else version, "kind": struct.name}
        return made

    return st.composite(build)()


def value(field: Field, depth: int) -> st.SearchStrategy[Any]:
    inner = field.struct
    single = objects(inner, depth, nested=True) if inner is not None else VALUES[field.type]
    match field.container:
        case "list":
            return st.lists(single, max_size=2)
        case "map":
            return st.dictionaries(NAMES, single, max_size=2)
        case "map-list":
            return st.dictionaries(NAMES, st.lists(single, min_size=1, max_size=2), max_size=2)
    return single
