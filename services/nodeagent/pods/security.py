"""Security contexts of pod and container, merged, as the values that a container is started with.

Source: core/v1 PodSecurityContext, SecurityContext; the container's own fields win over the pod's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.nodeagent import users
from services.nodeagent.environment import ConfigurationError
from services.nodeagent.images.model import Image
from services.nodeagent.pods import specs
from services.nodeagent.runtime.model import Capabilities


@dataclass(frozen=True, slots=True)
class Security:
    """What a container may do and as whom."""

    identity: users.Identity
    privileged: bool
    no_new_privileges: bool
    read_only_root: bool
    capabilities: Capabilities
    seccomp: str
    unmasked_proc: bool
    seccomp_file: str = ""


def merged(pod: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The container's security context over the pod's."""
    own = {key: value for key, value in (spec.get("securityContext") or {}).items() if value is not None}
    return {**(pod["spec"].get("securityContext") or {}), **own}


def fs_group(pod: Mapping[str, Any]) -> int | None:
    value = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return None if value is None else int(value)


def security(pod: Mapping[str, Any], spec: Mapping[str, Any], image: Image) -> Security:
    """Resolve a container's security. Raises ConfigurationError if runAsNonRoot forbids it or a name is unknown."""
    context = merged(pod, spec)
    run_as = context.get("runAsUser")
    group = fs_group(pod)
    supplemental = [*(context.get("supplementalGroups") or ()), *([group] if group is not None else ())]
    if context.get("runAsNonRoot") and run_as is None and not users.is_numeric(image.config.user):
        raise ConfigurationError(
            f"container has runAsNonRoot and image has non-numeric user ({image.config.user.partition(':')[0]}), "
            f"cannot verify user is non-root ({_place(pod, spec)})"
        )
    identity = users.resolve(
        image.layers,
        image.config.user,
        None if run_as is None else int(run_as),
        context.get("runAsGroup"),
        [int(g) for g in supplemental],
        strict_groups=context.get("supplementalGroupsPolicy") == "Strict",
    )
    if context.get("runAsNonRoot") and identity.uid == 0:
        source = "container's runAsUser breaks non-root policy" if run_as is not None else "image will run as root"
        raise ConfigurationError(f"container has runAsNonRoot and {source} ({_place(pod, spec)})")
    privileged = bool(context.get("privileged"))
    capabilities = context.get("capabilities") or {}
    return Security(
        identity=identity,
        privileged=privileged,
        no_new_privileges=context.get("allowPrivilegeEscalation") is False,
        read_only_root=bool(context.get("readOnlyRootFilesystem")),
        capabilities=Capabilities(list(capabilities.get("add") or ()), list(capabilities.get("drop") or ())),
        seccomp=_seccomp(context, privileged),
        unmasked_proc=context.get("procMount") == "Unmasked",
        seccomp_file=_seccomp_file(context, privileged),
    )


def _place(pod: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    return f'pod: "{specs.place(pod)}", container: {spec["name"]}'


def _seccomp(context: Mapping[str, Any], privileged: bool) -> str:
    kind = (context.get("seccompProfile") or {}).get("type") or "RuntimeDefault"
    return "unconfined" if privileged or kind == "Unconfined" else "default"


def _seccomp_file(context: Mapping[str, Any], privileged: bool) -> str:
    profile = context.get("seccompProfile") or {}
    return str(profile.get("localhostProfile") or "") if profile.get("type") == "Localhost" and not privileged else ""
