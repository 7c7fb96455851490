"""Containers: names, images, ports, environment, probes, resources, security."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from shared.objects import quantities
from shared.objects.validation import names, restarts
from shared.objects.validation.causes import Cause, duplicate, forbidden, invalid, not_negative, one_of, required

Object = Mapping[str, Any]

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
PROTOCOLS = ("SCTP", "TCP", "UDP")

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_FIELD_PATHS = frozenset(
    {
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
_SUBSCRIPTED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_RESOURCE_FIELDS = re.compile(r"(?:limits|requests)\.(?:cpu|memory|ephemeral-storage|hugepages-.+)")
_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})
_NOT_FOR_EPHEMERAL = (
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "resizePolicy",
)


def containers(spec: Object, volumes: Mapping[str, Object]) -> list[Cause]:
    """Complaints about the containers and init containers of a pod spec."""
    regular, first = spec.get("containers") or (), spec.get("initContainers") or ()
    found = [] if regular else [required("spec.containers")]
    seen: set[str] = set()
    host_ports: set[str] = set()
    host_network = bool(spec.get("hostNetwork"))
    for index, one in enumerate(regular):
        found += _container(f"spec.containers[{index}]", one, volumes, seen, host_network)
        found += _host_ports(f"spec.containers[{index}]", one, host_ports)
        if one.get("restartPolicy") == "" or (one.get("restartPolicy") and not _may_restart(one)):
            found.append(unsupported_restart(f"spec.containers[{index}].restartPolicy", one["restartPolicy"]))
    for index, one in enumerate(first):
        at = f"spec.initContainers[{index}]"
        found += _container(at, one, volumes, seen, host_network)
        if one.get("restartPolicy") != "Always":
            for probe in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
                if one.get(probe):
                    found.append(
                        forbidden(f"{at}.{probe}", "may not be set for init containers without restartPolicy=Always")
                    )
    return found


def ephemeral_containers(spec: Object, volumes: Mapping[str, Object]) -> list[Cause]:
    taken = {one.get("name", "") for key in ("containers", "initContainers") for one in spec.get(key) or ()}
    targets = {one.get("name", "") for one in spec.get("containers") or ()}
    found: list[Cause] = []
    for index, one in enumerate(spec.get("ephemeralContainers") or ()):
        at = f"spec.ephemeralContainers[{index}]"
        found += _container(at, one, volumes, taken, False)
        for key in _NOT_FOR_EPHEMERAL:
            if one.get(key):
                found.append(forbidden(f"{at}.{key}", "cannot be set for an Ephemeral Container"))
        target = one.get("targetContainerName")
        if target and target not in targets:
            found.append(Cause("FieldValueNotFound", f'Not found: "{target}"', f"{at}.targetContainerName"))
    return found


def unsupported_restart(at: str, value: str) -> Cause:
    return Cause(
        "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: "Always", "Never", "OnFailure"', at
    )


def _may_restart(container: Object) -> bool:
    return container.get("restartPolicy") in ("Always", "Never", "OnFailure")


def _container(at: str, one: Object, volumes: Mapping[str, Object], seen: set[str], host_network: bool) -> list[Cause]:
    name = one.get("name", "")
    found: list[Cause] = []
    if not name:
        found.append(required(f"{at}.name"))
    else:
        found += [invalid(f"{at}.name", name, text) for text in names.label(name)]
        if name in seen:
            found.append(duplicate(f"{at}.name", name))
        seen.add(name)
    found += image(at, one)
    found += one_of(f"{at}.imagePullPolicy", one.get("imagePullPolicy", ""), PULL_POLICIES)
    found += one_of(f"{at}.terminationMessagePolicy", one.get("terminationMessagePolicy", ""), MESSAGE_POLICIES)
    if "ports" in one:
        found += _ports(f"{at}.ports", one["ports"], host_network)
    if "env" in one:
        found += _environment(f"{at}.env", one["env"])
    if "envFrom" in one:
        found += _environment_from(f"{at}.envFrom", one["envFrom"])
    if "volumeMounts" in one:
        found += _mounts(f"{at}.volumeMounts", one["volumeMounts"], volumes)
    if one.get("resources"):
        found += resources(f"{at}.resources", one["resources"])
    if "securityContext" in one:
        found += security(f"{at}.securityContext", one["securityContext"])
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in one:
            found += _probe(f"{at}.{probe}", one[probe], only_one_success=probe != "readinessProbe")
    found += restarts.rules(at, one)
    for hook in ("postStart", "preStop"):
        handler = (one.get("lifecycle") or {}).get(hook)
        if handler is not None:
            found += _handler(f"{at}.lifecycle.{hook}", handler)
    return found


def image(at: str, one: Object) -> list[Cause]:
    text = one.get("image", "")
    if not text:
        return [required(f"{at}.image")]
    if text != text.strip():
        return [invalid(f"{at}.image", text, "must not have leading or trailing whitespace")]
    return []


def _ports(at: str, ports: Iterable[Object], host_network: bool) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        field = f"{at}[{index}]"
        name = port.get("name", "")
        if name:
            complaints = names.port_name(name)
            found += [invalid(f"{field}.name", name, text) for text in complaints]
            if not complaints and name in seen:
                found.append(duplicate(f"{field}.name", name))
            seen.add(name)
        inside, outside = port.get("containerPort", 0), port.get("hostPort", 0)
        if inside == 0:
            found.append(required(f"{field}.containerPort"))
        else:
            found += [invalid(f"{field}.containerPort", inside, text) for text in names.port_number(inside)]
        if outside:
            found += [invalid(f"{field}.hostPort", outside, text) for text in names.port_number(outside)]
            if host_network and outside != inside:
                detail = "must match `containerPort` when `hostNetwork` is true"
                found.append(invalid(f"{field}.hostPort", outside, detail))
        protocol = port.get("protocol", "")
        found += one_of(f"{field}.protocol", protocol, PROTOCOLS) if protocol else [required(f"{field}.protocol")]
    return found


def _host_ports(at: str, one: Object, seen: set[str]) -> list[Cause]:
    found: list[Cause] = []
    for index, port in enumerate(one.get("ports") or ()):
        if not port.get("hostPort"):
            continue
        key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
        if key in seen:
            found.append(duplicate(f"{at}.ports[{index}].hostPort", key))
        seen.add(key)
    return found


def _environment(at: str, variables: Iterable[Object]) -> list[Cause]:
    found: list[Cause] = []
    for index, variable in enumerate(variables):
        field = f"{at}[{index}]"
        name = variable.get("name", "")
        if not name:
            found.append(required(f"{field}.name"))
        else:
            found += [invalid(f"{field}.name", name, text) for text in names.environment_variable(name)]
        source = variable.get("valueFrom")
        if source is not None:
            found += _environment_source(f"{field}.valueFrom", source)
            if variable.get("value"):
                found.append(invalid(f"{field}.valueFrom", "", "may not be specified when `value` is not empty"))
    return found


def _environment_source(at: str, source: Object) -> list[Cause]:
    given = [key for key in _ENV_SOURCES if key in source]
    found: list[Cause] = []
    if not given:
        listed = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        found.append(invalid(at, "", f"must specify one of: {listed}"))
    elif len(given) > 1:
        found.append(invalid(at, "", "may not have more than one field specified at a time"))
    if "fieldRef" in source:
        found += field_reference(
            f"{at}.fieldRef", source["fieldRef"], allowed=_FIELD_PATHS - {"metadata.labels", "metadata.annotations"}
        )
    if "resourceFieldRef" in source:
        found += resource_reference(f"{at}.resourceFieldRef", source["resourceFieldRef"])
    for key in ("configMapKeyRef", "secretKeyRef"):
        if key in source:
            found += _key_reference(f"{at}.{key}", source[key])
    if "fileKeyRef" in source:
        reference = source["fileKeyRef"]
        found += [required(f"{at}.fileKeyRef.{key}") for key in ("volumeName", "path", "key") if not reference.get(key)]
        found += relative_path(f"{at}.fileKeyRef.path", reference.get("path") or "")
    return found


def _key_reference(at: str, reference: Object) -> list[Cause]:
    found: list[Cause] = []
    if not reference.get("name"):
        found.append(required(f"{at}.name"))
    key = reference.get("key", "")
    if not key:
        return [*found, required(f"{at}.key")]
    return found + [invalid(f"{at}.key", key, text) for text in names.config_key(key)]


def field_reference(at: str, reference: Object, allowed: frozenset[str] = _FIELD_PATHS) -> list[Cause]:
    """Complaints about a downward API field reference, such as metadata.labels['app']."""
    path = reference.get("fieldPath", "")
    if not path:
        return [required(f"{at}.fieldPath")]
    subscript = _SUBSCRIPTED.fullmatch(path)
    if subscript is not None:
        key = subscript[2].lower() if subscript[1] == "annotations" else subscript[2]
        return [invalid(f"{at}.fieldPath", path, text) for text in names.qualified_name(key)]
    if path in allowed:
        return []
    if path in _FIELD_PATHS:
        return [Cause("FieldValueNotSupported", f'Unsupported value: "{path}"', f"{at}.fieldPath")]
    return [invalid(f"{at}.fieldPath", path, f"error converting fieldPath: field label not supported: {path}")]


def resource_reference(at: str, reference: Object) -> list[Cause]:
    name = reference.get("resource", "")
    if not name:
        return [required(f"{at}.resource")]
    if _RESOURCE_FIELDS.fullmatch(name) is None:
        listed = ("limits.cpu", "limits.ephemeral-storage", "limits.memory")
        return one_of(f"{at}.resource", name, (*listed, *(one.replace("limits", "requests") for one in listed)))
    return []


def _environment_from(at: str, sources: Iterable[Object]) -> list[Cause]:
    found: list[Cause] = []
    for index, source in enumerate(sources):
        field = f"{at}[{index}]"
        prefix = source.get("prefix")
        if prefix:
            found += [invalid(f"{field}.prefix", prefix, text) for text in names.environment_variable(prefix)]
        given = [key for key in ("configMapRef", "secretRef") if key in source]
        if not given:
            found.append(invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            found.append(invalid(at, "", "may not have more than one field specified at a time"))
        found += [required(f"{field}.{key}.name") for key in given if not source[key].get("name")]
    return found


def _mounts(at: str, mounts: Iterable[Object], volumes: Mapping[str, Object]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        field = f"{at}[{index}]"
        name, path = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            found.append(required(f"{field}.name"))
        elif name not in volumes:
            found.append(Cause("FieldValueNotFound", f'Not found: "{name}"', f"{field}.name"))
        if not path:
            found.append(required(f"{field}.mountPath"))
        elif path in seen:
            found.append(invalid(f"{field}.mountPath", path, "must be unique"))
        seen.add(path)
        for key in ("subPath", "subPathExpr"):
            if mount.get(key):
                found += relative_path(f"{field}.{key}", mount[key])
        if mount.get("subPath") and mount.get("subPathExpr"):
            found.append(
                invalid(f"{field}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
            )
        propagation = mount.get("mountPropagation")
        if propagation is not None:
            found += one_of(f"{field}.mountPropagation", propagation, ("Bidirectional", "HostToContainer", "None"))
    return found


def relative_path(at: str, path: str) -> list[Cause]:
    """Complaints about a path that must stay below where it starts."""
    found = [invalid(at, path, "must be a relative path")] if path.startswith("/") else []
    if ".." in path.split("/"):
        found.append(invalid(at, path, "must not contain '..'"))
    return found


def _probe(at: str, probe: Object, *, only_one_success: bool) -> list[Cause]:
    found = _handler(at, probe)
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        found += not_negative(f"{at}.{key}", probe.get(key))
    if only_one_success and probe.get("successThreshold", 1) > 1:
        found.append(invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        found.append(invalid(f"{at}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return found


def _handler(at: str, handler: Object) -> list[Cause]:
    given = [key for key in _HANDLERS if key in handler]
    if not given:
        return [required(at, "must specify a handler type")]
    found: list[Cause] = []
    match given[0]:
        case "exec":
            if not handler["exec"].get("command"):
                found.append(required(f"{at}.exec.command"))
        case "httpGet" | "tcpSocket" | "grpc":
            action = handler[given[0]]
            port = action.get("port", 0)
            found += [invalid(f"{at}.{given[0]}.port", port, text) for text in names.port(port)]
            if given[0] == "httpGet":
                if not action.get("path"):
                    found.append(required(f"{at}.httpGet.path"))
                found += one_of(f"{at}.httpGet.scheme", action.get("scheme"), ("HTTP", "HTTPS"))
        case "sleep":
            found += not_negative(f"{at}.sleep.seconds", handler["sleep"].get("seconds"))
    return found + [forbidden(f"{at}.{key}", "may not specify more than 1 handler type") for key in given[1:]]


def resources(at: str, given: Object) -> list[Cause]:
    """Complaints about requests and limits."""
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    found: list[Cause] = []
    for key, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            found += _resource_amount(f"{at}.{key}[{name}]", name, amount)
    for name, amount in requests.items():
        limit = limits.get(name)
        if limit is None:
            if not overcommits(name):
                found.append(required(f"{at}.limits", "Limit must be set for non overcommitable resources"))
        elif not overcommits(name) and quantities.parse(amount) != quantities.parse(limit):
            found.append(invalid(f"{at}.requests", amount, f"must be equal to {name} limit of {limit}"))
        elif quantities.parse(amount) > quantities.parse(limit):
            found.append(invalid(f"{at}.requests", amount, f"must be less than or equal to {name} limit of {limit}"))
    return found


def overcommits(name: str) -> bool:
    """Whether requests for the resource may stay below its limit; devices and huge pages cannot be shared."""
    return name in _STANDARD_RESOURCES or name.startswith("kubernetes.io/")


def _resource_amount(at: str, name: str, amount: str) -> list[Cause]:
    found: list[Cause] = [invalid(at, name, text) for text in names.qualified_name(name)]
    if "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
        found.append(invalid(at, name, "must be a standard resource type or fully qualified"))
        found.append(invalid(at, name, "must be a standard resource for containers"))
    value = quantities.parse(amount)
    if value < 0:
        found.append(invalid(at, amount, "must be greater than or equal to 0"))
    elif "/" in name and not overcommits(name) and value != int(value):
        found.append(invalid(at, amount, "must be an integer"))
    return found


def security(at: str, context: Object) -> list[Cause]:
    """Complaints about a container's or a pod's security context."""
    found: list[Cause] = []
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        value = context.get(key)
        if value is not None and not 0 <= value < 2**31:
            found.append(invalid(f"{at}.{key}", value, "must be between 0 and 2147483647, inclusive"))
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group < 2**31:
            found.append(
                invalid(f"{at}.supplementalGroups[{index}]", group, "must be between 0 and 2147483647, inclusive")
            )
    if context.get("privileged") and context.get("allowPrivilegeEscalation") is False:
        detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        found.append(invalid(at, dict(context), detail))
    if (
        "SYS_ADMIN" in (context.get("capabilities") or {}).get("add", ())
        and context.get("allowPrivilegeEscalation") is False
    ):
        detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        found.append(invalid(at, dict(context), detail))
    if context.get("procMount") is not None:
        found += one_of(f"{at}.procMount", context["procMount"], ("Default", "Unmasked"))
    for key in ("seccompProfile", "appArmorProfile"):
        profile = context.get(key)
        if profile is not None:
            found += _profile(f"{at}.{key}", profile)
    return found


def _profile(at: str, profile: Object) -> list[Cause]:
    kind = profile.get("type", "")
    found = (
        one_of(f"{at}.type", kind, ("Localhost", "RuntimeDefault", "Unconfined")) if kind else [required(f"{at}.type")]
    )
    local = profile.get("localhostProfile")
    if kind == "Localhost" and not local:
        found.append(required(f"{at}.localhostProfile", f"must be set when {at.rpartition('.')[2]} type is Localhost"))
    elif kind != "Localhost" and local is not None:
        found.append(invalid(f"{at}.localhostProfile", local, "can only be set when seccomp type is Localhost"))
    return found
