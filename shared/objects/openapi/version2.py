"""The one OpenAPI 2.0 document of everything served, made from the documents of version 3.

Clients older than Kubernetes 1.27, and helm's and kubectl's checks when version 3 fails them, insist on it. It says the
same in other words: media types belong to operations instead of bodies, a body is a parameter, schemas are definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_V3_PREFIX = "#/components/schemas/"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")

Object = dict[str, Any]


def document(documents: Iterable[Mapping[str, Any]]) -> Object:
    """The OpenAPI 2.0 document of some documents of version 3.0, all of the same API."""
    paths: Object = {}
    definitions: Object = {}
    shared: Object = {}
    info: Object = {}
    security: Object = {}
    for one in documents:
        info = one["info"]
        security |= one["components"]["securitySchemes"]
        paths |= {path: _path_item(item, shared) for path, item in one["paths"].items()}
        for name, schema in one["components"]["schemas"].items():
            if name not in definitions:
                definitions[name] = _schema(schema)
    return {
        "swagger": "2.0",
        "info": info,
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(definitions.items())),
        "parameters": dict(sorted(shared.items())),
        "securityDefinitions": security,
        "security": [{name: [] for name in security}],
    }


def _path_item(item: Mapping[str, Any], shared: Object) -> Object:
    made: Object = {method: _operation(item[method], shared) for method in _METHODS if method in item}
    if item.get("parameters"):
        made["parameters"] = [_parameter(one, shared) for one in item["parameters"]]
    return made


def _operation(operation: Mapping[str, Any], shared: Object) -> Object:
    body = operation.get("requestBody")
    answers: Object = next((answer["content"] for answer in operation["responses"].values() if "content" in answer), {})
    made = {key: value for key, value in operation.items() if key not in ("parameters", "requestBody", "responses")}
    made["consumes"] = list(body["content"]) if body else ["*/*"]
    made["produces"] = list(answers)
    made["schemes"] = ["https"]
    parameters = [_parameter(one, shared) for one in operation.get("parameters") or ()]
    if body:
        schema = next(iter(body["content"].values()))["schema"]
        parameter: Object = {"name": "body", "in": "body", "schema": _schema(schema)}
        if body.get("required"):
            parameter["required"] = True
        parameters.insert(0, parameter)
    if parameters:
        made["parameters"] = parameters
    made["responses"] = {code: _response(answer) for code, answer in operation["responses"].items()}
    return made


def _response(answer: Mapping[str, Any]) -> Object:
    made: Object = {"description": answer["description"]}
    for media in (answer.get("content") or {}).values():
        made["schema"] = _schema(media["schema"])
    return made


def _parameter(one: Mapping[str, Any], shared: Object) -> Object:
    """Inline if it is about one kind only, else a reference to what all operations share."""
    flat: Object = {key: value for key, value in one.items() if key != "schema"} | _schema(one["schema"])
    if one["in"] == "path" and one["name"] != "namespace":
        return flat
    known: Object = shared.setdefault(one["name"], flat)
    return {"$ref": f"#/parameters/{one['name']}"} if known == flat else flat


def _schema(schema: Any) -> Any:
    """A schema in the words of version 2, which has no unions and lets a default stand beside a reference."""
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        return {"$ref": "#/definitions/" + schema["$ref"].removeprefix(_V3_PREFIX)}
    made: Object = {}
    for key, value in schema.items():
        match key:
            case "properties":
                made[key] = {name: _schema(one) for name, one in value.items()}
            case "items" | "additionalProperties":
                made[key] = _schema(value)
            case "allOf" if len(value) == 1 and set(value[0]) == {"$ref"}:
                made |= _schema(value[0])
            case "oneOf" | "anyOf" | "allOf" | "not" | "nullable":
                pass
            case _:
                made[key] = value
    if "oneOf" in schema and "type" not in made and "x-kubernetes-int-or-string" not in made:
        made["type"] = "string"
    return made
