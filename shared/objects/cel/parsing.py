"""From text to tree: the grammar of the CEL specification, with macros expanded as they are met."""

from __future__ import annotations

from typing import NoReturn

from shared.objects.cel import macros
from shared.objects.cel.errors import CompilationError, Issue
from shared.objects.cel.lexing import Token, tokens
from shared.objects.cel.syntax import (
    Bind,
    Call,
    Entry,
    FieldEntry,
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

MAX_LENGTH = 100_000
"""Characters of an expression, as in cel-go."""
MAX_DEPTH = 100
"""Nesting of the tree; later passes recurse over it."""

_RELATIONS = ("<", "<=", ">=", ">", "==", "!=", "in")
_PRECEDENCE = {**dict.fromkeys(_RELATIONS, 1), "+": 2, "-": 2, "*": 3, "/": 3, "%": 3}
_OPERATORS = {name: f"_{name}_" for name in _PRECEDENCE} | {"in": "@in"}
_RESERVED = frozenset({"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop"})
_RESERVED |= {"namespace", "package", "return", "var", "void", "while"}


def parse(text: str) -> Node:
    """The tree of an expression; CompilationError with the first mistake."""
    if len(text) > MAX_LENGTH:
        limit = f"expression code point size exceeds limit: size: {len(text)}, limit {MAX_LENGTH}"
        raise CompilationError(text[:80], [Issue(0, limit)])
    parser = _Parser(text)
    tree = parser.expression()
    parser.expect("end")
    if _depth(tree) > MAX_DEPTH:
        parser.fail(0, f"expression recursion limit exceeded: {MAX_DEPTH}")
    return tree


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.position = 0
        self.depth = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    def fail(self, at: int, message: str) -> NoReturn:
        raise CompilationError(self.text, [Issue(at, message)])

    def take(self) -> Token:
        token = self.next
        self.position += 1
        return token

    def accept(self, kind: str) -> Token | None:
        return self.take() if self.next.kind == kind else None

    def expect(self, kind: str) -> Token:
        if self.next.kind != kind:
            shown = "'<EOF>'" if self.next.kind == "end" else f"'{self.source(self.next)}'"
            wanted = {"end": "<EOF>", "ident": "IDENTIFIER"}.get(kind, f"'{kind}'")
            self.fail(self.next.at, f"Syntax error: mismatched input {shown} expecting {wanted}")
        return self.take()

    def source(self, token: Token) -> str:
        if token.kind != "literal":
            return str(token.value)
        following = self.tokens[self.tokens.index(token) + 1].at
        return self.text[token.at : following].strip()

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(0, f"expression recursion limit exceeded: {MAX_DEPTH}")
        tree = self.disjunction()
        question = self.accept("?")
        if question is not None:
            yes = self.disjunction()
            self.expect(":")
            tree = Call(question.at, "_?_:_", None, [tree, yes, self.expression()])
        self.depth -= 1
        return tree

    def disjunction(self) -> Node:
        operands, places = [self.conjunction()], []
        while (token := self.accept("||")) is not None:
            places.append(token.at)
            operands.append(self.conjunction())
        return _balanced("_||_", operands, places)

    def conjunction(self) -> Node:
        operands, places = [self.binary(1)], []
        while (token := self.accept("&&")) is not None:
            places.append(token.at)
            operands.append(self.binary(1))
        return _balanced("_&&_", operands, places)

    def binary(self, precedence: int) -> Node:
        tree = self.unary()
        while True:
            token = self.next
            operator = token.value if token.kind == "ident" and token.value == "in" else token.kind
            level = _PRECEDENCE.get(operator, 0)
            if level < precedence:
                return tree
            self.take()
            tree = Call(token.at, _OPERATORS[operator], None, [tree, self.binary(level + 1)])

    def unary(self) -> Node:
        token = self.next
        if token.kind not in ("!", "-"):
            return self.member()
        count = 0
        while self.next.kind == token.kind:
            self.take()
            count += 1
        following = self.next
        if token.kind == "-" and count % 2 and following.kind == "literal" and type(following.value) in (int, float):
            self.tokens[self.position] = following._replace(value=-following.value, at=token.at)
            return self.member()
        operand = self.member()
        function = "!_" if token.kind == "!" else "-_"
        return Call(token.at, function, None, [operand]) if count % 2 else operand

    def member(self) -> Node:
        tree = self.primary()
        while True:
            token = self.next
            if token.kind == ".":
                self.take()
                tree = self.field(tree, token)
            elif token.kind == "[":
                self.take()
                optional = self.accept("?") is not None
                index = self.expression()
                self.expect("]")
                tree = Call(token.at, "_[?_]" if optional else "_[_]", None, [tree, index])
            elif token.kind == "{" and (name := dotted(tree)) is not None:
                self.take()
                tree = self.message(token, name)
            else:
                return tree

    def field(self, operand: Node, dot: Token) -> Node:
        optional = self.accept("?") is not None
        quoted = self.accept("quoted")
        if quoted is not None:
            return Select(dot.at, operand, str(quoted.value), optional=optional)
        name = self.expect("ident")
        opening = None if optional else self.accept("(")
        if opening is None:
            return Select(dot.at, operand, str(name.value), optional=optional)
        return self.call(opening.at, operand, str(name.value), self.arguments(")"))

    def primary(self) -> Node:
        token = self.take()
        if token.kind == "literal":
            if type(token.value) is int and token.value == 2**63:
                self.fail(token.at, "Syntax error: invalid int literal")
            return Literal(token.at, token.value)
        if token.kind == "(":
            tree = self.expression()
            self.expect(")")
            return tree
        if token.kind == "[":
            return self.list(token)
        if token.kind == "{":
            return self.map(token)
        if token.kind == "." and self.next.kind == "ident":
            token = self.take()
        if token.kind != "ident" or token.value == "in":
            self.position -= 1
            shown = "'<EOF>'" if token.kind == "end" else f"'{token.value}'"
            expecting = "'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING"
            found = f"Syntax error: mismatched input {shown} expecting {{{expecting}, BYTES, IDENTIFIER}}"
            self.fail(token.at, found)
        if token.value in _RESERVED:
            self.fail(token.at, f"Syntax error: reserved identifier: {token.value}")
        opening = self.accept("(")
        if opening is None:
            return Ident(token.at, str(token.value))
        return self.call(opening.at, None, str(token.value), self.arguments(")"))

    def call(self, at: int, target: Node | None, name: str, arguments: list[Node]) -> Node:
        try:
            expanded = macros.expand(at, target, name, arguments)
        except macros.MacroError as exc:
            self.fail(exc.at, str(exc))
        return expanded if expanded is not None else Call(at, name, target, arguments)

    def arguments(self, closing: str) -> list[Node]:
        found: list[Node] = []
        while self.accept(closing) is None:
            if found:
                self.expect(",")
            found.append(self.expression())
        return found

    def list(self, opening: Token) -> Node:
        elements: list[Node] = []
        optional = set()
        while self.accept("]") is None:
            if elements:
                self.expect(",")
                if self.accept("]") is not None:
                    break
            if self.accept("?") is not None:
                optional.add(len(elements))
            elements.append(self.expression())
        return ListLiteral(opening.at, elements, frozenset(optional))

    def message(self, opening: Token, name: str) -> Node:
        entries: list[FieldEntry] = []
        while self.accept("}") is None:
            if entries:
                self.expect(",")
                if self.accept("}") is not None:
                    break
            optional = self.accept("?") is not None
            field = self.accept("quoted") or self.expect("ident")
            self.expect(":")
            entries.append(FieldEntry(str(field.value), self.expression(), optional))
        return Message(opening.at, name, entries)

    def map(self, opening: Token) -> Node:
        entries: list[Entry] = []
        while self.accept("}") is None:
            if entries:
                self.expect(",")
                if self.accept("}") is not None:
                    break
            optional = self.accept("?") is not None
            key = self.expression()
            self.expect(":")
            entries.append(Entry(key, self.expression(), optional))
        return MapLiteral(opening.at, entries)


def _balanced(function: str, operands: list[Node], places: list[int]) -> Node:
    """A chain of && or || as a tree of little depth, which is as good because both are associative."""
    if len(operands) == 1:
        return operands[0]
    middle = (len(operands) + 1) // 2
    left = _balanced(function, operands[:middle], places[: middle - 1])
    right = _balanced(function, operands[middle:], places[middle:])
    return Call(places[middle - 1], function, None, [left, right])


def children(node: Node) -> list[Node]:
    """The nodes directly below."""
    match node:
        case Select():
            return [node.operand]
        case Call():
            return [*([node.target] if node.target is not None else []), *node.arguments]
        case ListLiteral():
            return node.elements
        case MapLiteral():
            return [part for key, value, _ in node.entries for part in (key, value)]
        case Message():
            return [entry.value for entry in node.entries]
        case Loop():
            return [one for one in (node.range, node.condition, node.result) if one is not None]
        case Bind():
            return [node.value, node.body]
    return []


def _depth(tree: Node) -> int:
    deepest = 0
    pending = [(tree, 1)]
    while pending:
        node, depth = pending.pop()
        deepest = max(deepest, depth)
        pending.extend((child, depth + 1) for child in children(node))
    return deepest
