"""Type checking, as cel-go does it before an expression runs: unknown names, fields and overloads are found early."""

from __future__ import annotations

from collections.abc import Mapping

from shared.objects.cel import types
from shared.objects.cel.declarations import Library
from shared.objects.cel.errors import CompilationError, Issue
from shared.objects.cel.syntax import (
    Bind,
    Call,
    Ident,
    ListLiteral,
    Literal,
    Loop,
    MapLiteral,
    Message,
    Node,
    Select,
    dotted,
)
from shared.objects.cel.types import BOOL, DYN, INT, Type, fits, joined, list_of, map_of, optional_of, substitute
from shared.objects.cel.values import UInt

_LITERALS: dict[type, Type] = {
    type(None): types.NULL,
    bool: BOOL,
    int: INT,
    UInt: types.UINT,
    float: types.DOUBLE,
    str: types.STRING,
    bytes: types.BYTES,
}
TYPE_NAMES: dict[str, tuple[str, Type]] = {
    "bool": ("bool", BOOL),
    "int": ("int", INT),
    "uint": ("uint", types.UINT),
    "double": ("double", types.DOUBLE),
    "string": ("string", types.STRING),
    "bytes": ("bytes", types.BYTES),
    "list": ("list", list_of(DYN)),
    "map": ("map", map_of(DYN, DYN)),
    "null_type": ("null_type", types.NULL),
    "type": ("type", Type("type")),
    "optional_type": ("optional_type", optional_of(DYN)),
    "google.protobuf.Timestamp": ("google.protobuf.Timestamp", types.TIMESTAMP),
    "google.protobuf.Duration": ("google.protobuf.Duration", types.DURATION),
}
"""What names of types stand for: the name that type(x) answers, and the type itself."""


def check(
    text: str, tree: Node, variables: Mapping[str, Type], library: Library, kinds: dict[int, Type] | None = None
) -> Type:
    """The type of an expression; CompilationError with every issue found.

    Calls of namespaced functions such as math.greatest(...) are marked as such in the tree. The types of all parts are
    written to `kinds`, by the ids of their nodes.
    """
    checker = _Checker(variables, library, kinds if kinds is not None else {})
    result = checker.visit(tree)
    if checker.issues:
        raise CompilationError(text, sorted(set(checker.issues)))
    return result


class _Checker:
    def __init__(self, variables: Mapping[str, Type], library: Library, kinds: dict[int, Type]) -> None:
        self.kinds = kinds
        self.scopes: list[Mapping[str, Type]] = [variables]
        self.library = library
        self.issues: list[Issue] = []

    def issue(self, at: int, message: str) -> Type:
        self.issues.append(Issue(at, message))
        return DYN

    def variable(self, name: str) -> Type | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def visit(self, node: Node) -> Type:
        match node:
            case Literal():
                found = _LITERALS[type(node.value)]
            case Ident():
                found = self.ident(node)
            case Select():
                found = self.select(node)
            case Call():
                found = self.call(node)
            case ListLiteral():
                found = self.list(node)
            case MapLiteral():
                found = self.map(node)
            case Message():
                found = self.message(node)
            case Loop():
                found = self.loop(node)
            case Bind():
                found = self.bind(node)
            case _:
                raise AssertionError(f"unknown node {node!r}")
        self.kinds[id(node)] = found
        return found

    def ident(self, node: Ident) -> Type:
        found = self.variable(node.name)
        if found is not None:
            return found
        if node.name in TYPE_NAMES:
            return types.type_of(TYPE_NAMES[node.name][1])
        return self.issue(node.at, f"undeclared reference to '{node.name}' (in container '')")

    def select(self, node: Select) -> Type:
        qualified = dotted(node)
        if qualified is not None and qualified in TYPE_NAMES and self.variable(qualified.partition(".")[0]) is None:
            return types.type_of(TYPE_NAMES[qualified][1])
        operand = self.visit(node.operand)
        inside = operand.parameters[0] if operand.name == "optional_type" else operand
        found = self.field(node, inside)
        if node.test:
            return BOOL
        if node.optional or operand.name == "optional_type":
            return found if found.name == "optional_type" else optional_of(found)
        return found

    def field(self, node: Select, operand: Type) -> Type:
        if operand.fields is not None:
            found = operand.fields.get(node.field)
            return found if found is not None else self.issue(node.at, f"undefined field '{node.field}'")
        if operand.name == "map":
            return operand.parameters[1]
        if operand.name == "dyn":
            return DYN
        return self.issue(node.at, f"type '{operand}' does not support field selection")

    def call(self, node: Call) -> Type:
        if node.target is not None:
            qualified = dotted(node.target)
            if qualified is not None and self.variable(qualified.partition(".")[0]) is None:
                name = f"{qualified}.{node.function}"
                if name in self.library.overloads:
                    node.target, node.function = None, name
        given = [self.visit(one) for one in ([node.target] if node.target is not None else []) + node.arguments]
        match node.function:
            case "_[_]" | "_[?_]":
                return self.index(node, given)
            case "_?_:_":
                return self.conditional(node, given)
        return self.resolve(node, given)

    def resolve(self, node: Call, given: list[Type]) -> Type:
        member = node.target is not None
        overloads = self.library.overloads.get(node.function, [])
        if not overloads:
            return self.issue(node.at, f"undeclared reference to '{node.function}' (in container '')")
        results = []
        for overload in overloads:
            bindings: types.Bindings = {}
            if (
                overload.member == member
                and len(overload.parameters) == len(given)
                and all(fits(wanted, one, bindings) for wanted, one in zip(overload.parameters, given, strict=True))
            ):
                results.append(substitute(overload.result, bindings))
        if not results:
            return self.issue(
                node.at, f"found no matching overload for '{node.function}' applied to '{_signature(given, member)}'"
            )
        return results[0] if all(one == results[0] for one in results) else DYN

    def index(self, node: Call, given: list[Type]) -> Type:
        operand, key = given
        inside = operand.parameters[0] if operand.name == "optional_type" else operand
        bindings: types.Bindings = {}
        if inside.name == "list" and fits(INT, key, bindings):
            found = inside.parameters[0]
        elif inside.name == "map" and fits(inside.parameters[0], key, bindings):
            found = inside.parameters[1]
        elif inside.name == "dyn":
            found = DYN
        else:
            return self.issue(
                node.at, f"found no matching overload for '{node.function}' applied to '{_signature(given, False)}'"
            )
        optional = node.function == "_[?_]" or operand.name == "optional_type"
        return optional_of(found) if optional else found

    def conditional(self, node: Call, given: list[Type]) -> Type:
        condition, yes, no = given
        bindings: types.Bindings = {}
        if not (fits(BOOL, condition, bindings) and fits(types.A, yes, bindings) and fits(types.A, no, bindings)):
            return self.issue(
                node.at, f"found no matching overload for '_?_:_' applied to '{_signature(given, False)}'"
            )
        return substitute(types.A, bindings)

    def list(self, node: ListLiteral) -> Type:
        element: Type | None = None
        for position, one in enumerate(node.elements):
            found = self.visit(one)
            if position in node.optional:
                found = self.inside_optional(one, found)
            element = found if element is None else joined(element, found)
        return list_of(element if element is not None else DYN)

    def map(self, node: MapLiteral) -> Type:
        key: Type | None = None
        value: Type | None = None
        for one, held, optional in node.entries:
            found, kept = self.visit(one), self.visit(held)
            if optional:
                kept = self.inside_optional(held, kept)
            key = found if key is None else joined(key, found)
            value = kept if value is None else joined(value, kept)
        return map_of(key if key is not None else DYN, value if value is not None else DYN)

    def message(self, node: Message) -> Type:
        """The names of types that may be written are declared as variables: they stand for the types themselves."""
        declared = self.variable(node.name.partition(".")[0])
        if declared is None or declared.name != "type":
            return self.issue(node.at, f"undeclared reference to '{node.name}' (in container '')")
        made = declared.parameters[0]
        for name, value, optional in node.entries:
            found = self.visit(value)
            if optional:
                found = self.inside_optional(value, found)
            if made.fields is None:
                continue
            wanted = made.fields.get(name)
            if wanted is None:
                self.issue(node.at, f"undefined field '{name}'")
            elif not fits(wanted, found, {}):
                self.issue(node.at, f"expected type of field '{name}' is '{wanted}' but provided type is '{found}'")
        return made

    def inside_optional(self, node: Node, found: Type) -> Type:
        if found.name == "optional_type":
            return found.parameters[0]
        if found.name != "dyn":
            self.issue(node.at, f"expected type 'optional_type(dyn)' but found '{found}'")
        return DYN

    def loop(self, node: Loop) -> Type:
        over = self.visit(node.range)
        match over.name:
            case "list":
                index, element = INT, over.parameters[0]
            case "map":
                index, element = over.parameters
            case "dyn":
                index, element = DYN, DYN
            case _:
                must = "cannot be range of a comprehension (must be list, map, or dynamic)"
                return self.issue(node.range.at, f"expression of type '{over}' {must}")
        if len(node.names) == 1:
            scope = {node.names[0]: element if over.name != "map" else index}
        else:
            scope = {node.names[0]: index, node.names[1]: element}
        self.scopes.append(scope)
        if node.condition is not None:
            self.condition(node.condition)
        result = self.visit(node.result) if node.result is not None else DYN
        self.scopes.pop()
        match node.macro:
            case "all" | "exists" | "exists_one":
                return BOOL
            case "filter":
                return list_of(scope[node.names[0]])
            case "transformMap":
                return map_of(index, result)
            case "transformMapEntry":
                return result if result.name == "map" else map_of(DYN, DYN)
        return list_of(result)

    def condition(self, node: Node) -> None:
        found = self.visit(node)
        if found.name not in ("bool", "dyn"):
            self.issue(node.at, f"found no matching overload for '_&&_' applied to '(bool, {found})'")

    def bind(self, node: Bind) -> Type:
        value = self.visit(node.value)
        if node.macro != "bind":
            value = self.inside_optional(node.value, value)
        self.scopes.append({node.name: value})
        body = self.visit(node.body)
        self.scopes.pop()
        if node.macro == "optMap":
            return optional_of(body)
        return body


def _signature(given: list[Type], member: bool) -> str:
    if member:
        return f"{given[0]}.({', '.join(map(str, given[1:]))})"
    return f"({', '.join(map(str, given))})"
