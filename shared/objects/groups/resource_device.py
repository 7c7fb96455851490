"""Devices: their attributes, requests, constraints and allocation."""

from shared.objects import schema
from shared.objects.schema import field

package = schema.package("resource/v1")

ALLOCATION_MODES = ("All", "ExactCount")
DEVICE_TAINT_EFFECTS = ("NoExecute", "NoSchedule", "None")

package.struct(
    "CounterSet",
    field("name", 1, "string", required=True),
    field("counters", 2, "{Counter}", required=True, always=False),
)
package.struct(
    "Counter",
    field("value", 1, "Quantity", required=True),
)
package.struct(
    "Device",
    field("name", 1, "string", required=True),
    field("attributes", 2, "{DeviceAttribute}"),
    field("capacity", 3, "{DeviceCapacity}"),
    field("consumesCounters", 4, "[DeviceCounterConsumption]", list_type="atomic"),
    field("nodeName", 5, "string?"),
    field("nodeSelector", 6, "core/v1.NodeSelector"),
    field("allNodes", 7, "bool?"),
    field("taints", 8, "[DeviceTaint]", list_type="atomic"),
    field("bindsToNode", 9, "bool?"),
    field("bindingConditions", 10, "[string]", list_type="atomic"),
    field("bindingFailureConditions", 11, "[string]", list_type="atomic"),
    field("allowMultipleAllocations", 12, "bool?"),
    field("nodeAllocatableResourceMappings", 13, "{NodeAllocatableResourceMapping}"),
)
package.struct(
    "DeviceAttribute",
    field("int", 2, "int64?"),
    field("bool", 3, "bool?"),
    field("string", 4, "string?"),
    field("version", 5, "string?"),
    field("ints", 6, "[int64]", list_type="atomic"),
    field("bools", 7, "[bool]", list_type="atomic"),
    field("strings", 8, "[string]", list_type="atomic"),
    field("versions", 9, "[string]", list_type="atomic"),
)
package.struct(
    "DeviceCapacity",
    field("value", 1, "Quantity", required=True),
    field("requestPolicy", 2, "CapacityRequestPolicy"),
)
package.struct(
    "CapacityRequestPolicy",
    field("default", 1, "Quantity?"),
    field("validValues", 3, "[Quantity]", list_type="atomic"),
    field("validRange", 4, "CapacityRequestPolicyRange"),
)
package.struct(
    "CapacityRequestPolicyRange",
    field("min", 1, "Quantity?", required=True),
    field("max", 2, "Quantity?"),
    field("step", 3, "Quantity?"),
)
package.struct(
    "DeviceCounterConsumption",
    field("counterSet", 1, "string", required=True),
    field("counters", 2, "{Counter}", required=True, always=False),
)
package.struct(
    "DeviceTaint",
    field("key", 1, "string", required=True),
    field("value", 2, "string"),
    field("effect", 3, "string", required=True, enum=DEVICE_TAINT_EFFECTS),
    field("timeAdded", 4, "Time?"),
)
package.struct(
    "DeviceAllocationResult",
    field("results", 1, "[DeviceRequestAllocationResult]", list_type="atomic"),
    field("config", 2, "[DeviceAllocationConfiguration]", list_type="atomic"),
)
package.struct(
    "DeviceRequestAllocationResult",
    field("request", 1, "string", required=True),
    field("driver", 2, "string", required=True),
    field("pool", 3, "string", required=True),
    field("device", 4, "string", required=True),
    field("adminAccess", 5, "bool?"),
    field("tolerations", 6, "[DeviceToleration]", list_type="atomic"),
    field("bindingConditions", 7, "[string]", list_type="atomic"),
    field("bindingFailureConditions", 8, "[string]", list_type="atomic"),
    field("shareID", 9, "string?"),
    field("consumedCapacity", 10, "{Quantity}"),
)
package.struct(
    "DeviceToleration",
    field("key", 1, "string"),
    field("operator", 2, "string", default="Equal", enum=("Equal", "Exists")),
    field("value", 3, "string"),
    field("effect", 4, "string", enum=DEVICE_TAINT_EFFECTS),
    field("tolerationSeconds", 5, "int64?"),
)
package.struct(
    "DeviceAllocationConfiguration",
    field("source", 1, "string", required=True, enum=("FromClaim", "FromClass")),
    field("requests", 2, "[string]", list_type="atomic"),
    field("opaque", "3.1", "OpaqueDeviceConfiguration"),
)
package.struct(
    "DeviceClaim",
    field("requests", 1, "[DeviceRequest]", always=True, list_type="atomic"),
    field("constraints", 2, "[DeviceConstraint]", list_type="atomic"),
    field("config", 3, "[DeviceClaimConfiguration]", list_type="atomic"),
)
package.struct(
    "DeviceRequest",
    field("name", 1, "string", required=True),
    field("exactly", 2, "ExactDeviceRequest"),
    field("firstAvailable", 3, "[DeviceSubRequest]", list_type="atomic"),
)
package.struct(
    "DeviceSubRequest",
    field("name", 1, "string", required=True),
    field("deviceClassName", 2, "string", required=True),
    field("selectors", 3, "[DeviceSelector]", list_type="atomic"),
    field("allocationMode", 4, "string", enum=ALLOCATION_MODES),
    field("count", 5, "int64"),
    field("tolerations", 6, "[DeviceToleration]", list_type="atomic"),
    field("capacity", 7, "CapacityRequirements"),
)
package.struct(
    "DeviceSelector",
    field("cel", 1, "CELDeviceSelector"),
)
package.struct(
    "CapacityRequirements",
    field("requests", 1, "{Quantity}"),
)
package.struct(
    "DeviceConstraint",
    field("requests", 1, "[string]", list_type="atomic"),
    field("matchAttribute", 2, "string?"),
    field("distinctAttribute", 3, "string?"),
)
package.struct(
    "DeviceClaimConfiguration",
    field("requests", 1, "[string]", list_type="atomic"),
    field("opaque", "2.1", "OpaqueDeviceConfiguration"),
)
