"""The controls of the baseline standard: what would let a pod out of its container (Pod Security Standards).

Each takes a pod's metadata, its spec and the minor version that the namespace means, and returns a complaint or None.
"""

from services.apiserver.admission.podsecurity.wording import (
    Complaint,
    containers,
    listed,
    names,
    plural,
    quoted,
    security,
    setters,
)
from services.apiserver.protocol import Object

APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
PROFILES = ("RuntimeDefault", "Localhost")
CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
# sysctl -> minor version from which on it is known to be safe
SYSCTLS = {
    "kernel.shm_rmid_forced": 0,
    "net.ipv4.ip_local_port_range": 0,
    "net.ipv4.ip_unprivileged_port_start": 0,
    "net.ipv4.ping_group_range": 0,
    "net.ipv4.tcp_syncookies": 0,
    "net.ipv4.ip_local_reserved_ports": 27,
    "net.ipv4.tcp_keepalive_time": 29,
    "net.ipv4.tcp_fin_timeout": 29,
    "net.ipv4.tcp_keepalive_intvl": 29,
    "net.ipv4.tcp_keepalive_probes": 29,
    "net.ipv4.tcp_rmem": 32,
    "net.ipv4.tcp_wmem": 32,
}
SELINUX_TYPES = {"": 0, "container_t": 0, "container_init_t": 0, "container_kvm_t": 0, "container_engine_t": 31}
HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
# from this version on, a pod in a user namespace of its own may do what harms nobody outside of it (KEP-127)
USER_NAMESPACES = 35
PROBE_HOSTS = 34
SECCOMP_FIELDS = 19


def _bad_profiles(spec: Object, field: str) -> tuple[str, list[str]]:
    """Who sets the type of that profile to one that is none ("" if nobody), and to which, sorted."""
    values: set[str] = set()

    def is_bad(owner: Object) -> bool:
        profile = security(owner).get(field)
        if profile is None or profile.get("type") in PROFILES:
            return False
        values.add(profile.get("type", ""))
        return True

    return setters(is_bad(spec), names(spec, is_bad)), sorted(values)


def apparmor(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    who, values = _bad_profiles(spec, "appArmorProfile")
    annotations = sorted(
        f'{name}="{value}"'
        for name, value in (metadata.get("annotations") or {}).items()
        if name.startswith(APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    who = " and ".join(filter(None, (who, plural("annotation", len(annotations)) if annotations else "")))
    if not who:
        return None
    shown = [*values, *annotations]
    reason = plural("forbidden AppArmor profile", len(shown))
    return Complaint(reason, f"{who} must not set AppArmor profile type to {quoted(shown)}")


def capabilities(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    found: set[str] = set()

    def is_bad(container: Object) -> bool:
        added = set((security(container).get("capabilities") or {}).get("add") or ()) - CAPABILITIES
        found.update(added)
        return bool(added)

    bad = names(spec, is_bad)
    if not bad:
        return None
    detail = f"{listed('container', bad)} must not include {quoted(sorted(found))} in securityContext.capabilities.add"
    return Complaint("non-default capabilities", detail)


def host_namespaces(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    used = [f"{name}=true" for name in HOST_NAMESPACES if spec.get(name)]
    return Complaint("host namespaces", ", ".join(used)) if used else None


def host_path(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    bad = [volume["name"] for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Complaint("hostPath volumes", listed("volume", bad)) if bad else None


def host_ports(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    found: set[str] = set()

    def is_bad(container: Object) -> bool:
        used = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        found.update(used)
        return bool(used)

    bad = names(spec, is_bad)
    if not bad:
        return None
    use = "uses" if len(bad) == 1 else "use"
    detail = f"{listed('container', bad)} {use} {plural('hostPort', len(found))} {', '.join(sorted(found))}"
    return Complaint("hostPort", detail)


def probe_hosts(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    if minor < PROBE_HOSTS:
        return None
    found: set[str] = set()
    bad: set[str] = set()
    for container in containers(spec):
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(name) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [lifecycle.get(name) for name in ("postStart", "preStop")]
        for handler in handlers:
            actions = ((handler or {}).get(name) or {} for name in ("httpGet", "tcpSocket"))
            hosts = {action["host"] for action in actions if action.get("host")}
            if hosts:
                found |= hosts
                bad.add(container["name"])
    if not bad:
        return None
    use = "uses" if len(bad) == 1 else "use"
    detail = f"{listed('container', sorted(bad))} {use} {listed('probe or lifecycle host', sorted(found))}"
    return Complaint("probe or lifecycle host", detail)


def privileged(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    bad = names(spec, lambda container: security(container).get("privileged"))
    if not bad:
        return None
    return Complaint("privileged", f"{listed('container', bad)} must not set securityContext.privileged=true")


def proc_mount(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    return None if has_user_namespace(spec, minor) else any_proc_mount(metadata, spec, minor)


def any_proc_mount(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    found: set[str] = set()

    def is_bad(container: Object) -> bool:
        kind = security(container).get("procMount")
        if kind in (None, "Default"):
            return False
        found.add(kind)
        return True

    bad = names(spec, is_bad)
    if not bad:
        return None
    detail = f"{listed('container', bad)} must not set securityContext.procMount to {quoted(sorted(found))}"
    return Complaint("procMount", detail)


def selinux(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    types: set[str] = set()
    set_too: set[str] = set()

    def is_bad(owner: Object) -> bool:
        options = security(owner).get("seLinuxOptions") or {}
        kind = options.get("type", "")
        is_known = kind in SELINUX_TYPES and SELINUX_TYPES[kind] <= minor
        named = {name for name in ("user", "role") if options.get(name)}
        set_too.update(named)
        if not is_known:
            types.add(kind)
        return bool(named) or not is_known

    who = setters(is_bad(spec), names(spec, is_bad))
    if not who:
        return None
    what = [listed("type", sorted(types))] if types else []
    what += [f"{name} may not be set" for name in ("user", "role") if name in set_too]
    return Complaint("seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(what)}")


def seccomp(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    if minor < SECCOMP_FIELDS:
        return _seccomp_annotations(metadata, spec)
    return bad_seccomp(spec)


def bad_seccomp(spec: Object) -> Complaint | None:
    """The complaint about profiles that are none."""
    who, values = _bad_profiles(spec, "seccompProfile")
    if not who:
        return None
    detail = f"{who} must not set securityContext.seccompProfile.type to {quoted(values)}"
    return Complaint("seccompProfile", detail)


def _seccomp_annotations(metadata: Object, spec: Object) -> Complaint | None:
    annotations = metadata.get("annotations") or {}
    keys = [SECCOMP_POD, *(SECCOMP_CONTAINER + one["name"] for one in containers(spec))]
    bad = sorted(
        f'{key}="{annotations[key]}"'
        for key in keys
        if key in annotations
        and annotations[key] not in ("runtime/default", "docker/default")
        and not annotations[key].startswith("localhost/")
    )
    if not bad:
        return None
    return Complaint("seccompProfile", f"forbidden {plural('annotation', len(bad))} {', '.join(bad)}")


def sysctls(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    given = [one.get("name", "") for one in security(spec).get("sysctls") or ()]
    bad = [name for name in given if name not in SYSCTLS or SYSCTLS[name] > minor]
    return Complaint("forbidden sysctls", ", ".join(bad)) if bad else None


def windows_host_process(metadata: Object, spec: Object, minor: int) -> Complaint | None:
    def is_bad(owner: Object) -> bool:
        return bool((security(owner).get("windowsOptions") or {}).get("hostProcess"))

    who = setters(is_bad(spec), names(spec, is_bad))
    if not who:
        return None
    return Complaint("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")


def has_user_namespace(spec: Object, minor: int) -> bool:
    """Whether root in the pod is nobody on the node."""
    return minor >= USER_NAMESPACES and spec.get("hostUsers") is False
