"""Services and Endpoints."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, PROXIED, column, field, subresource

package = schema.package("core/v1")

PROTOCOLS = ("SCTP", "TCP", "UDP")
TRAFFIC_POLICIES = ("Cluster", "Local")

package.kind(
    "Endpoints",
    field("subsets", 2, "[EndpointSubset]", list_type="atomic"),
)
package.struct(
    "EndpointSubset",
    field("addresses", 1, "[EndpointAddress]", list_type="atomic"),
    field("notReadyAddresses", 2, "[EndpointAddress]", list_type="atomic"),
    field("ports", 3, "[EndpointPort]", list_type="atomic"),
)
package.struct(
    "EndpointAddress",
    field("ip", 1, "string", required=True),
    field("targetRef", 2, "ObjectReference"),
    field("hostname", 3, "string"),
    field("nodeName", 4, "string?"),
    atomic=True,
)
package.struct(
    "EndpointPort",
    field("name", 1, "string"),
    field("port", 2, "int32", required=True),
    field("protocol", 3, "string", fill="TCP", enum=PROTOCOLS),
    field("appProtocol", 4, "string?"),
    atomic=True,
)
package.kind(
    "Service",
    field("spec", 2, "ServiceSpec", always=True),
    field("status", 3, "ServiceStatus", always=True),
)
package.struct(
    "ServiceSpec",
    field("ports", 1, "[ServicePort]", merge_key="port", map_keys=("port", "protocol")),
    field("selector", 2, "{string}", map_type="atomic"),
    field("clusterIP", 3, "string"),
    field("type", 4, "string", fill="ClusterIP", enum=("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")),
    field("externalIPs", 5, "[string]", list_type="atomic"),
    field("sessionAffinity", 7, "string", fill="None", enum=("ClientIP", "None")),
    field("loadBalancerIP", 8, "string"),
    field("loadBalancerSourceRanges", 9, "[string]", list_type="atomic"),
    field("externalName", 10, "string"),
    field("externalTrafficPolicy", 11, "string", enum=TRAFFIC_POLICIES),
    field("healthCheckNodePort", 12, "int32"),
    field("publishNotReadyAddresses", 13, "bool"),
    field("sessionAffinityConfig", 14, "SessionAffinityConfig"),
    field("ipFamilyPolicy", 17, "string?", enum=("PreferDualStack", "RequireDualStack", "SingleStack")),
    field("clusterIPs", 18, "[string]", list_type="atomic"),
    field("ipFamilies", 19, "[string]", enum=("", "IPv4", "IPv6"), list_type="atomic"),
    field("allocateLoadBalancerNodePorts", 20, "bool?"),
    field("loadBalancerClass", 21, "string?"),
    field("internalTrafficPolicy", 22, "string?", enum=TRAFFIC_POLICIES),
    field("trafficDistribution", 23, "string?"),
)
package.struct(
    "ServicePort",
    field("name", 1, "string"),
    field("protocol", 2, "string", default="TCP", enum=PROTOCOLS),
    field("port", 3, "int32", required=True),
    field("targetPort", 4, "IntOrString", always=True),
    field("nodePort", 5, "int32"),
    field("appProtocol", 6, "string?"),
)
package.struct(
    "SessionAffinityConfig",
    field("clientIP", 1, "ClientIPConfig"),
)
package.struct(
    "ClientIPConfig",
    field("timeoutSeconds", 1, "int32?"),
)
package.struct(
    "ServiceStatus",
    field("loadBalancer", 1, "LoadBalancerStatus", always=True),
    field("conditions", 2, "[meta/v1.Condition]", merge_key="type", map_keys=("type",)),
)
package.struct(
    "LoadBalancerStatus",
    field("ingress", 1, "[LoadBalancerIngress]", list_type="atomic"),
)
package.struct(
    "LoadBalancerIngress",
    field("ip", 1, "string"),
    field("hostname", 2, "string"),
    field("ipMode", 3, "string?"),
    field("ports", 4, "[PortStatus]", list_type="atomic"),
)
package.struct(
    "PortStatus",
    field("port", 1, "int32", required=True),
    field("protocol", 2, "string", required=True, enum=PROTOCOLS),
    field("error", 3, "string?"),
)

package.resource(
    "endpoints",
    "Endpoints",
    short_names=("ep",),
    columns=(NAME_COLUMN, column("Endpoints"), column("Age")),
)
package.resource(
    "services",
    "Service",
    short_names=("svc",),
    categories=("all",),
    subresources=(subresource("proxy", "ServiceProxyOptions", verbs=PROXIED), subresource("status", "Service")),
    columns=(
        NAME_COLUMN,
        column("Type"),
        column("Cluster-IP"),
        column("External-IP"),
        column("Port(s)"),
        column("Age"),
        column("Selector", priority=1),
    ),
    field_selectors=("spec.clusterIP", "spec.type"),
)
