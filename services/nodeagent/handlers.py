"""Which runtimes this node offers, by the handler's name that a RuntimeClass uses.

`wherry` is the keeper itself; runc and crun are offered where they are installed; a settings file names more, or
overrides: `{"kata": {"path": "/usr/bin/kata-runtime", "options": ["--debug"]}}`, and null withdraws one.
Source: node.k8s.io/v1 RuntimeClass; KEP-585; core/v1 NodeRuntimeHandler.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.link import Api
from shared.errors import NotFound, SettingsError

BUILT_IN = "wherry"
INSTALLED = ("runc", "crun")
SETTINGS = "runtimes.json"


class Handlers:
    """`commands` has the runtime's command by handler; the built-in one's is empty, and so is its other name, ""."""

    def __init__(self, commands: Mapping[str, list[str]]) -> None:
        self.commands: dict[str, list[str]] = {"": [], BUILT_IN: [], **commands}

    async def of(self, pod: Mapping[str, Any], api: Api) -> str:
        """The handler of a pod's RuntimeClass. ConfigurationError if there is no such class or handler here."""
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        try:
            found = await api.get(f"/apis/node.k8s.io/v1/runtimeclasses/{name}")
        except NotFound as exc:
            raise ConfigurationError(f'RuntimeClass "{name}" not found') from exc
        handler = str(found["handler"])
        self.command(handler)
        if pod["spec"].get("hostUsers") is False and self.commands[handler]:
            raise ConfigurationError(f'runtime handler "{handler}" does not support user namespaces (hostUsers: false)')
        return handler

    def command(self, handler: str) -> list[str]:
        """The command with its global options. ConfigurationError for a handler that is not, or no longer, offered."""
        if handler not in self.commands:
            known = ", ".join(sorted(name for name in self.commands if name))
            text = f'no runtime for "{handler}" is configured: this node has {known}; {SETTINGS} can name more'
            raise ConfigurationError(text)
        return self.commands[handler]

    def status(self) -> list[dict[str, Any]]:
        """status.runtimeHandlers of the Node."""
        own_users = user_namespaces()
        return [
            {
                "name": name,
                "features": {
                    "recursiveReadOnlyMounts": not command,
                    "userNamespaces": own_users and not command,
                },
            }
            for name, command in sorted(self.commands.items())
        ]


def user_namespaces() -> bool:
    """Whether this kernel makes user namespaces."""
    try:
        return int(Path("/proc/sys/user/max_user_namespaces").read_text(encoding="ascii")) > 0
    except (OSError, ValueError):
        return False


def discover(settings: Path, state: Path) -> Handlers:
    """What is installed, and what the file `settings` says. Below `state` the runtimes keep theirs.

    Raises SettingsError naming the file and the entry.
    """
    commands = {name: _command(path, name, [], state) for name in INSTALLED if (path := shutil.which(name))}
    if not settings.exists():
        return Handlers(commands)
    try:
        document = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{settings}: {exc}") from exc
    if not isinstance(document, dict):
        raise SettingsError(f"{settings}: not an object of handlers by name")
    for name, entry in document.items():
        if name in ("", BUILT_IN):
            raise SettingsError(f"{settings}: {name!r} is the built-in runtime's own name")
        if entry is None:
            commands.pop(name, None)
            continue
        commands[name] = _configured(settings, name, entry, state)
    return Handlers(commands)


def _configured(settings: Path, name: str, entry: Any, state: Path) -> list[str]:
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str) or not path:
        raise SettingsError(f"{settings}: {name}.path is missing")
    options = entry.get("options") or []
    if not isinstance(options, list) or not all(isinstance(word, str) for word in options):
        raise SettingsError(f"{settings}: {name}.options is not a list of strings")
    found = path if os.path.isabs(path) else shutil.which(path)
    if found is None:
        raise SettingsError(f"{settings}: {name}.path {path!r} is not found on PATH")
    return _command(found, name, options, state)


def _command(path: str, name: str, options: list[str], state: Path) -> list[str]:
    return [path, "--root", str(state / name), *options]
