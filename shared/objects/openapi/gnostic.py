"""OpenAPI documents as protobuf: the form in which client-go reads them.

The messages are those of gnostic's OpenAPIv2.proto and OpenAPIv3.proto (github.com/google/gnostic), each written as
`key=number:kind` for the keys of the JSON form. A kind is a scalar, a message, `*kind` for a repeated field, `[kind]`
for a message that is only a list, or `?union`, whose member is told by the value. The key `*` stands for a map whose
keys are data, `x-` for all extensions. Only what our documents use is listed; any other key is a TypeError, so that
nothing is left out in silence.
"""

from __future__ import annotations

import json
import struct as binary
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from shared.objects.protobuf import wire

_BOUNDS = """maximum={}:double exclusiveMaximum={}:bool minimum={}:double exclusiveMinimum={}:bool maxLength={}:int
    minLength={}:int pattern={}:string maxItems={}:int minItems={}:int uniqueItems={}:bool maxProperties={}:int
    minProperties={}:int required={}:*string enum={}:*any """
_METHODS = """get={}:Operation put={}:Operation post={}:Operation delete={}:Operation options={}:Operation
    head={}:Operation patch={}:Operation """

_V2 = {
    "Document": """swagger=1:string info=2:Info paths=8:Paths definitions=9:Schemas parameters=10:Parameters
        security=12:*Requirement securityDefinitions=13:SecurityDefinitions""",
    "Info": "title=1:string version=2:string",
    "Paths": "*=2:PathItem",
    "Schemas": "*=1:Schema",
    "Parameters": "*=1:?Parameter",
    "SecurityDefinitions": "*=1:?Security",
    "Requirement": "*=1:[string]",
    "PathItem": _METHODS.format(*range(2, 9)) + "parameters=9:*?ParametersItem",
    "Operation": """tags=1:*string summary=2:string description=3:string operationId=5:string produces=6:*string
        consumes=7:*string parameters=8:*?ParametersItem responses=9:Responses schemes=10:*string deprecated=11:bool
        x-=13:any""",
    "Responses": "*=1:?ResponseValue",
    "Response": "description=1:string schema=2:?SchemaItem",
    "Reference": "$ref=1:string",
    "ExternalDocs": "description=1:string url=2:string",
    "BodyParameter": "description=1:string name=2:string in=3:string required=4:bool schema=5:Schema",
    "QueryParameter": """required=1:bool in=2:string description=3:string name=4:string type=6:string format=7:string
        uniqueItems=20:bool""",
    "PathParameter": """required=1:bool in=2:string description=3:string name=4:string type=5:string format=6:string
        uniqueItems=19:bool""",
    "ApiKey": "type=1:string name=2:string in=3:string description=4:string",
    "Schema": _BOUNDS.format(*range(7, 21))
    + """$ref=1:string format=2:string title=3:string description=4:string default=5:any multipleOf=6:double
        additionalProperties=21:?AdditionalProperties type=22:[string] items=23:[Schema] allOf=24:*Schema
        properties=25:Schemas readOnly=27:bool externalDocs=29:ExternalDocs example=30:any x-=31:any""",
}
_V3 = {
    "Document": "openapi=1:string info=2:Info paths=4:Paths components=5:Components",
    "Info": "title=1:string description=2:string version=6:string",
    "Paths": "*=1:PathItem",
    "PathItem": _METHODS.format(*range(4, 11)) + "parameters=13:*?ParameterOrReference",
    "Operation": """tags=1:*string summary=2:string description=3:string operationId=5:string
        parameters=6:*?ParameterOrReference requestBody=7:?BodyOrReference responses=8:Responses deprecated=10:bool
        x-=13:any""",
    "Parameter": "name=1:string in=2:string description=3:string required=4:bool schema=10:?SchemaOrReference",
    "Body": "description=1:string content=2:MediaTypes required=3:bool",
    "MediaTypes": "*=1:MediaType",
    "MediaType": "schema=1:?SchemaOrReference",
    "Responses": "*=2:?ResponseOrReference",
    "Response": "description=1:string content=3:MediaTypes",
    "Components": "schemas=1:Schemas securitySchemes=7:SecuritySchemes",
    "Schemas": "*=1:?SchemaOrReference",
    "SecuritySchemes": "*=1:?SecuritySchemeOrReference",
    "SecurityScheme": "type=1:string description=2:string name=3:string in=4:string",
    "Reference": "$ref=1:string",
    "ExternalDocs": "description=1:string url=2:string",
    "Schema": _BOUNDS.format(*range(11, 25))
    + """nullable=1:bool readOnly=3:bool externalDocs=6:ExternalDocs example=7:any deprecated=8:bool title=9:string
        multipleOf=10:double type=25:string allOf=26:*?SchemaOrReference
        oneOf=27:*?SchemaOrReference anyOf=28:*?SchemaOrReference
        not=29:Schema items=30:[?SchemaOrReference] properties=31:Schemas
        additionalProperties=32:?AdditionalProperties default=33:?Default description=34:string format=35:string
        x-=36:any""",
}

# marks of JSON Schema that a custom resource's schema may have, and gnostic has no field for
_LOST = {"$schema", "id"}

_Member = tuple[int, str]
_Union = Callable[[Any], _Member | None]


def _or_reference(kind: str) -> _Union:
    return lambda value: (2, "Reference") if "$ref" in value else (1, kind)


def _or_boolean(kind: str) -> _Union:
    return lambda value: (2, "bool") if isinstance(value, bool) else (1, kind)


def _scalar_default(value: Any) -> _Member | None:
    """gnostic's version 3 has no place for defaults that are objects or lists."""
    if isinstance(value, bool):
        return 2, "bool"
    if isinstance(value, str):
        return 3, "string"
    return (1, "double") if isinstance(value, int | float) else None


_UNIONS_V2: dict[str, _Union] = {
    "ParametersItem": _or_reference("?Parameter"),
    "Parameter": lambda value: (1, "BodyParameter") if value["in"] == "body" else (2, "?NonBodyParameter"),
    "NonBodyParameter": lambda value: (3, "QueryParameter") if value["in"] == "query" else (4, "PathParameter"),
    "ResponseValue": _or_reference("Response"),
    "SchemaItem": lambda _value: (1, "Schema"),
    "Security": lambda _value: (2, "ApiKey"),
    "AdditionalProperties": _or_boolean("Schema"),
}
_UNIONS_V3: dict[str, _Union] = {
    "ParameterOrReference": _or_reference("Parameter"),
    "BodyOrReference": _or_reference("Body"),
    "ResponseOrReference": _or_reference("Response"),
    "SchemaOrReference": _or_reference("Schema"),
    "SecuritySchemeOrReference": _or_reference("SecurityScheme"),
    "AdditionalProperties": _or_boolean("?SchemaOrReference"),
    "Default": _scalar_default,
}


def encode_v2(document: Mapping[str, Any]) -> bytes:
    """A document of OpenAPI 2.0 as openapi.v2.Document. TypeError names a key that has no field."""
    return _Encoder(_V2, _UNIONS_V2).message("Document", document)


def encode_v3(document: Mapping[str, Any]) -> bytes:
    """A document of OpenAPI 3.0 as openapi.v3.Document. TypeError names a key that has no field."""
    return _Encoder(_V3, _UNIONS_V3).message("Document", document)


class _Encoder:
    def __init__(self, messages: Mapping[str, str], unions: Mapping[str, _Union]) -> None:
        self._unions = unions
        self._fields = cache(lambda name: _parse(messages[name]))

    def message(self, name: str, value: Mapping[str, Any]) -> bytes:
        fields = self._fields(name)
        out = bytearray()
        for key, item in value.items():
            if key in fields:
                number, kind = fields[key]
                for one in item if kind[0] == "*" else (item,):
                    out += self._field(number, kind.lstrip("*"), one)
            elif "*" in fields or ("x-" in fields and key.startswith("x-")):
                number, kind = fields["*" if "*" in fields else "x-"]
                out += wire.block(number, wire.block(1, key.encode()) + self._field(2, kind, item))
            elif key not in _LOST:
                raise TypeError(f"OpenAPI {name} has no field for {key!r}")
        return bytes(out)

    def _field(self, number: int, kind: str, value: Any) -> bytes:
        match kind:
            case "string":
                return wire.block(number, value.encode())
            case "bool" | "int":
                return wire.tag(number, wire.VARINT) + wire.varint(int(value))
            case "double":
                return wire.tag(number, wire.FIXED64) + binary.pack("<d", value)
            case "any":
                # as YAML, of which JSON is a part
                return wire.block(number, wire.block(2, json.dumps(value).encode()))
        if kind[0] == "[":
            items = value if isinstance(value, list) else [value]
            return wire.block(number, b"".join(self._field(1, kind[1:-1], item) for item in items))
        if kind[0] == "?":
            member = self._unions[kind[1:]](value)
            return wire.block(number, self._field(*member, value) if member is not None else b"")
        return wire.block(number, self.message(kind, value))


def _parse(text: str) -> dict[str, _Member]:
    found = {}
    for word in text.split():
        key, _, rest = word.partition("=")
        number, _, kind = rest.partition(":")
        found[key] = int(number), kind
    return found
