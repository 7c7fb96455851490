"""Ingresses, network policies, service address ranges."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("networking/v1")

PROTOCOLS = ("SCTP", "TCP", "UDP")

package.kind(
    "IPAddress",
    field("spec", 2, "IPAddressSpec", required=True),
)
package.struct(
    "IPAddressSpec",
    field("parentRef", 1, "ParentReference", required=True, always=False, immutable=True),
)
package.struct(
    "ParentReference",
    field("group", 1, "string"),
    field("resource", 2, "string", required=True, always=False),
    field("namespace", 3, "string"),
    field("name", 4, "string", required=True, always=False),
)
package.kind(
    "Ingress",
    field("spec", 2, "IngressSpec", always=True),
    field("status", 3, "IngressStatus", always=True),
)
package.struct(
    "IngressSpec",
    field("defaultBackend", 1, "IngressBackend"),
    field("tls", 2, "[IngressTLS]", list_type="atomic"),
    field("rules", 3, "[IngressRule]", list_type="atomic"),
    field("ingressClassName", 4, "string?"),
)
package.struct(
    "IngressBackend",
    field("resource", 3, "core/v1.TypedLocalObjectReference"),
    field("service", 4, "IngressServiceBackend"),
)
package.struct(
    "IngressServiceBackend",
    field("name", 1, "string", required=True),
    field("port", 2, "ServiceBackendPort", always=True),
)
package.struct(
    "ServiceBackendPort",
    field("name", 1, "string"),
    field("number", 2, "int32"),
    atomic=True,
)
package.struct(
    "IngressTLS",
    field("hosts", 1, "[string]", list_type="atomic"),
    field("secretName", 2, "string"),
)
package.struct(
    "IngressRule",
    field("host", 1, "string"),
    field("http", "2.1", "HTTPIngressRuleValue"),
)
package.struct(
    "HTTPIngressRuleValue",
    field("paths", 1, "[HTTPIngressPath]", required=True, list_type="atomic"),
)
package.struct(
    "HTTPIngressPath",
    field("path", 1, "string"),
    field("backend", 2, "IngressBackend", required=True),
    field("pathType", 3, "string?", required=True, enum=("Exact", "ImplementationSpecific", "Prefix")),
)
package.struct(
    "IngressStatus",
    field("loadBalancer", 1, "IngressLoadBalancerStatus", always=True),
)
package.struct(
    "IngressLoadBalancerStatus",
    field("ingress", 1, "[IngressLoadBalancerIngress]", list_type="atomic"),
)
package.struct(
    "IngressLoadBalancerIngress",
    field("ip", 1, "string"),
    field("hostname", 2, "string"),
    field("ports", 4, "[IngressPortStatus]", list_type="atomic"),
)
package.struct(
    "IngressPortStatus",
    field("port", 1, "int32", required=True),
    field("protocol", 2, "string", required=True, enum=PROTOCOLS),
    field("error", 3, "string?"),
)
package.kind(
    "IngressClass",
    field("spec", 2, "IngressClassSpec", always=True),
)
package.struct(
    "IngressClassSpec",
    field("controller", 1, "string"),
    field("parameters", 2, "IngressClassParametersReference"),
)
package.struct(
    "IngressClassParametersReference",
    field("apiGroup", 1, "string?"),
    field("kind", 2, "string", required=True),
    field("name", 3, "string", required=True),
    field("scope", 4, "string?", fill="Cluster"),
    field("namespace", 5, "string?"),
)
package.kind(
    "NetworkPolicy",
    field("spec", 2, "NetworkPolicySpec", always=True),
)
package.struct(
    "NetworkPolicySpec",
    field("podSelector", 1, "meta/v1.LabelSelector", always=True),
    field("ingress", 2, "[NetworkPolicyIngressRule]", list_type="atomic"),
    field("egress", 3, "[NetworkPolicyEgressRule]", list_type="atomic"),
    field("policyTypes", 4, "[string]", enum=("Egress", "Ingress"), list_type="atomic"),
)
package.struct(
    "NetworkPolicyIngressRule",
    field("ports", 1, "[NetworkPolicyPort]", list_type="atomic"),
    field("from", 2, "[NetworkPolicyPeer]", list_type="atomic"),
)
package.struct(
    "NetworkPolicyPort",
    field("protocol", 1, "string?", fill="TCP", enum=PROTOCOLS),
    field("port", 2, "IntOrString?"),
    field("endPort", 3, "int32?"),
)
package.struct(
    "NetworkPolicyPeer",
    field("podSelector", 1, "meta/v1.LabelSelector"),
    field("namespaceSelector", 2, "meta/v1.LabelSelector"),
    field("ipBlock", 3, "IPBlock"),
)
package.struct(
    "IPBlock",
    field("cidr", 1, "string", required=True),
    field("except", 2, "[string]", list_type="atomic"),
)
package.struct(
    "NetworkPolicyEgressRule",
    field("ports", 1, "[NetworkPolicyPort]", list_type="atomic"),
    field("to", 2, "[NetworkPolicyPeer]", list_type="atomic"),
)
package.kind(
    "ServiceCIDR",
    field("spec", 2, "ServiceCIDRSpec", always=True),
    field("status", 3, "ServiceCIDRStatus", always=True),
)
package.struct(
    "ServiceCIDRSpec",
    field("cidrs", 1, "[string]", list_type="atomic", immutable=True),
)
package.struct(
    "ServiceCIDRStatus",
    field("conditions", 1, "[meta/v1.Condition]", merge_key="type", map_keys=("type",)),
)

package.resource(
    "ingressclasses",
    "IngressClass",
    namespaced=False,
    columns=(
        NAME_COLUMN,
        column("Controller"),
        column("Parameters"),
        column("Age"),
    ),
)
package.resource(
    "ingresses",
    "Ingress",
    short_names=("ing",),
    subresources=(subresource("status", "Ingress"),),
    columns=(
        NAME_COLUMN,
        column("Class"),
        column("Hosts"),
        column("Address"),
        column("Ports"),
        column("Age"),
    ),
)
package.resource(
    "ipaddresses",
    "IPAddress",
    namespaced=False,
    short_names=("ip",),
    columns=(
        NAME_COLUMN,
        column("ParentRef"),
    ),
)
package.resource(
    "networkpolicies",
    "NetworkPolicy",
    short_names=("netpol",),
    columns=(
        NAME_COLUMN,
        column("Pod-Selector"),
        column("Age"),
    ),
)
package.resource(
    "servicecidrs",
    "ServiceCIDR",
    namespaced=False,
    subresources=(subresource("status", "ServiceCIDR"),),
    columns=(
        NAME_COLUMN,
        column("CIDRs"),
        column("Age"),
    ),
)
