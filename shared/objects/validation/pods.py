"""Pods: their specs, also inside templates, and the few things that may change once a pod exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects import meta
from shared.objects.repetition import remembered
from shared.objects.usage.quality import quality_class
from shared.objects.validation import containers, metadata, names, placement, volumes
from shared.objects.validation.causes import Cause, forbidden, invalid, not_negative, one_of, required

Object = Mapping[str, Any]

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
RESIZABLE = ("cpu", "memory")

_ONLY_CHANGES = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = pod_spec(spec)
    if spec.get("ephemeralContainers"):
        found += containers.ephemeral_containers(spec, _volumes(spec))
    gates = spec.get("schedulingGates") or ()
    for index, gate in enumerate(gates):
        found += [
            invalid(f"spec.schedulingGates[{index}].name", gate.get("name", ""), one)
            for one in names.qualified_name(gate.get("name", ""))
        ]
    if gates and spec.get("nodeName"):
        found.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return found


def template(at: str, obj: Object) -> list[Cause]:
    """Complaints about a pod template that lies at `at`, for example spec.template."""
    head = obj.get("metadata") or {}
    found = metadata.labels(f"{at}.metadata.labels", head.get("labels"))
    found += metadata.annotations(f"{at}.metadata.annotations", head.get("annotations"))
    spec = obj.get("spec") or {}
    found += [one._replace(field=f"{at}.{one.field}") for one in pod_spec(spec)]
    if spec.get("ephemeralContainers"):
        found.append(forbidden(f"{at}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return found


def pod_spec(spec: Object) -> list[Cause]:
    """Complaints with paths from `spec` on."""
    return list(_pod_spec("", spec))


@remembered
def _pod_spec(_: str, spec: Object) -> tuple[Cause, ...]:
    found = volumes.volumes("spec.volumes", spec.get("volumes") or ())
    found += containers.containers(spec, _volumes(spec))
    found += one_of("spec.restartPolicy", spec.get("restartPolicy", ""), RESTART_POLICIES)
    found += one_of("spec.dnsPolicy", spec.get("dnsPolicy", ""), DNS_POLICIES)
    found += placement.placement(spec)
    found += _numbers(spec)
    found += _names(spec)
    if spec.get("securityContext"):
        found += containers.security("spec.securityContext", spec["securityContext"])
        found += _sysctls(spec["securityContext"])
    if spec.get("resources"):
        found += containers.resources("spec.resources", spec["resources"])
    found += _own_users(spec)
    found += _dns_config(spec)
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        ip = alias.get("ip", "")
        found += [invalid(f"spec.hostAliases[{index}].ip", ip, one) for one in names.address(ip)]
        for place, host in enumerate(alias.get("hostnames") or ()):
            field = f"spec.hostAliases[{index}].hostnames[{place}]"
            found += [invalid(field, host, one) for one in names.subdomain(host)]
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType", "")
        found += [
            invalid(f"spec.readinessGates[{index}].conditionType", kind, one) for one in names.qualified_name(kind)
        ]
    return tuple(found)


def _volumes(spec: Object) -> dict[str, Object]:
    return {one.get("name", ""): one for one in spec.get("volumes") or ()}


def _numbers(spec: Object) -> list[Cause]:
    found = not_negative("spec.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        found.append(invalid("spec.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"))
    return found


def _names(spec: Object) -> list[Cause]:
    found: list[Cause] = []
    for key, rule in (
        ("serviceAccountName", names.subdomain),
        ("nodeName", names.subdomain),
        ("priorityClassName", names.subdomain),
        ("runtimeClassName", names.subdomain),
        ("schedulerName", names.subdomain),
        ("hostname", names.label),
        ("subdomain", names.label),
    ):
        value = spec.get(key)
        if value:
            found += [invalid(f"spec.{key}", value, one) for one in rule(value)]
    if spec.get("preemptionPolicy"):
        found += one_of("spec.preemptionPolicy", spec["preemptionPolicy"], ("PreemptLowerPriority", "Never"))
    for index, one in enumerate(spec.get("imagePullSecrets") or ()):
        if not one.get("name"):
            found.append(required(f"spec.imagePullSecrets[{index}].name"))
    return found


def _sysctls(context: Object) -> list[Cause]:
    found: list[Cause] = []
    for index, one in enumerate(context.get("sysctls") or ()):
        if not one.get("name"):
            found.append(required(f"spec.securityContext.sysctls[{index}].name"))
    policy = context.get("fsGroupChangePolicy")
    if policy is not None:
        found += one_of("spec.securityContext.fsGroupChangePolicy", policy, ("Always", "OnRootMismatch"))
    return found


def _own_users(spec: Object) -> list[Cause]:
    """What a pod with its own user namespace may not have (KEP-127)."""
    if spec.get("hostUsers") is not False:
        return []
    detail = "when `hostUsers` is false"
    found = [forbidden(f"spec.{key}", detail) for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for index, one in enumerate(spec.get(key) or ()):
            if one.get("volumeDevices"):
                found.append(forbidden(f"spec.{key}[{index}].volumeDevices", detail))
    return found


def _dns_config(spec: Object) -> list[Cause]:
    config = spec.get("dnsConfig") or {}
    servers, searches = config.get("nameservers") or (), config.get("searches") or ()
    found: list[Cause] = []
    if spec.get("dnsPolicy") == "None" and not servers:
        found.append(
            required("spec.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
        )
    if len(servers) > MAX_NAMESERVERS:
        detail = f"must not have more than {MAX_NAMESERVERS} nameservers"
        found.append(invalid("spec.dnsConfig.nameservers", list(servers), detail))
    for index, one in enumerate(servers):
        found += [invalid(f"spec.dnsConfig.nameservers[{index}]", one, text) for text in names.address(one)]
    if len(searches) > MAX_SEARCHES:
        found.append(
            invalid("spec.dnsConfig.searches", list(searches), f"must not have more than {MAX_SEARCHES} search paths")
        )
    for index, one in enumerate(config.get("options") or ()):
        if not one.get("name"):
            found.append(required(f"spec.dnsConfig.options[{index}]", "must not be empty"))
    return found


def update(obj: Object, old: Object) -> list[Cause]:
    """What a pod's own endpoint may change: images, a shorter deadline, more tolerations, fewer scheduling gates."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    for key in ("containers", "initContainers"):
        if len(spec.get(key) or ()) != len(before.get(key) or ()):
            return [forbidden(f"spec.{key}", f"pod updates may not add or remove {key}")]
    found = _deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    found += _tolerations(spec.get("tolerations") or [], before.get("tolerations") or [])
    found += _gates(spec.get("schedulingGates") or [], before.get("schedulingGates") or [])
    if _with_allowed_changes(spec, before) != before:
        found.append(forbidden("spec", _ONLY_CHANGES))
    return found


def _with_allowed_changes(spec: Object, before: Object) -> dict[str, Any]:
    """The new spec with everything that may change put back."""
    made: dict[str, Any] = meta.copy(dict(spec))
    for key in ("containers", "initContainers"):
        for one, was in zip(made.get(key) or (), before.get(key) or (), strict=False):
            one["image"] = was.get("image", "")
    allowed = ["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        allowed.append("terminationGracePeriodSeconds")
    if before.get("schedulingGates"):
        allowed += _narrowed_placement(spec, before)
    for key in allowed:
        made.pop(key, None)
        if key in before:
            made[key] = before[key]
    return made


def _narrowed_placement(spec: Object, before: Object) -> list[str]:
    """While a pod is gated its node selector may get entries and a missing node affinity may be set (KEP-3838)."""
    allowed = []
    selector, had = spec.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if had.items() <= selector.items():
        allowed.append("nodeSelector")
    if not (before.get("affinity") or {}).get("nodeAffinity"):
        others = {key: value for key, value in (spec.get("affinity") or {}).items() if key != "nodeAffinity"}
        if others == (before.get("affinity") or {}):
            allowed.append("affinity")
    return allowed


def _deadline(now: int | None, before: int | None) -> list[Cause]:
    if before is None:
        return []
    if now is None:
        return [invalid("spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value")]
    if now > before:
        return [invalid("spec.activeDeadlineSeconds", now, "must be less than or equal to previous value")]
    return []


def _tolerations(now: list[Object], before: list[Object]) -> list[Cause]:
    def same(one: Object) -> dict[str, Any]:
        return {key: value for key, value in one.items() if key != "tolerationSeconds"}

    kept = [same(one) for one in now]
    if all(same(one) in kept for one in before):
        return []
    return [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _gates(now: list[Object], before: list[Object]) -> list[Cause]:
    added = [one for one in now if one not in before]
    if not added:
        return []
    return [
        forbidden(
            "spec.schedulingGates", f"only deletion is allowed, but found new scheduling gate '{added[0].get('name')}'"
        )
    ]


def update_resize(obj: Object, old: Object) -> list[Cause]:
    """What the resize subresource may change: cpu and memory of containers, within the pod's QoS class (KEP-1287)."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    found: list[Cause] = []
    if quality_class(spec) != quality_class(before):
        found.append(invalid("spec", quality_class(spec), "Pod QOS Class may not change as a result of resizing"))
    for key in ("containers", "initContainers"):
        for index, (one, was) in enumerate(zip(spec.get(key) or (), before.get(key) or (), strict=False)):
            at = f"spec.{key}[{index}].resources"
            for kind in ("limits", "requests"):
                now = (one.get("resources") or {}).get(kind) or {}
                had = (was.get("resources") or {}).get(kind) or {}
                found += [
                    forbidden(f"{at}.{kind}", f"resource {kind} cannot be removed")
                    for name in had
                    if name not in now and name in RESIZABLE
                ]
                others = {name for name in {*now, *had} - set(RESIZABLE) if now.get(name) != had.get(name)}
                if others:
                    found.append(forbidden(at, "only cpu and memory resources are mutable"))
            is_sidecar = key == "containers" or was.get("restartPolicy") == "Always"
            if not is_sidecar and one.get("resources") != was.get("resources"):
                found.append(forbidden(at, "resources for non-sidecar init containers are immutable"))
    return found


def update_ephemeral_containers(obj: Object, old: Object) -> list[Cause]:
    """What the ephemeralcontainers subresource may change: containers may be added to the list, nothing else."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    had = before.get("ephemeralContainers") or []
    have = {one.get("name"): one for one in spec.get("ephemeralContainers") or ()}
    found = containers.ephemeral_containers(spec, _volumes(spec))
    for one in had:
        if one.get("name") not in have:
            detail = "existing ephemeral containers may not be removed"
            found.append(forbidden("spec.ephemeralContainers", detail))
        elif have[one.get("name")] != one:
            detail = f'existing ephemeral containers "{one.get("name")}" may not be changed'
            found.append(forbidden("spec.ephemeralContainers", detail))
    return found
