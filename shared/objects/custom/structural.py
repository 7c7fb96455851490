"""A structural schema as a tree that values can be walked along.

Compiled once per version of a definition. What the Kubernetes API calls structural is checked when the definition is
written (see `structure`); here everything is taken as it comes, so that what was once accepted can always be served.
Source: apiextensions-apiserver's pkg/apiserver/schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Object = dict[str, Any]


class _Missing:
    """Says that there is no value; null is one."""

    def __repr__(self) -> str:
        return "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()

_VALUES = frozenset({"enum", "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maxLength"})
_VALUES |= {"maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern"}
_VALUES |= {"required", "uniqueItems"}
_ANYTHING: Final[Mapping[str, Any]] = {"x-kubernetes-preserve-unknown-fields": True}


class Node:
    """One schema; `raw` has the keywords that restrict a value, as JSONSchemaProps spell them.

    `additional` is the schema of the values of a map, one without any rule for `additionalProperties: true`; `closed`
    says that it is false. `all_of`, `any_of`, `one_of` and `negated` restrict values further. The `has_` fields tell
    what is somewhere in the tree, so that walks can leave out what has nothing for them.
    """

    __slots__ = (
        "additional",
        "all_of",
        "any_of",
        "atomic_map",
        "cel_type",
        "closed",
        "default",
        "embedded",
        "has_defaults",
        "has_embedded",
        "has_list_keys",
        "has_rules",
        "int_or_string",
        "items",
        "list_type",
        "map_keys",
        "negated",
        "nullable",
        "one_of",
        "preserve",
        "programs",
        "properties",
        "raw",
        "rules",
        "type",
    )

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = {name: raw[name] for name in raw if name in _VALUES}
        self.type = ""
        self.nullable = False
        self.properties: dict[str, Node] = NO_PROPERTIES
        self.additional: Node | None = None
        self.closed = False
        self.items: Node | None = None
        self.preserve = False
        self.embedded = False
        self.int_or_string = False
        self.default: Any = MISSING
        self.list_type = ""
        self.map_keys: tuple[str, ...] = ()
        self.atomic_map = False
        self.rules: tuple[Mapping[str, Any], ...] = ()
        self.all_of: tuple[Node, ...] = ()
        self.any_of: tuple[Node, ...] = ()
        self.one_of: tuple[Node, ...] = ()
        self.negated: Node | None = None
        self.has_defaults = False
        self.has_embedded = False
        self.has_rules = False
        self.has_list_keys = False
        self.programs: Any = None
        """What `rules` compiled the rules to, when first needed."""
        self.cel_type: Any = None
        """The type of values in rules, when first needed."""

    def child(self, name: str) -> Node | None:
        """The schema of a key of an object; None if it is unknown."""
        return self.properties.get(name) or self.additional


NO_PROPERTIES: Final[dict[str, Node]] = {}


def compile(raw: Mapping[str, Any]) -> Node:  # noqa: A001
    """The tree of an openAPIV3Schema."""
    node = Node(raw)
    for keyword, value in raw.items():
        if value is None:
            continue
        read = _KEYWORDS.get(keyword)
        if read is not None:
            read(node, value)
    node.has_defaults = node.default is not MISSING
    node.has_embedded = node.embedded
    node.has_rules = bool(node.rules)
    node.has_list_keys = node.list_type in ("set", "map")
    for one in inner(node):
        node.has_defaults = node.has_defaults or one.has_defaults
        node.has_embedded = node.has_embedded or one.has_embedded
        node.has_rules = node.has_rules or one.has_rules
        node.has_list_keys = node.has_list_keys or one.has_list_keys
    return node


def _read_properties(node: Node, value: Mapping[str, Any]) -> None:
    if value:
        node.properties = {name: compile(one) for name, one in value.items()}


def _read_additional(node: Node, value: Any) -> None:
    node.closed = value is False
    if value is not False:
        node.additional = compile(value if isinstance(value, Mapping) else {})


def _read_items(node: Node, value: Any) -> None:
    if isinstance(value, Mapping):
        node.items = compile(value)


def _read_negated(node: Node, value: Any) -> None:
    node.negated = compile(value)


def _reader(field: str, convert: Callable[[Any], Any]) -> Callable[[Node, Any], None]:
    def read(node: Node, value: Any) -> None:
        setattr(node, field, convert(value))

    return read


def _trees(value: Any) -> tuple[Node, ...]:
    return tuple(compile(one) for one in value)


_KEYWORDS: dict[str, Callable[[Node, Any], None]] = {
    "type": _reader("type", str),
    "nullable": _reader("nullable", bool),
    "properties": _read_properties,
    "additionalProperties": _read_additional,
    "items": _read_items,
    "default": _reader("default", lambda value: value),
    "allOf": _reader("all_of", _trees),
    "anyOf": _reader("any_of", _trees),
    "oneOf": _reader("one_of", _trees),
    "not": _read_negated,
    "x-kubernetes-preserve-unknown-fields": _reader("preserve", bool),
    "x-kubernetes-embedded-resource": _reader("embedded", bool),
    "x-kubernetes-int-or-string": _reader("int_or_string", bool),
    "x-kubernetes-list-type": _reader("list_type", str),
    "x-kubernetes-list-map-keys": _reader("map_keys", tuple),
    "x-kubernetes-map-type": _reader("atomic_map", lambda value: value == "atomic"),
    "x-kubernetes-validations": _reader("rules", tuple),
}


def inner(node: Node) -> list[Node]:
    """The schemas of what a value contains."""
    found = [*node.properties.values()]
    if node.additional is not None:
        found.append(node.additional)
    if node.items is not None:
        found.append(node.items)
    return found


def anything() -> Node:
    """The tree of a version without schema."""
    return compile(_ANYTHING)
