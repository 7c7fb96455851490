"""Hooks: programs of the caller's that are run at fixed points of a container's life, with its state on their stdin."""

from __future__ import annotations

import os

from shared import quickjson
from shared.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def load() -> None:
    """Import what running a hook needs, which few containers do: for a process that cannot import any more later."""
    import subprocess  # noqa: F401


def run(hook: dict[str, Any], state: dict[str, Any], name: str) -> None:
    """Run one hook and wait for it. RuntimeFailure if it fails or outlives its `timeout` (seconds)."""
    import subprocess

    path = hook["path"]
    argv = list(hook.get("args") or [path])
    env = dict(variable.partition("=")[::2] for variable in hook.get("env") or ())
    try:
        done = subprocess.run(
            argv,
            executable=path,
            env=env,
            input=quickjson.dumps(state).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=hook.get("timeout"),
            check=False,
            cwd=None if os.path.isdir(".") else "/",
        )
    except subprocess.TimeoutExpired as exc:
        raise RuntimeFailure(f"{name} hook {path} did not end within {hook['timeout']} s") from exc
    except OSError as exc:
        raise RuntimeFailure(f"{name} hook {path}: {(exc.strerror or str(exc)).lower()}") from exc
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()
        raise RuntimeFailure(f"{name} hook {path} ended with {done.returncode}" + (f": {said}" if said else ""))


def run_all(hooks: list[dict[str, Any]], state: dict[str, Any], name: str) -> None:
    """Run hooks in order; the first failure ends it."""
    for hook in hooks:
        run(hook, state, name)


def run_regardless(hooks: list[dict[str, Any]], state: dict[str, Any], name: str) -> list[str]:
    """Run all hooks; return what failed, for hooks whose failure changes nothing."""
    failures = []
    for hook in hooks:
        try:
            run(hook, state, name)
        except RuntimeFailure as exc:
            failures.append(str(exc))
    return failures
