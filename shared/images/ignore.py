"""`.dockerignore`: which files of a build context do not exist as far as the build is concerned.

Why regular expressions: the patterns are Go's filepath.Match plus `**`, which fnmatch does not speak.
Source: the Docker documentation, "Build context", section ".dockerignore files".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from posixpath import normpath


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    keep: bool


class Ignore:
    """The rules of one file; the last rule that matches a path, or a directory above it, decides."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self._rules: list[_Rule] = []
        for raw in lines:
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            keep = line.startswith("!")
            text = normpath(line.lstrip("!").strip()).lstrip("/")
            if text in (".", ""):
                continue
            self._rules.append(_Rule(re.compile(translate(text)), keep))
        self.has_exceptions = any(rule.keep for rule in self._rules)

    def matches(self, path: str) -> bool:
        """Whether `path` (relative to the context, slashes) is ignored."""
        ignored = False
        parts = path.split("/")
        prefixes = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        for rule in self._rules:
            if any(rule.pattern.match(prefix) for prefix in prefixes):
                ignored = not rule.keep
        return ignored


def translate(pattern: str) -> str:
    """A pattern of filepath.Match with `**` as a regular expression that matches whole paths."""
    out = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if pattern.startswith("**", index):
            index += 2
            if pattern.startswith("/", index):
                index += 1
                out.append("(?:[^/]+/)*")
            else:
                out.append(".*")
            continue
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and (end := pattern.find("]", index + 2)) > 0:
            inner = pattern[index + 1 : end]
            negated = inner.startswith("^")
            out.append(f"[{'^' if negated else ''}{inner[negated:].replace(chr(92), chr(92) * 2)}]")
            index = end
        elif char == "\\" and index + 1 < len(pattern):
            index += 1
            out.append(re.escape(pattern[index]))
        else:
            out.append(re.escape(char))
        index += 1
    return "".join(out) + r"\Z"
