"""YAML as Kubernetes reads and writes it, apart from JSON, because most processes never see any.

It is read as sigs.k8s.io/yaml reads it: YAML 1.1 booleans (y, on), no dates, first document only.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from shared.errors import BadRequest
from shared.objects.json import MAX_DEPTH, json_type, read_float

MAX_NODES = 1_000_000
"""Values a body may expand to through its aliases."""


class _Loader(yaml.CSafeLoader):
    """YAML as go-yaml resolves it when it is turned into JSON."""


_BOOL, _INT, _FLOAT, _NULL = (f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null"))
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})

_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    (_BOOL, r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    (_INT, r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]*|[1-9][0-9_]*)", "-+0123456789"),
    (_FLOAT, r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+0123456789."),
    (_NULL, r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        _tag, re.compile(rf"(?:{_pattern})\Z"), list(_first) + ([""] if _tag == _NULL else [])
    )


def _construct_bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return str(loader.construct_scalar(node)) in _TRUE


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567":
        text = text.replace("0", "0o", 1)
    return int(text, 0)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float | int:
    number = read_float(str(loader.construct_scalar(node)))
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


_Loader.add_constructor(_BOOL, _construct_bool)
_Loader.add_constructor(_INT, _construct_int)
_Loader.add_constructor(_FLOAT, _construct_float)


_INDENTATION = re.compile(rb"^[ \t?-]{%d}" % (MAX_DEPTH // 2), re.MULTILINE)


def _check_nesting(data: bytes) -> None:
    """Refuse what would be nested too deeply: the parser makes its nodes recursively, in C, and dies of it.

    Each level costs a bracket, or a column of indentation; only what has many of them is looked at event by event.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH // 2 and not _INDENTATION.search(data):
        return
    depth = 0
    for event in yaml.parse(data, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def parse(data: bytes) -> tuple[Any, list[str]]:
    """The value of a body and a message for each repeated key; BadRequest if it is malformed or nested too deeply."""
    duplicates: list[str] = []
    try:
        _check_nesting(data)
        loader = _Loader(data)
        try:
            node = loader.get_node() if loader.check_node() else None
            if node is not None:
                _check_yaml_node(node, duplicates)
            value = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as exc:
        raise BadRequest(f"the object provided is unrecognized: yaml: {_one_line(exc)}") from exc
    except RecursionError as exc:
        raise BadRequest(f"body is nested deeper than {MAX_DEPTH} levels") from exc
    return _as_json(value), duplicates


def _one_line(exc: Exception) -> str:
    if isinstance(exc, yaml.MarkedYAMLError) and exc.problem_mark is not None:
        # go-yaml counts the lines of what its parser, not its scanner, complains of from 0, and then hides a 0
        line = exc.problem_mark.line + isinstance(exc, yaml.scanner.ScannerError)
        return f"line {line}: {exc.problem}" if line else str(exc.problem)
    return str(exc).replace("\n", " ")


def _check_yaml_node(root: yaml.Node, duplicates: list[str]) -> None:
    """Name repeated keys; refuse cycles, deep nesting and aliases that multiply without bound."""
    budget = MAX_NODES
    stack: list[tuple[yaml.Node, int]] = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        budget -= 1
        if budget < 0:
            raise ValueError("document contains excessive aliasing")
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, yaml.SequenceNode):
            stack.extend((item, depth + 1) for item in reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                name = str(key.value)
                if name in seen and key.tag != "tag:yaml.org,2002:merge":
                    duplicates.append(f'line {key.start_mark.line + 1}: key "{name}" already set in map')
                seen.add(name)
            stack.extend((item, depth + 1) for _, item in reversed(node.value))


def _as_json(value: Any) -> Any:
    """JSON data: string keys, no sharing between aliases."""
    if isinstance(value, dict):
        return {_key(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    raise BadRequest(f"the object provided is unrecognized: yaml: {type(value).__name__} has no JSON form")


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str | int | float):
        return str(key)
    raise BadRequest(f"the object provided is unrecognized: yaml: a map key is a {json_type(key)}")


class _Dumper(yaml.CSafeDumper):
    """Text of several lines as a block, as people and the YAML of Kubernetes write it."""


def _represent_text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def encode(obj: Any) -> bytes:
    """JSON data as a document."""
    return yaml.dump(obj, Dumper=_Dumper, allow_unicode=True, default_flow_style=False, width=1 << 30).encode()
