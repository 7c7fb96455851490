"""The build context: what COPY and ADD may take, and where it goes.

Why it resolves paths itself: a source must not leave the context, neither by `..` nor through a symlink, while symlinks
that are copied stay what they are: a directory of links to a multi-call binary becomes its applets without RUN.
Source: Dockerfile reference, sections COPY and ADD.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.images.errors import BuildError
from shared.images.ignore import Ignore, translate

_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Source:
    """One thing a COPY names: `path` on disk, `name` relative to the context."""

    path: Path
    name: str

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(os.lstat(self.path).st_mode)


class Context:
    """A directory with its .dockerignore applied."""

    def __init__(self, root: Path, dockerfile: Path | None = None) -> None:
        if not root.is_dir():
            raise BuildError(f"build context {root} is not a directory")
        self.root = root.resolve()
        own = dockerfile.with_name(dockerfile.name + ".dockerignore") if dockerfile else None
        chosen = own if own and own.is_file() else self.root / ".dockerignore"
        self._ignore = Ignore(chosen.read_text().splitlines() if chosen.is_file() else ())

    def sources(self, pattern: str) -> list[Source]:
        """What a source argument names, sorted. Raises BuildError if there is nothing or it leaves the context.

        A source named exactly is followed if it is a symlink, as Docker does; matches of a wildcard are not.
        """
        clean = self._clean(pattern)
        if not _WILD.search(clean):
            path = self._inside(clean, pattern)
            if not path.exists() or (clean and self._ignore.matches(clean)):
                raise BuildError(f"{pattern!r} is not in the build context {self.root}, or ignored by .dockerignore")
            return [Source(path, clean)]
        regex = re.compile(translate(clean))
        depth = clean.count("/")
        found = [source for source in self._walk_to(depth) if regex.match(source.name)]
        if not found:
            raise BuildError(f"{pattern!r} matches nothing in the build context {self.root}")
        return sorted(found, key=lambda s: s.name)

    def below(self, directory: Source) -> Iterator[Source]:
        """Everything inside a directory, depth first in order, without what is ignored; links are not followed."""
        for entry in sorted(os.scandir(directory.path), key=lambda e: e.name):
            name = f"{directory.name}/{entry.name}" if directory.name else entry.name
            source = Source(Path(entry.path), name)
            ignored = self._ignore.matches(name)
            if entry.is_dir(follow_symlinks=False):
                if ignored and not self._ignore.has_exceptions:
                    continue
                inner = list(self.below(source))
                if not ignored or inner:
                    yield source
                    yield from inner
            elif not ignored:
                yield source

    def _walk_to(self, depth: int) -> Iterator[Source]:
        level = [Source(self.root, "")]
        for step in range(depth + 1):
            following = []
            for directory in level:
                for entry in os.scandir(directory.path):
                    name = f"{directory.name}/{entry.name}" if directory.name else entry.name
                    source = Source(Path(entry.path), name)
                    if step == depth and not self._ignore.matches(name):
                        yield source
                    elif entry.is_dir(follow_symlinks=False):
                        following.append(source)
            level = following

    def _clean(self, pattern: str) -> str:
        parts: list[str] = []
        for part in pattern.split("/"):
            if part in ("", "."):
                continue
            if part == "..":
                if not parts:
                    raise BuildError(f"{pattern!r} is outside the build context")
                parts.pop()
                continue
            parts.append(part)
        return "/".join(parts)

    def _inside(self, clean: str, pattern: str) -> Path:
        path = (self.root / clean).resolve()
        if path != self.root and self.root not in path.parents:
            raise BuildError(f"{pattern!r} leads outside the build context through a symlink")
        return path
