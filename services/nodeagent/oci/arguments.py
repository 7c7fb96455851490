"""The command line as the callers of runc write it: options before and after the command, with one dash or two.

A table instead of argparse: importing that would take longer than most of the commands do.
"""

from __future__ import annotations

from shared.records import field, mutable

# option -> whether it takes a value; shorter names lead to the long one
GLOBAL = {
    "cgroup-manager": True,
    "criu": True,
    "debug": False,
    "help": False,
    "log": True,
    "log-format": True,
    "root": True,
    "rootless": True,
    "systemd-cgroup": False,
    "version": False,
}
_CREATE = {
    "bundle": True,
    "console-socket": True,
    "no-new-keyring": False,
    "no-pivot": False,
    "pid-file": True,
    "preserve-fds": True,
}
_CRIU = {
    "auto-dedup": False,
    "empty-ns": True,
    "ext-unix-sk": False,
    "file-locks": False,
    "image-path": True,
    "lazy-pages": False,
    "link-remap": False,
    "manage-cgroups-mode": True,
    "shell-job": False,
    "tcp-close": False,
    "tcp-established": False,
    "work-path": True,
}
COMMANDS: dict[str, dict[str, bool]] = {
    "checkpoint": {
        **_CRIU,
        "leave-running": False,
        "page-server": True,
        "parent-path": True,
        "pre-dump": False,
        "status-fd": True,
        "tcp-skip-in-flight": False,
    },
    "create": _CREATE,
    "delete": {"force": False},
    "exec": {
        "additional-gids": True,
        "apparmor": True,
        "cap": True,
        "cgroup": True,
        "console-socket": True,
        "cwd": True,
        "detach": False,
        "env": True,
        "ignore-paused": False,
        "no-new-privs": False,
        "pid-file": True,
        "preserve-fds": True,
        "process": True,
        "process-label": True,
        "tty": False,
        "user": True,
    },
    "features": {},
    "kill": {"all": False},
    "list": {"format": True, "quiet": False},
    "pause": {},
    "ps": {"format": True},
    "restore": {**_CREATE, **_CRIU, "detach": False, "no-subreaper": False},
    "resume": {},
    "run": {**_CREATE, "detach": False, "keep": False, "no-subreaper": False},
    "start": {},
    "state": {},
    "update": {"resources": True},
}
_SHORT = {
    "a": "all",
    "b": "bundle",
    "c": "cap",
    "d": "detach",
    "e": "env",
    "f": "force",
    "g": "additional-gids",
    "h": "help",
    "p": "process",
    "q": "quiet",
    "r": "resources",
    "t": "tty",
    "u": "user",
    "v": "version",
}
_SHORT_OF_COMMAND = {("list", "f"): "format", ("ps", "f"): "format"}


class UsageError(ValueError):
    """The command line makes no sense."""


@mutable
class Arguments:
    """`options` hold the values in the order given ("" for one without); `rest` are the words behind the command."""

    command: str = ""
    options: dict[str, list[str]] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return name in self.options

    def get(self, name: str, default: str = "") -> str:
        return self.options[name][-1] if name in self.options else default

    def all(self, name: str) -> list[str]:
        return self.options.get(name, [])

    def id(self) -> str:
        """The container's id. UsageError if there is none, or more than one word."""
        if not self.rest or not self.rest[0]:
            raise UsageError(f"{self.command}: the id of the container is missing")
        if len(self.rest) > 1:
            raise UsageError(f"{self.command}: {self.rest[1]!r} is one word too many")
        return self.rest[0]


def parse(words: list[str]) -> Arguments:
    """Read a command line without the program's name. UsageError."""
    result = Arguments()
    rest = _options(result, words, GLOBAL)
    if not rest:
        return result
    result.command = rest[0]
    if result.command not in COMMANDS:
        raise UsageError(f"unknown command {result.command!r}")
    known = GLOBAL | COMMANDS[result.command]
    words = rest[1:]
    while words:
        words = _options(result, words, known)
        if not words:
            break
        result.rest.append(words[0])
        words = words[1:]
        if result.command == "exec" or words[:1] == ["--"]:  # what follows the id is somebody else's command line
            result.rest += words[1:] if words[:1] == ["--"] else words
            break
    return result


def _options(result: Arguments, words: list[str], known: dict[str, bool]) -> list[str]:
    """Take options from the front; return what is left."""
    position = 0
    while position < len(words) and words[position].startswith("-") and words[position] != "-":
        word = words[position]
        position += 1
        if word == "--":
            break
        name, equals, value = word.lstrip("-").partition("=")
        name = _SHORT_OF_COMMAND.get((result.command, name)) or (_SHORT.get(name, name) if name not in known else name)
        if name not in known:
            raise UsageError(f"{result.command or 'wherry-runtime'}: unknown option {word!r}")
        if known[name] and not equals:
            if position == len(words):
                raise UsageError(f"option {word} needs a value")
            value = words[position]
            position += 1
        elif not known[name] and equals:
            if value.lower() in ("false", "0"):
                continue
            value = ""
        result.options.setdefault(name, []).append(value)
    return words[position:]
