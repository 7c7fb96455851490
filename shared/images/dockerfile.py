"""Dockerfiles: text -> instructions with their line numbers.

Why a parser apart from the builder: it is pure, and every later error can name the file and line it comes from.
Source: the Dockerfile reference ("Format", "Parser directives", "Environment replacement", exec and shell form).
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.images.errors import BuildError

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z]+)\s*=\s*(.+?)\s*\Z")
_HEREDOC = re.compile(r"(?:\A|\s)<<-?[\"']?[A-Za-z_]\w*[\"']?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: upper-case name, `--flag` options, and the rest of the line as written."""

    line: int
    name: str
    text: str
    flags: Mapping[str, str] = field(default_factory=dict)
    escape: str = "\\"

    def fail(self, message: str, file: str = "Dockerfile") -> BuildError:
        """An error that names the place."""
        return BuildError(f"{file} line {self.line}: {self.name} {message}")

    def words(self) -> list[str]:
        """The rest split like a shell does, or the members of its JSON form."""
        listed = self.json()
        if listed is not None:
            return listed
        return split(self.text, self)

    def json(self) -> list[str] | None:
        """The JSON (exec) form, None if the text is not one."""
        if not self.text.startswith("["):
            return None
        try:
            value = json.loads(self.text)
        except ValueError:
            return None
        return value if isinstance(value, list) and all(isinstance(v, str) for v in value) else None


def parse(text: str, file: str = "Dockerfile") -> list[Instruction]:
    """All instructions. Raises BuildError naming file and line for what cannot be read."""
    escape = "\\"
    lines = text.removeprefix("\ufeff").splitlines()
    found: list[Instruction] = []
    directives = True
    number = 0
    while number < len(lines):
        start = number + 1
        line = lines[number].strip()
        number += 1
        if not line or line.startswith("#"):
            directive = _DIRECTIVE.match(line) if directives and line else None
            if directive and directive[1].lower() == "escape":
                escape = directive[2]
                if escape not in ("\\", "`"):
                    raise BuildError(f"{file} line {start}: escape directive must be \\ or `, not {escape!r}")
            directives = bool(directive)
            continue
        directives = False
        parts: list[str] = []
        while True:
            continued = line.endswith(escape)
            parts.append(line[:-1] if continued else line)
            if not continued:
                break
            while number < len(lines) and (not lines[number].strip() or lines[number].strip().startswith("#")):
                number += 1  # comments and empty lines inside an instruction count for nothing
            if number >= len(lines):
                break
            line = lines[number].rstrip()
            number += 1
        found.append(_instruction("".join(parts).strip(), start, escape, file))
    return found


def _instruction(text: str, line: int, escape: str, file: str) -> Instruction:
    name, _, rest = text.partition(" ") if " " in text else text.partition("\t")
    name, rest = name.upper(), rest.strip()
    if not name.isalpha():
        raise BuildError(f"{file} line {line}: {name!r} is not an instruction")
    if name in ("COPY", "ADD", "RUN") and _HEREDOC.search(rest):
        raise BuildError(f"{file} line {line}: {name} with a here-document is not supported")
    flags: dict[str, str] = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        key, equals, value = flag[2:].partition("=")
        flags[key] = value if equals else "true"
        rest = rest.strip()
    return Instruction(line, name, rest, flags, escape)


def split(text: str, instruction: Instruction) -> list[str]:
    """Split at spaces, honouring quotes and the escape character, and remove them."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="")
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = instruction.escape
    try:
        return list(lexer)
    except ValueError as exc:
        raise instruction.fail(f"has an unbalanced quote: {exc}") from exc


def pairs(text: str, instruction: Instruction) -> list[tuple[str, str]]:
    """`k=v k2="v 2"` as pairs; the old form `k the rest` is one pair."""
    first = text.partition(" ")[0]
    if "=" not in first:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise instruction.fail(f"needs a value for {key!r}")
        return [(key, value.strip())]
    out = []
    for word in split(text, instruction):
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise instruction.fail(f"has {word!r}, which is not name=value")
        out.append((key, value))
    return out


def expand(text: str, variables: Mapping[str, str], instruction: Instruction) -> str:
    """Replace `$name`, `${name}`, `${name:-default}`, `${name:+other}`; nothing inside single quotes."""
    out: list[str] = []
    position = 0
    quoted = False
    while position < len(text):
        char = text[position]
        if char == "'" and not quoted:
            end = text.find("'", position + 1)
            end = len(text) if end < 0 else end + 1
            out.append(text[position:end])
            position = end
            continue
        if char == '"':
            quoted = not quoted
        if char == instruction.escape and position + 1 < len(text):
            following = text[position + 1]
            out.append(following if following == "$" else text[position : position + 2])
            position += 2
            continue
        if char != "$":
            out.append(char)
            position += 1
            continue
        value, position = _variable(text, position, variables, instruction)
        out.append(value)
    return "".join(out)


def _variable(text: str, position: int, variables: Mapping[str, str], instruction: Instruction) -> tuple[str, int]:
    if text[position + 1 : position + 2] != "{":
        found = _VARIABLE.match(text, position + 1)
        if not found:
            return "$", position + 1
        return variables.get(found[0], ""), found.end()
    end = _closing(text, position + 1)
    if end < 0:
        raise instruction.fail("has ${ without }")
    inner = text[position + 2 : end]
    found = _VARIABLE.match(inner)
    if not found:
        raise instruction.fail(f"has an invalid variable ${{{inner}}}")
    name, rest = found[0], inner[found.end() :]
    value = variables.get(name, "")
    if rest.startswith(":-"):
        value = value or expand(rest[2:], variables, instruction)
    elif rest.startswith(":+"):
        value = expand(rest[2:], variables, instruction) if value else ""
    elif rest:
        raise instruction.fail(f"uses ${{{inner}}}, which is not supported")
    return value, end + 1


def _closing(text: str, position: int) -> int:
    depth = 0
    for index in range(position, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return -1
