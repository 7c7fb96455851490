"""Which AppArmor profile a container runs under.

The container's own field wins over the deprecated annotation, and that over the pod's field. Without any of them a
container has the default profile where the node could load it, a privileged one none.

Source: Kubernetes "Restrict a Container's Access to Resources with AppArmor", KEP-24.
"""

from collections.abc import Mapping
from typing import Any

from shared.kernel import apparmor

ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
UNCONFINED = ("Unconfined", "")


def wanted(pod: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[str, str] | None:
    """(type, name) that the pod asks for, the name for type Localhost only; None if it asks for nothing. Pure."""
    own = (spec.get("securityContext") or {}).get("appArmorProfile")
    if own is not None:
        return _of_field(own)
    text = (pod["metadata"].get("annotations") or {}).get(f"{ANNOTATION}{spec['name']}")
    if text:
        return _of_annotation(text)
    whole = (pod["spec"].get("securityContext") or {}).get("appArmorProfile")
    return None if whole is None else _of_field(whole)


def profile(pod: Mapping[str, Any], spec: Mapping[str, Any], *, privileged: bool) -> str:
    """The profile's name, "" for none. ValueError if it is not loaded."""
    asked = wanted(pod, spec)
    if asked is None:
        present = not privileged and apparmor.enabled() and apparmor.is_loaded(apparmor.DEFAULT)
        return apparmor.DEFAULT if present else ""
    kind, name = asked
    if kind == "Unconfined" or (kind == "RuntimeDefault" and privileged):
        return ""
    if kind == "RuntimeDefault":
        name = apparmor.DEFAULT
    if not apparmor.is_loaded(name):
        detail = "; the agent loads it when it starts, if apparmor_parser is there" if name == apparmor.DEFAULT else ""
        raise ValueError(f"failed to generate apparmor spec opts: apparmor profile not found {name}{detail}")
    return name


def _of_field(field: Mapping[str, Any]) -> tuple[str, str]:
    return str(field.get("type") or "Unconfined"), str(field.get("localhostProfile") or "")


def _of_annotation(text: str) -> tuple[str, str]:
    if text == "runtime/default":
        return "RuntimeDefault", ""
    if text == "unconfined":
        return UNCONFINED
    return "Localhost", text.removeprefix("localhost/")
