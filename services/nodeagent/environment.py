"""A container's environment variables and the fields of a pod that they, and downward files, may show.

Pure: objects come from a `Sources`. The order of precedence is kubelet's: service variables, then envFrom, then env.
Source: core/v1 EnvVar, EnvFromSource; Kubernetes docs "Define dependent environment variables", "Service environment".
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING
from typing import Any, Protocol

from shared.errors import WherryError
from shared.objects import quantities

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_VARIABLE = re.compile(r"\$(\$|\(([^()]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]$")
_NAME = re.compile(r"[ -<>-~]+$")


class ConfigurationError(WherryError):
    """A pod refers to something that is not there or not usable; the text names it."""


class ObjectSource(Protocol):
    """Where ConfigMaps and Secrets come from."""

    def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The object, None if it does not exist. `kind` is "configmaps" or "secrets".

        Raises ConfigurationError while it is not known whether it exists.
        """


FileSource = Callable[[str, str], Mapping[str, str] | None]
"""The variables in a file: by name of the volume and path in it; None if there is no such file."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What pods may learn about their node: addresses, and allocatable amounts by resource name."""

    name: str
    addresses: tuple[str, ...]
    allocatable: Mapping[str, str]


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) of known variables; unknown ones stay, and $$ escapes, as in core/v1 EnvVar.value."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _VARIABLE.sub(replace, text)


def unknown(text: str, variables: Mapping[str, str]) -> str:
    """The first variable that `text` refers to and that is not known, "" if there is none."""
    named = (match[2] for match in _VARIABLE.finditer(text) if match[1] != "$")
    return next((name for name in named if name not in variables), "")


def service_variables(services: Iterable[Mapping[str, Any]], namespace: str, links: bool) -> dict[str, str]:
    """Docker-link style variables of the services a pod sees; without `links` only those of the API server."""
    variables: dict[str, str] = {}
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        is_api = metadata["namespace"] == "default" and metadata["name"] == "kubernetes"
        if not is_api and not (links and metadata["namespace"] == namespace):
            continue
        address, ports = spec.get("clusterIP"), spec.get("ports") or ()
        if address in (None, "", "None") or not ports:
            continue
        prefix = metadata["name"].upper().replace("-", "_")
        variables[f"{prefix}_SERVICE_HOST"] = address
        variables[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        for index, port in enumerate(ports):
            variables.update(_link(prefix, address, port, first=index == 0))
    return variables


def _link(prefix: str, address: str, port: Mapping[str, Any], *, first: bool) -> dict[str, str]:
    protocol = (port.get("protocol") or "TCP").lower()
    number = port["port"]
    host = f"[{address}]" if ":" in address else address
    url = f"{protocol}://{host}:{number}"
    name = f"{prefix}_PORT_{number}_{protocol.upper()}"
    variables = {f"{prefix}_PORT": url} if first else {}
    return {
        **variables,
        name: url,
        f"{name}_PROTO": protocol,
        f"{name}_PORT": str(number),
        f"{name}_ADDR": address,
    }


def container_environment(
    pod: Mapping[str, Any],
    spec: Mapping[str, Any],
    objects: ObjectSource,
    services: Iterable[Mapping[str, Any]],
    node: NodeFacts,
    addresses: tuple[str, ...],
    files: FileSource,
) -> dict[str, str]:
    """The variables that the pod asks for, without those of the image. Raises ConfigurationError naming the source."""
    namespace = pod["metadata"]["namespace"]
    links = pod["spec"].get("enableServiceLinks", True)
    from_services = service_variables(services, namespace, links)
    own: dict[str, str] = {}
    for source in spec.get("envFrom") or ():
        own.update(_from_object(source, namespace, objects))
    for variable in spec.get("env") or ():
        name = variable["name"]
        if "valueFrom" in variable and not variable.get("value"):
            value = _value_from(pod, spec, variable["valueFrom"], objects, node, addresses, files)
            if value is None:
                continue
        else:
            value = expand(str(variable.get("value") or ""), {**from_services, **own})
        own[name] = value
    return {**from_services, **own}


def _from_object(source: Mapping[str, Any], namespace: str, objects: ObjectSource) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for kind, field in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
        reference = source.get(field)
        if not reference:
            continue
        found = objects.get(kind, namespace, reference["name"])
        if found is None:
            if reference.get("optional"):
                return {}
            raise ConfigurationError(f'{kind[:-1]} "{reference["name"]}" not found')
        values = {key: decode_value(kind, value) for key, value in (found.get("data") or {}).items()}
        named = {prefix + key: value.decode(errors="replace") for key, value in values.items()}
        return {key: value for key, value in named.items() if _NAME.match(key)}
    return {}


def decode_value(kind: str, value: str) -> bytes:
    """The bytes of one entry of a ConfigMap's or Secret's `data`."""
    return value.encode() if kind == "configmaps" else base64.b64decode(value)


def _value_from(
    pod: Mapping[str, Any],
    spec: Mapping[str, Any],
    source: Mapping[str, Any],
    objects: ObjectSource,
    node: NodeFacts,
    addresses: tuple[str, ...],
    files: FileSource,
) -> str | None:
    if "fileKeyRef" in source:
        return _from_file(source["fileKeyRef"], files)
    if "fieldRef" in source:
        return pod_field(pod, source["fieldRef"]["fieldPath"], node, addresses)
    if "resourceFieldRef" in source:
        return resource_field(pod, spec, source["resourceFieldRef"], node)
    for kind, field in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
        reference = source.get(field)
        if not reference:
            continue
        found = objects.get(kind, pod["metadata"]["namespace"], reference["name"])
        name, key = reference["name"], reference["key"]
        if found is None:
            if reference.get("optional"):
                return None
            raise ConfigurationError(f'{kind[:-1]} "{name}" not found')
        data = found.get("data") or {}
        if key not in data:
            if reference.get("optional"):
                return None
            place = f"{pod['metadata']['namespace']}/{name}"
            raise ConfigurationError(f"couldn't find key {key} in {_KIND[kind]} {place}")
        return decode_value(kind, data[key]).decode(errors="replace")
    raise ConfigurationError("valueFrom names no known source")


def _from_file(reference: Mapping[str, Any], files: FileSource) -> str | None:
    variables = files(reference["volumeName"], reference["path"])
    value = None if variables is None else variables.get(reference["key"])
    if value is None and not reference.get("optional"):
        place = f'file "{reference["path"]}" of volume "{reference["volumeName"]}"'
        missing = f"{place} does not exist" if variables is None else f"couldn't find key {reference['key']} in {place}"
        raise ConfigurationError(missing)
    return value


_KIND = {"configmaps": "ConfigMap", "secrets": "Secret"}


def pod_field(pod: Mapping[str, Any], path: str, node: NodeFacts, addresses: tuple[str, ...]) -> str:
    """The text of one field that the downward API offers. Raises ConfigurationError for any other path."""
    metadata, spec = pod["metadata"], pod["spec"]
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        return str((metadata.get(subscript[1]) or {}).get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return format_map(metadata.get(path.removeprefix("metadata.")) or {})
    fields = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": node.name,
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": node.addresses[0],
        "status.hostIPs": ",".join(node.addresses),
        "status.podIP": addresses[0] if addresses else "",
        "status.podIPs": ",".join(addresses),
    }
    if path not in fields:
        raise ConfigurationError(f"unsupported fieldPath: {path}")
    return str(fields[path])


def format_map(values: Mapping[str, str]) -> str:
    """Labels or annotations as a downward file shows them: sorted, one key="value" a line, quoted like Go's %q."""
    return "\n".join(f"{key}={_quote(values[key])}" for key in sorted(values))


def _quote(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in text) + '"'


def resource_field(
    pod: Mapping[str, Any], spec: Mapping[str, Any], reference: Mapping[str, Any], node: NodeFacts
) -> str:
    """A container's request or limit in units of the divisor, rounded up; an absent limit is the pod's (KEP-2837), or
    else the node's allocatable.
    """
    name = reference.get("containerName") or spec["name"]
    containers = [*(pod["spec"].get("initContainers") or ()), *(pod["spec"].get("containers") or ())]
    target = next((c for c in containers if c["name"] == name), None)
    if target is None:
        raise ConfigurationError(f"container {name} not found")
    kind, _, resource = reference["resource"].partition(".")
    amount = ((target.get("resources") or {}).get(kind) or {}).get(resource)
    if amount is None and kind == "limits":
        whole = (pod["spec"].get("resources") or {}).get("limits") or {}
        amount = whole.get(resource, node.allocatable.get(resource))
    divisor = quantities.parse(str(reference.get("divisor") or "1")) or quantities.parse("1")
    value = quantities.parse(str(amount or "0")) / divisor
    return str(int(value.to_integral_value(rounding=ROUND_CEILING)))
