"""Whether a CustomResourceDefinition may be as it is, with Kubernetes' reasons and field paths.

Source: apiextensions-apiserver's pkg/apis/apiextensions/validation/validation.go. As there, what all versions say alike
is reported once: at spec.validation, spec.subresources, spec.additionalPrinterColumns and spec.selectableFields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.objects import registry
from shared.objects.custom import budgets, jsonpath, ruling, structural, structure
from shared.objects.validation import names
from shared.objects.validation.causes import Cause, duplicate, forbidden, invalid, one_of, required, unsupported

Object = Mapping[str, Any]

APPROVED = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_UNPROTECTED_PREFIX = "unapproved"
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_DNS_1035_MESSAGE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SELECTABLE_TYPES = ("boolean", "integer", "string")
_MOST_SELECTABLE = 8
_SIMPLE_PATH = re.compile(r"(?:\.[A-Za-z0-9_\-]+)+", re.ASCII)


def create(definition: Object) -> list[Cause]:
    """What is wrong with a definition."""
    spec = definition.get("spec") or {}
    plural, group = (spec.get("names") or {}).get("plural", ""), spec.get("group", "")
    found: list[Cause] = []
    if registry.is_built_in(group, plural):
        # its objects would be taken for those of the definition
        found.append(forbidden("spec.names.plural", f"{plural}.{group} is a resource of the server itself"))
    name = definition["metadata"].get("name", "")
    if name != f"{plural}.{group}":
        found.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if group.endswith(tuple(f".{one}" for one in _PROTECTED)) or group in _PROTECTED:
        found += _approval(definition)
    return found + list(_spec(spec))


def update(definition: Object, old: Object) -> list[Cause]:
    """What may not change once a definition is established, and versions that objects are still stored in."""
    spec, before = definition.get("spec") or {}, old.get("spec") or {}
    found = []
    established = any(
        one.get("type") == "Established" and one.get("status") == "True"
        for one in (old.get("status") or {}).get("conditions") or ()
    )
    if established:
        found += _immutable("spec.scope", spec.get("scope"), before.get("scope"))
        kind = (spec.get("names") or {}).get("kind"), (before.get("names") or {}).get("kind")
        found += _immutable("spec.names.kind", *kind)
    found += _immutable("spec.group", spec.get("group"), before.get("group"))
    plural = (spec.get("names") or {}).get("plural"), (before.get("names") or {}).get("plural")
    found += _immutable("spec.names.plural", *plural)
    return found + stored_versions(definition) + costs(definition, old)


def costs(definition: Object, old: Object | None = None) -> list[Cause]:
    """Rules that may cost too much; versions whose schema is the same as in `old` may have been accepted before there
    was a limit, and stay."""
    versions = (definition.get("spec") or {}).get("versions") or []
    known = {one.get("name"): one.get("schema") for one in ((old or {}).get("spec") or {}).get("versions") or ()}
    found: list[Cause] = []
    for path, (version,) in _hoisted(versions, "schema", "validation") if versions else ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        where = f"{path}.openAPIV3Schema"
        if not schema or known.get(version.get("name")) == version.get("schema") or structure.validate(schema, where):
            continue
        found += budgets.validate(structural.compile(schema), where)
    return found


def stored_versions(definition: Object) -> list[Cause]:
    """Versions that objects may be stored in must stay declared, and the storage version is one of them."""
    declared = {one.get("name") for one in (definition.get("spec") or {}).get("versions") or ()}
    stored = (definition.get("status") or {}).get("storedVersions") or []
    found = []
    storage = [one.get("name") for one in (definition.get("spec") or {}).get("versions") or () if one.get("storage")]
    for version in storage:
        if version not in stored:
            found.append(invalid("status.storedVersions", stored, f"must have the storage version {version}"))
    for index, version in enumerate(stored):
        if version not in declared:
            why = (
                f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {version} and removes "
                f"{version} from status.storedVersions"
            )
            found.append(invalid(f"status.storedVersions[{index}]", version, why))
    return found


def _immutable(path: str, new: Any, old: Any) -> list[Cause]:
    return [invalid(path, new, "field is immutable")] if new != old else []


def _approval(definition: Object) -> Iterator[Cause]:
    value = (definition["metadata"].get("annotations") or {}).get(APPROVED, "")
    where = f"metadata.annotations[{APPROVED}]"
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    if not value:
        yield required(where, f'protected groups must have approval annotation "{APPROVED}", {see}')
    elif not value.startswith((_UNPROTECTED_PREFIX, "https://", "http://")):
        yield invalid(
            where, value, f"protected groups must have approval annotation with either a URL or a reason, {see}"
        )


def _spec(spec: Object) -> Iterator[Cause]:
    group = spec.get("group", "")
    if not group:
        yield required("spec.group")
    else:
        yield from (invalid("spec.group", group, one) for one in names.subdomain(group))
        if "." not in group:
            yield invalid("spec.group", group, "should be a domain with at least one dot")
    scope = spec.get("scope", "")
    yield from one_of("spec.scope", scope, ("Cluster", "Namespaced")) if scope else [required("spec.scope")]
    if spec.get("preserveUnknownFields"):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid("spec.preserveUnknownFields", True, why)
    yield from _names(spec.get("names") or {}, "spec.names")
    yield from _versions(spec.get("versions") or [])
    yield from _conversion(spec.get("conversion") or {})


def _names(given: Object, path: str) -> Iterator[Cause]:
    for name in ("plural", "singular"):
        yield from _label(given.get(name, ""), f"{path}.{name}")
    for name in ("kind", "listKind"):
        kind = given.get(name, "")
        if not kind:
            yield required(f"{path}.{name}")
        elif wrong := _label_complaints(kind.lower()):
            text = f"may have mixed case, but should otherwise match: {', '.join(wrong)}"
            yield invalid(f"{path}.{name}", kind, text)
    for name in ("shortNames", "categories"):
        for index, one in enumerate(given.get(name) or ()):
            yield from _label(one, f"{path}.{name}[{index}]")
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        yield invalid(f"{path}.listKind", given["listKind"], "kind and listKind may not be the same")


def _label(text: str, path: str) -> Iterator[Cause]:
    if not text:
        yield required(path)
    else:
        yield from (invalid(path, text, one) for one in _label_complaints(text))


def _label_complaints(text: str) -> list[str]:
    found = ["must be no more than 63 characters"] if len(text) > 63 else []
    return found if _DNS_1035.fullmatch(text) else [*found, _DNS_1035_MESSAGE]


def _versions(versions: list[Object]) -> Iterator[Cause]:
    if not versions:
        yield required("spec.versions", "must have at least one version")
        return
    given = [one.get("name", "") for one in versions]
    if len(set(given)) < len(given):
        yield invalid("spec.versions", given, "must contain unique version names")
    if sum(1 for one in versions if one.get("storage")) != 1:
        yield invalid("spec.versions", given, "must have exactly one version marked as storage version")
    for index, one in enumerate(versions):
        path = f"spec.versions[{index}]"
        yield from _label(one.get("name", ""), f"{path}.name")
        if one.get("deprecationWarning") is not None:
            yield from _deprecation(one, path)
    for path, (version,) in _hoisted(versions, "schema", "validation"):
        yield from _schema(version, path)
    for path, (version,) in _hoisted(versions, "subresources", "subresources"):
        yield from _subresources(version.get("subresources") or {}, path)
    for path, (version,) in _hoisted(versions, "additionalPrinterColumns", "additionalPrinterColumns"):
        yield from _columns(version.get("additionalPrinterColumns") or [], path)
    for path, (version,) in _hoisted(versions, "selectableFields", "selectableFields"):
        yield from _selectable(version, path)


def _hoisted(versions: list[Object], field: str, above: str) -> Iterator[tuple[str, tuple[Object]]]:
    """Where Kubernetes' internal version has a field: once for all versions if they agree."""
    if all(one.get(field) == versions[0].get(field) for one in versions):
        yield f"spec.{above}", (versions[0],)
        return
    for index, one in enumerate(versions):
        yield f"spec.versions[{index}].{field}", (one,)


def _deprecation(version: Object, path: str) -> Iterator[Cause]:
    text = version["deprecationWarning"]
    where = f"{path}.deprecationWarning"
    if not version.get("deprecated"):
        yield invalid(where, text, "can only be set for deprecated versions")
    if len(text) > 256:
        yield invalid(where, text, "must be <= 256 characters long")
    if not text.strip():
        yield invalid(where, text, "must not be empty")
    if not text.isprintable():
        yield invalid(where, text, "must only contain printable UTF-8 characters; non-printable character found")


def _schema(version: Object, path: str) -> Iterator[Cause]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    where = f"{path}.openAPIV3Schema"
    if not schema:
        yield required(where, "schemas are required")
        return
    wrong = structure.validate(schema, where)
    yield from wrong
    if not wrong:
        node = structural.compile(schema)
        yield from structure.defaults(node, where)
        yield from ruling.validate(node, where)


def _subresources(subresources: Object, path: str) -> Iterator[Cause]:
    scale = subresources.get("scale")
    if scale is None:
        return
    for name, roots in (
        ("specReplicasPath", (".spec",)),
        ("statusReplicasPath", (".status",)),
        ("labelSelectorPath", (".spec", ".status")),
    ):
        text, where = scale.get(name, ""), f"{path}.scale.{name}"
        if not text:
            if name != "labelSelectorPath":
                yield required(where)
        elif _SIMPLE_PATH.fullmatch(text) is None:
            yield invalid(where, text, "is an invalid path: must be a simple json path with . notation")
        elif not text.startswith(tuple(f"{one}." for one in roots)):
            allowed = " or ".join(roots)
            yield invalid(where, text, f"should be a json path under {'either ' if len(roots) > 1 else ''}{allowed}")


def _columns(columns: list[Object], path: str) -> Iterator[Cause]:
    for index, one in enumerate(columns):
        where = f"{path}[{index}]"
        if not one.get("name"):
            yield required(f"{where}.name")
        kind, form, text = one.get("type", ""), one.get("format", ""), one.get("jsonPath", "")
        if not kind:
            yield required(f"{where}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
        elif kind not in _COLUMN_TYPES:
            yield invalid(f"{where}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}")
        if form and form not in _COLUMN_FORMATS:
            yield invalid(f"{where}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}")
        if not text:
            yield required(f"{where}.jsonPath")
            continue
        if not text.startswith("."):
            why = "must be a simple json path starting with ."
            yield invalid(f"{where}.jsonPath", text, why)
            continue
        try:
            jsonpath.find(text, {})
        except ValueError as exc:
            yield invalid(f"{where}.jsonPath", text, str(exc))


def _selectable(version: Object, path: str) -> Iterator[Cause]:
    fields = version.get("selectableFields") or []
    if not fields:
        return
    if len(fields) > _MOST_SELECTABLE:
        text = f"Too many: {len(fields)}: must have at most {_MOST_SELECTABLE} items"
        yield Cause("FieldValueTooMany", text, path)
    root = structural.compile((version.get("schema") or {}).get("openAPIV3Schema") or {})
    seen: set[str] = set()
    for index, one in enumerate(fields):
        text, where = one.get("jsonPath", ""), f"{path}[{index}].jsonPath"
        if not text:
            yield required(where)
            continue
        if text in seen:
            yield duplicate(where, text)
        seen.add(text)
        if _SIMPLE_PATH.fullmatch(text) is None or text.startswith(".metadata"):
            yield invalid(where, text, "is an invalid path: must be a simple json path that does not begin at metadata")
            continue
        node: structural.Node | None = root
        for name in text.strip(".").split("."):
            node = node.properties.get(name) if node is not None else None
        if node is None:
            yield invalid(where, text, "is an invalid path: does not refer to a valid field")
        elif node.type not in _SELECTABLE_TYPES:
            yield invalid(where, text, "must point to a field of type boolean, integer or string")


def _conversion(conversion: Object) -> Iterator[Cause]:
    strategy = conversion.get("strategy", "None")
    webhook = conversion.get("webhook")
    if strategy not in ("None", "Webhook"):
        yield unsupported("spec.conversion.strategy", strategy, ("None", "Webhook"))
        return
    if strategy == "None":
        if webhook:
            yield forbidden("spec.conversion.webhook", "should not be set when strategy is not set to Webhook")
        return
    if not webhook or not webhook.get("clientConfig"):
        yield required("spec.conversion.webhook.clientConfig", "required when strategy is set to Webhook")
        return
    client = webhook["clientConfig"]
    where = "spec.conversion.webhook.clientConfig"
    if bool(client.get("url")) == bool(client.get("service")):
        yield required(where, "exactly one of url or service is required")
    if not webhook.get("conversionReviewVersions"):
        yield required("spec.conversion.webhook.conversionReviewVersions")
