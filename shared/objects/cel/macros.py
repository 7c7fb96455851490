"""Which calls are macros: they bind variables or test fields, so they cannot be functions."""

from __future__ import annotations

from shared.objects.cel.syntax import Bind, Call, Ident, Loop, Node, Select


class MacroError(Exception):
    """A macro was used with arguments of the wrong shape."""

    def __init__(self, at: int, message: str) -> None:
        self.at = at
        super().__init__(message)


_PREDICATES = {"all": "all", "exists": "exists", "exists_one": "exists_one", "existsOne": "exists_one"}
_TRANSFORMS = ("transformList", "transformMap", "transformMapEntry")


def expand(at: int, target: Node | None, name: str, arguments: list[Node]) -> Node | None:
    """The node a macro call stands for; None if the call is no macro."""
    if target is None:
        return _has(at, arguments) if name == "has" and len(arguments) == 1 else None
    if isinstance(target, Ident) and target.name == "cel" and name == "bind" and len(arguments) == 3:
        return Bind(at, "bind", _variable(arguments[0]), arguments[1], arguments[2])
    if name in ("optMap", "optFlatMap") and len(arguments) == 2:
        return Bind(at, name, _variable(arguments[0]), target, arguments[1])
    return _loop(at, target, name, arguments)


def _has(at: int, arguments: list[Node]) -> Node:
    argument = arguments[0]
    if not isinstance(argument, Select) or argument.test or argument.optional:
        raise MacroError(at, "invalid argument to has() macro")
    return Select(at, argument.operand, argument.field, test=True)


def _loop(at: int, target: Node, name: str, arguments: list[Node]) -> Node | None:
    count = len(arguments)
    if name in _PREDICATES and count in (2, 3):
        names = _variables(arguments[:-1])
        return Loop(at, _PREDICATES[name], target, names, arguments[-1], None)
    if name == "filter" and count == 2:
        return Loop(at, "filter", target, _variables(arguments[:1]), arguments[1], None)
    if name == "map" and count in (2, 3):
        condition = arguments[1] if count == 3 else None
        return Loop(at, "map", target, _variables(arguments[:1]), condition, arguments[-1])
    if name in _TRANSFORMS and count in (3, 4):
        condition = arguments[2] if count == 4 else None
        return Loop(at, name, target, _variables(arguments[:2]), condition, arguments[-1])
    if name == "sortBy" and count == 2:
        key = Loop(at, "map", target, _variables(arguments[:1]), None, arguments[1])
        return Call(at, "@sortByKeys", target, [key])
    return None


def _variables(nodes: list[Node]) -> tuple[str, ...]:
    names = tuple(_variable(node) for node in nodes)
    if len(set(names)) < len(names):
        raise MacroError(nodes[-1].at, f"duplicate variable name: {names[-1]}")
    return names


def _variable(node: Node) -> str:
    if not isinstance(node, Ident):
        raise MacroError(node.at, "argument must be a simple name")
    return node.name
