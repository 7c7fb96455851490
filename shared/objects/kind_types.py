"""The kinds of the API in the eyes of CEL, built-in and custom: the types that policies are checked with.

Source: k8s.io/apiserver, pkg/cel/common and pkg/cel/openapi: times are timestamps, and what may be written as a number
or as text has no type.
"""

from shared.objects import schema
from shared.objects.cel import types
from shared.objects.cel.types import Type
from shared.objects.custom import cel_types, structural
from shared.objects.schema import Field, Struct

_SCALARS = {
    "string": types.STRING,
    "bool": types.BOOL,
    "int32": types.INT,
    "int64": types.INT,
    "double": types.DOUBLE,
    "bytes": types.BYTES,
    "Time": types.TIMESTAMP,
    "MicroTime": types.TIMESTAMP,
}


def type_of_kind(kind: Struct) -> Type:
    """The type of a kind's objects."""
    made: dict[str, Type] = {}
    if kind.custom is None:
        return _object(kind, made)
    own = cel_types.type_of(structural.compile(kind.custom.raw_schema), root=True)
    if own.fields is None:
        return own
    metadata = _object(schema.struct("meta/v1.ObjectMeta"), made)
    return types.object_of(own.name, {**own.fields, "metadata": metadata})


def _object(struct: Struct, made: dict[str, Type]) -> Type:
    found = made.get(struct.openapi_name)
    if found is None:
        fields: dict[str, Type] = {}
        # known before its fields are, for a schema of JSON holds schemas
        found = made[struct.openapi_name] = types.object_of(struct.openapi_name, fields)
        for name, one in struct.fields.items():
            escaped = cel_types.escape(name)
            if escaped is not None:
                fields[escaped] = _field(one, made)
    return found


def _field(one: Field, made: dict[str, Type]) -> Type:
    struct = one.struct
    inner = _object(struct, made) if struct is not None else _SCALARS.get(one.type, types.DYN)
    match one.container:
        case "list":
            return types.list_of(inner)
        case "map":
            return types.map_of(types.STRING, inner)
        case "map-list":
            return types.map_of(types.STRING, types.list_of(inner))
    return inner
