"""Which addresses and ports the spec of a Service has and needs; pure, so that the allocator only picks numbers.

The rules are those of Kubernetes' Service strategy: what a client leaves out it keeps, what a change of type makes
superfluous it loses.
"""

from services.apiserver.protocol import Object
from shared.objects.validation.causes import Cause, invalid

ADDRESSED = ("ClusterIP", "NodePort", "LoadBalancer")
HEADLESS = "None"


def needs_address(spec: Object) -> bool:
    """Whether the Service has a cluster address (not ExternalName, not headless)."""
    return spec.get("type", "ClusterIP") in ADDRESSED and spec.get("clusterIP") != HEADLESS


def needs_node_ports(spec: Object) -> bool:
    """Whether every port gets a node port."""
    kind = spec.get("type", "ClusterIP")
    return kind == "NodePort" or (kind == "LoadBalancer" and bool(spec.get("allocateLoadBalancerNodePorts", True)))


def needs_health_check_port(spec: Object) -> bool:
    """Whether a load balancer asks the nodes which of them have endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def unconfigured(spec: Object) -> list[Cause]:
    """What a new Service asks for of address families that a cluster with IPv4 alone does not have."""
    if not needs_address(spec) and not spec.get("selector"):
        # others give the endpoints of a headless Service without selector their addresses
        return []
    at = "spec.ipFamilies"
    found = [
        invalid(f"{at}[{index}]", one, "not configured on this cluster")
        for index, one in enumerate(spec.get("ipFamilies") or ())
        if one != "IPv4"
    ]
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        detail = "this cluster is not configured for dual-stack services"
        found.append(invalid("spec.ipFamilyPolicy", "RequireDualStack", detail))
    return found


def keep_allocated(obj: Object, old: Object) -> None:
    """Fill in what was allocated before and what the client left out; in place."""
    spec, old_spec = obj.get("spec", {}), old.get("spec", {})
    if spec.get("type", "ClusterIP") not in ADDRESSED or old_spec.get("type", "ClusterIP") not in ADDRESSED:
        return
    if not spec.get("clusterIP") and not spec.get("clusterIPs"):
        for name in ("clusterIP", "clusterIPs"):
            if name in old_spec:
                spec[name] = old_spec[name]
    for name in ("ipFamilies", "ipFamilyPolicy"):
        if not spec.get(name) and name in old_spec:
            spec[name] = old_spec[name]
    if needs_node_ports(spec) and needs_node_ports(old_spec):
        known = {_identity(port): port.get("nodePort") for port in old_spec.get("ports") or ()}
        taken = {port.get("nodePort") for port in spec.get("ports") or ()}
        for port in spec.get("ports") or ():
            before = known.get(_identity(port))
            if not port.get("nodePort") and before and before not in taken:
                port["nodePort"] = before
    if needs_health_check_port(spec) and needs_health_check_port(old_spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old_spec.get("healthCheckNodePort")


def drop_unneeded(obj: Object, old: Object) -> None:
    """Take out what the new type does not have, if the client only carried it along; in place."""
    spec, old_spec = obj.get("spec", {}), old.get("spec", {})
    if spec.get("type") == "ExternalName" and old_spec.get("type") != "ExternalName":
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if spec.get(name) == old_spec.get(name):
                spec.pop(name, None)
    if needs_node_ports(old_spec) and spec.get("type") not in ("NodePort", "LoadBalancer"):
        before = {_identity(port): port.get("nodePort") for port in old_spec.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") == before.get(_identity(port)):
                port.pop("nodePort", None)
        if spec.get("type", "ClusterIP") == "ClusterIP" and not spec.get("externalIPs"):
            spec.pop("externalTrafficPolicy", None)
    lost_health_check = needs_health_check_port(old_spec) and not needs_health_check_port(spec)
    if lost_health_check and spec.get("healthCheckNodePort") == old_spec.get("healthCheckNodePort"):
        spec.pop("healthCheckNodePort", None)
    if old_spec.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(name) == old_spec.get(name):
                spec.pop(name, None)


def addresses(spec: Object) -> list[str]:
    """The cluster addresses that are set."""
    if not needs_address(spec):
        return []
    found = [one for one in (spec.get("clusterIPs") or [spec.get("clusterIP")]) if one and one != HEADLESS]
    return list(dict.fromkeys(found))


def node_ports(spec: Object) -> list[int]:
    """The node ports that are set, the health check port among them; one number may serve several protocols."""
    if spec.get("type", "ClusterIP") not in ("NodePort", "LoadBalancer"):
        return []
    found = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        found.append(spec["healthCheckNodePort"])
    return list(dict.fromkeys(found))


def _identity(port: Object) -> tuple[str, int | None]:
    return port.get("protocol", "TCP"), port.get("port")
