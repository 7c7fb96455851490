"""The table against what Kubernetes serves, where recordings of it are at hand: WHERRY_REFERENCE names their folder."""

import csv
import json
import os
from pathlib import Path

import pytest

from shared.objects import groups, registry, schema
from shared.objects.schema import Column, Field, Struct

REFERENCE = Path(os.environ.get("WHERRY_REFERENCE", "/nonexistent"))

pytestmark = pytest.mark.skipif(
    not (REFERENCE / "kubernetes-resources.tsv").exists(), reason="WHERRY_REFERENCE holds no recorded tables"
)


def rows(name: str) -> list[dict[str, str]]:
    with (REFERENCE / name).open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def parts(text: str, separator: str = ",") -> tuple[str, ...]:
    return tuple(part for part in text.split(separator) if part)


def resource_row(row: dict[str, str]) -> dict[str, object]:
    subresources = {}
    for one in parts(row["subresources"], ";"):
        name, _, rest = one.partition("=")
        spoken, _, verbs = rest.removesuffix(")").partition("(")
        version, _, kind = spoken.rpartition("/")
        own = f"{row['group']}/{row['version']}".removeprefix("/")
        subresources[name] = (version or own, kind, parts(verbs))
    columns = []
    for one in parts(row["tableColumns"], ";"):
        name, kind, priority = one.rsplit(":", 2)
        type_, _, format_ = kind.partition("/")
        columns.append(Column(name, type_, format_, int(priority)))
    return {
        "kind": row["kind"],
        "singular": row["singular"],
        "namespaced": row["namespaced"] == "true",
        "short names": parts(row["shortNames"]),
        "categories": parts(row["categories"]),
        "verbs": parts(row["verbs"]),
        "subresources": subresources,
        "columns": tuple(columns),
        "field selectors": parts(row["fieldSelectors"]),
    }


def resource_served(resource: registry.Resource) -> dict[str, object]:
    return {
        "kind": resource.kind,
        "singular": resource.singular,
        "namespaced": resource.namespaced,
        "short names": resource.short_names,
        "categories": resource.categories,
        "verbs": resource.verbs,
        "subresources": {
            one.name: (f"{one.group}/{one.version}".removeprefix("/"), one.kind, one.verbs)
            for one in resource.subresources
        },
        "columns": resource.columns,
        "field selectors": resource.field_selectors,
    }


def test_every_stable_resource_is_served_as_kubernetes_serves_it() -> None:
    recorded = {
        (row["group"], row["version"], row["resource"]): resource_row(row) for row in rows("kubernetes-resources.tsv")
    }
    served = {(one.group, one.version, one.plural): resource_served(one) for one in registry.all_resources()}
    assert served == recorded


def structs() -> dict[str, Struct]:
    return {one.openapi_name: one for name in groups.MODULES for one in schema.declared(name)}


def field_row(row: dict[str, str]) -> dict[str, object]:
    return {
        "number": row["proto"],
        "required": row["required"] == "y",
        "enum": tuple(sorted(parts(row["enum"]))),
        "patch": tuple(sorted(parts(row["patchStrategy"]))),
        "merge key": row["mergeKey"],
        "list type": row["listType"],
        "map keys": parts(row["listMapKeys"]),
        "map type": row["mapType"],
    }


def field_declared(field: Field) -> dict[str, object]:
    return {
        "number": ".".join(str(part) for part in field.number),
        "required": field.required,
        # the empty text of an enum is not in the recorded table
        "enum": tuple(sorted(filter(None, field.enum))),
        "patch": tuple(sorted(field.patch)),
        "merge key": field.merge_key,
        "list type": field.list_type,
        "map keys": field.map_keys,
        "map type": field.map_type,
    }


def test_every_field_is_declared_as_kubernetes_publishes_it() -> None:
    known = structs()
    different = {}
    for row in rows("kubernetes-fields.tsv"):
        struct = known.get(row["schema"])
        if struct is None or not row["field"] or row["wireOnly"]:
            continue
        field = struct.fields.get(row["field"])
        found = None if field is None else field_declared(field)
        wanted = field_row(row)
        if found != wanted:
            different[f"{row['schema']}.{row['field']}"] = (found, wanted)
    assert json.dumps(different, indent=1) == "{}"
