"""Claims for devices, and what drivers offer."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("resource/v1")

ALLOCATION_MODES = ("All", "ExactCount")

package.kind(
    "DeviceClass",
    field("spec", 2, "DeviceClassSpec", required=True),
)
package.struct(
    "DeviceClassSpec",
    field("selectors", 1, "[DeviceSelector]", list_type="atomic"),
    field("config", 2, "[DeviceClassConfiguration]", list_type="atomic"),
    field("extendedResourceName", 4, "string?"),
)
package.struct(
    "DeviceClassConfiguration",
    field("opaque", "1.1", "OpaqueDeviceConfiguration"),
)
package.struct(
    "OpaqueDeviceConfiguration",
    field("driver", 1, "string", required=True),
    field("parameters", 2, "RawExtension", required=True),
)
package.kind(
    "ResourceClaim",
    field("spec", 2, "ResourceClaimSpec", required=True, immutable=True),
    field("status", 3, "ResourceClaimStatus", always=True),
)
package.struct(
    "ResourceClaimSpec",
    field("devices", 1, "DeviceClaim", always=True),
)
package.struct(
    "ResourceClaimStatus",
    field("allocation", 1, "AllocationResult"),
    field("reservedFor", 2, "[ResourceClaimConsumerReference]", merge_key="uid", map_keys=("uid",)),
    field("devices", 4, "[AllocatedDeviceStatus]", map_keys=("driver", "device", "pool", "shareID")),
)
package.struct(
    "AllocationResult",
    field("devices", 1, "DeviceAllocationResult", always=True),
    field("nodeSelector", 3, "core/v1.NodeSelector"),
    field("allocationTimestamp", 5, "Time?"),
)
package.struct(
    "ResourceClaimConsumerReference",
    field("apiGroup", 1, "string"),
    field("resource", 3, "string", required=True),
    field("name", 4, "string", required=True),
    field("uid", 5, "string", required=True),
)
package.struct(
    "AllocatedDeviceStatus",
    field("driver", 1, "string", required=True),
    field("pool", 2, "string", required=True),
    field("device", 3, "string", required=True),
    field("conditions", 4, "[meta/v1.Condition]", always=True, map_keys=("type",)),
    field("data", 5, "RawExtension?"),
    field("networkData", 6, "NetworkDeviceData"),
    field("shareID", 7, "string?"),
)
package.struct(
    "NetworkDeviceData",
    field("interfaceName", 1, "string"),
    field("ips", 2, "[string]", list_type="atomic"),
    field("hardwareAddress", 3, "string"),
)
package.kind(
    "ResourceClaimTemplate",
    field("spec", 2, "ResourceClaimTemplateSpec", required=True, immutable=True),
)
package.struct(
    "ResourceClaimTemplateSpec",
    field("metadata", 1, "meta/v1.ObjectMeta", always=True),
    field("spec", 2, "ResourceClaimSpec", required=True),
)
package.kind(
    "ResourceSlice",
    field("spec", 2, "ResourceSliceSpec", required=True),
)
package.struct(
    "ResourceSliceSpec",
    field("driver", 1, "string", required=True),
    field("pool", 2, "ResourcePool", required=True),
    field("nodeName", 3, "string?"),
    field("nodeSelector", 4, "core/v1.NodeSelector"),
    field("allNodes", 5, "bool?"),
    field("devices", 6, "[Device]", list_type="atomic"),
    field("perDeviceNodeSelection", 7, "bool?"),
    field("sharedCounters", 8, "[CounterSet]", list_type="atomic"),
)
package.struct(
    "ResourcePool",
    field("name", 1, "string", required=True),
    field("generation", 2, "int64", required=True),
    field("resourceSliceCount", 3, "int64", required=True),
)
package.struct(
    "CELDeviceSelector",
    field("expression", 1, "string", required=True),
)
package.struct(
    "ExactDeviceRequest",
    field("deviceClassName", 1, "string", required=True),
    field("selectors", 2, "[DeviceSelector]", list_type="atomic"),
    field("allocationMode", 3, "string", enum=ALLOCATION_MODES),
    field("count", 4, "int64"),
    field("adminAccess", 5, "bool?"),
    field("tolerations", 6, "[DeviceToleration]", list_type="atomic"),
    field("capacity", 7, "CapacityRequirements"),
)
package.struct(
    "NodeAllocatableResourceMapping",
    field("capacityKey", 1, "string"),
    field("allocationMultiplier", 2, "Quantity"),
)

package.resource(
    "deviceclasses",
    "DeviceClass",
    namespaced=False,
    columns=(
        NAME_COLUMN,
        column("Age"),
    ),
)
package.resource(
    "resourceclaims",
    "ResourceClaim",
    subresources=(subresource("status", "ResourceClaim"),),
    columns=(
        NAME_COLUMN,
        column("State"),
        column("Age"),
    ),
)
package.resource(
    "resourceclaimtemplates",
    "ResourceClaimTemplate",
    columns=(
        NAME_COLUMN,
        column("Age"),
    ),
)
package.resource(
    "resourceslices",
    "ResourceSlice",
    namespaced=False,
    columns=(
        NAME_COLUMN,
        column("Node"),
        column("Driver"),
        column("Pool"),
        column("Age"),
    ),
    field_selectors=("spec.nodeName", "spec.driver"),
)
