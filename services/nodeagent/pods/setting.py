"""Where a pod's work happens, and the discipline of its hooks.

Each concern (directories, volumes, sandbox, network, files) is one hook with prepare and cleanup. Cleanup is safe
without prepare and may be repeated; a pod's cleanup runs every hook, last first, and reports all errors together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from services.nodeagent.layout import PodLayout
from services.nodeagent.pods.records import PodRecord


@dataclass(slots=True)
class PodSetting:
    """One pod as its hooks see it. `volumes` maps names to paths, `layers` those of them that are unions to what they
    are made of, top first; `renew_at` (unix seconds) is when a token is due."""

    pod: Mapping[str, Any]
    record: PodRecord
    layout: PodLayout
    volumes: dict[str, Path] = field(default_factory=dict)
    read_only_volumes: set[str] = field(default_factory=set)
    layers: dict[str, list[str]] = field(default_factory=dict)
    renew_at: float = 0.0
    netns_path: str = ""


class Hook(Protocol):
    """One concern of a pod."""

    async def prepare(self, setting: PodSetting) -> None:
        """Bring it about; may be repeated."""

    async def cleanup(self, setting: PodSetting) -> None:
        """Take it away; may be repeated, and come without prepare."""


async def prepare(hooks: Sequence[Hook], setting: PodSetting) -> None:
    """Run hooks in order up to the first error, which is raised."""
    for hook in hooks:
        await hook.prepare(setting)


async def cleanup(hooks: Sequence[Hook], setting: PodSetting) -> None:
    """Clean up every hook, last first. Raises one ExceptionGroup of all errors."""
    errors: list[Exception] = []
    for hook in reversed(hooks):
        try:
            await hook.cleanup(setting)
        except Exception as exc:
            errors.append(exc)
    if errors:
        raise ExceptionGroup(f"cleaning up pod {setting.layout.namespace}/{setting.layout.name}", errors)


def describe(error: BaseException) -> str:
    """One line for an error, or for all errors of a group."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in error.exceptions)
    return str(error) or type(error).__name__
