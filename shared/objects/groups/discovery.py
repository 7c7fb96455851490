"""EndpointSlices."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field

package = schema.package("discovery/v1")

PROTOCOLS = ("SCTP", "TCP", "UDP")

package.kind(
    "EndpointSlice",
    field("endpoints", 2, "[Endpoint]", always=True, list_type="atomic"),
    field("ports", 3, "[EndpointPort]", always=True, list_type="atomic"),
    field("addressType", 4, "string", required=True, enum=("FQDN", "IPv4", "IPv6"), immutable=True),
)
package.struct(
    "Endpoint",
    field("addresses", 1, "[string]", required=True, list_type="set"),
    field("conditions", 2, "EndpointConditions", always=True),
    field("hostname", 3, "string?"),
    field("targetRef", 4, "core/v1.ObjectReference"),
    field("deprecatedTopology", 5, "{string}"),
    field("nodeName", 6, "string?"),
    field("zone", 7, "string?"),
    field("hints", 8, "EndpointHints"),
)
package.struct(
    "EndpointConditions",
    field("ready", 1, "bool?"),
    field("serving", 2, "bool?"),
    field("terminating", 3, "bool?"),
)
package.struct(
    "EndpointHints",
    field("forZones", 1, "[ForZone]", list_type="atomic"),
    field("forNodes", 2, "[ForNode]", list_type="atomic"),
)
package.struct(
    "ForZone",
    field("name", 1, "string", required=True),
)
package.struct(
    "ForNode",
    field("name", 1, "string", required=True),
)
package.struct(
    "EndpointPort",
    field("name", 1, "string?", fill=""),
    field("protocol", 2, "string?", fill="TCP", enum=PROTOCOLS),
    field("port", 3, "int32?"),
    field("appProtocol", 4, "string?"),
    atomic=True,
)

package.resource(
    "endpointslices",
    "EndpointSlice",
    columns=(NAME_COLUMN, column("AddressType"), column("Ports"), column("Endpoints"), column("Age")),
)
