"""Localhost seccomp profiles: from a file of the node's `seccomp` directory to `linux.seccomp` of the OCI runtime-spec.

Two forms are in use, and both are read: the runtime-spec's own, and Docker's, whose rules may be for some capabilities,
architectures or kernels only. Source: Docker profiles/seccomp (Seccomp, Filter), Kubernetes "Seccomp and Kubernetes".
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from services.nodeagent.environment import ConfigurationError

_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_ARCHES = {"x86_64": ("amd64",), "aarch64": ("arm64",)}
_CARRIED = ("action", "args", "errnoRet", "names")


def load(directory: Path, name: str, capabilities: Collection[str]) -> dict[str, Any]:
    """The profile for a container with these capabilities (without CAP_). ConfigurationError naming the profile."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ConfigurationError(f'seccomp profile "{name}" must be a path below the node\'s seccomp directory')
    try:
        document = json.loads((directory / path).read_text(encoding="utf-8"))
    except OSError as exc:
        text = f'cannot load seccomp profile "{directory / path}": {(exc.strerror or "").lower()}'
        raise ConfigurationError(text) from exc
    except ValueError as exc:
        raise ConfigurationError(f'cannot load seccomp profile "{directory / path}": {exc}') from exc
    if not isinstance(document, dict) or "defaultAction" not in document:
        raise ConfigurationError(f'cannot load seccomp profile "{directory / path}": it has no defaultAction')
    return resolved(document, capabilities, os.uname().machine, os.uname().release)


def resolved(document: Mapping[str, Any], capabilities: Collection[str], machine: str, release: str) -> dict[str, Any]:
    """The runtime-spec's form of either form, for one container on one machine. Pure."""
    profile = {key: value for key, value in document.items() if key not in ("archMap", "syscalls")}
    native = _NATIVE.get(machine, "")
    if document.get("archMap"):
        own = [entry for entry in document["archMap"] if entry.get("architecture") == native]
        profile["architectures"] = [native, *(name for entry in own for name in entry.get("subArchitectures") or ())]
    held = {name.upper().removeprefix("CAP_") for name in capabilities}
    profile["syscalls"] = [
        _rule(rule) for rule in document.get("syscalls") or () if _applies(rule, held, machine, release)
    ]
    return profile


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: rule[key] for key in _CARRIED if rule.get(key) is not None}
    if not made.get("names") and rule.get("name"):
        made["names"] = [rule["name"]]
    return made


def _applies(rule: Mapping[str, Any], held: Collection[str], machine: str, release: str) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    arches = (*_ARCHES.get(machine, ()), machine)
    if any(_capability(name) not in held for name in includes.get("caps") or ()):
        return False
    if includes.get("arches") and not set(arches) & set(includes["arches"]):
        return False
    if includes.get("minKernel") and _version(release) < _version(includes["minKernel"]):
        return False
    if any(_capability(name) in held for name in excludes.get("caps") or ()):
        return False
    if set(arches) & set(excludes.get("arches") or ()):
        return False
    return not (excludes.get("minKernel") and _version(release) >= _version(excludes["minKernel"]))


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _version(text: str) -> tuple[int, int]:
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split("-")[0].split(".")[:2]]
    return (*numbers, 0, 0)[:2]  # type: ignore[return-value]
