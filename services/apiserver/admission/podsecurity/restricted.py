"""The controls that the restricted standard adds: pods hardened by current practice (Pod Security Standards)."""

from services.apiserver.admission.podsecurity.baseline import any_proc_mount, bad_seccomp, has_user_namespace
from services.apiserver.admission.podsecurity.wording import Complaint, listed, names, plural, quoted, security, setters
from services.apiserver.protocol import Object

ALL = "ALL"
ADDABLE = "NET_BIND_SERVICE"
VOLUMES = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
# versions from which on a control applies, and from which on it spares pods of another system
ESCALATION, CAPABILITIES, ROOT_USER, SECCOMP = 8, 22, 23, 19
OTHER_SYSTEMS = 25
PROC_MOUNT = 35


def escalation(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    if minor < ESCALATION or _is_windows(spec, minor):
        return None
    bad = names(spec, lambda container: security(container).get("allowPrivilegeEscalation") is not False)
    if not bad:
        return None
    detail = f"{listed('container', bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Complaint("allowPrivilegeEscalation != false", detail)


def capabilities(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    if _is_windows(spec, minor):
        return None
    found: set[str] = set()

    def keeps(container: Object) -> bool:
        return ALL not in ((security(container).get("capabilities") or {}).get("drop") or ())

    def adds(container: Object) -> bool:
        added = {one for one in (security(container).get("capabilities") or {}).get("add") or () if one != ADDABLE}
        found.update(added)
        return bool(added)

    keeping, adding = names(spec, keeps), names(spec, adds)
    details = []
    if keeping:
        details.append(f'{listed("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        what = quoted(sorted(found))
        details.append(f"{listed('container', adding)} must not include {what} in securityContext.capabilities.add")
    return Complaint("unrestricted capabilities", "; ".join(details)) if details else None


def proc_mount(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    # the baseline lets pods in a user namespace of their own do it
    return any_proc_mount(metadata, spec, minor) if has_user_namespace(spec, minor) else None


def volumes(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    bad: list[str] = []
    types: set[str] = set()
    for volume in spec.get("volumes") or ():
        sources = [name for name, source in volume.items() if name != "name" and source is not None]
        if any(name in VOLUMES for name in sources):
            continue
        bad.append(volume["name"])
        types.add(sources[0] if sources else "unknown")
    if not bad:
        return None
    use = "uses" if len(bad) == 1 else "use"
    detail = f"{listed('volume', bad)} {use} {plural('restricted volume type', len(types))} {quoted(sorted(types))}"
    return Complaint("restricted volume types", detail)


def non_root(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    if has_user_namespace(spec, minor):
        return None
    own = security(spec).get("runAsNonRoot")
    who = setters(own is False, names(spec, lambda container: security(container).get("runAsNonRoot") is False))
    if who:
        return Complaint("runAsNonRoot != true", f"{who} must not set securityContext.runAsNonRoot=false")
    silent = names(spec, lambda container: security(container).get("runAsNonRoot") is None and not own)
    if not silent:
        return None
    return Complaint(
        "runAsNonRoot != true", f"pod or {listed('container', silent)} must set securityContext.runAsNonRoot=true"
    )


def root_user(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    if minor < ROOT_USER or has_user_namespace(spec, minor):
        return None

    def is_root(owner: Object) -> bool:
        user = security(owner).get("runAsUser")
        return user is not None and user == 0

    who = setters(is_root(spec), names(spec, is_root))
    return Complaint("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def seccomp(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    if _is_windows(spec, minor):
        return None
    wrong = bad_seccomp(spec)
    if wrong is not None:
        return wrong
    own = security(spec).get("seccompProfile") is not None
    silent = names(spec, lambda container: security(container).get("seccompProfile") is None and not own)
    if not silent:
        return None
    what = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Complaint("seccompProfile", f"pod or {listed('container', silent)} {what}")


def _is_windows(spec: Object, minor: int) -> bool:
    return minor >= OTHER_SYSTEMS and (spec.get("os") or {}).get("name") == "windows"
