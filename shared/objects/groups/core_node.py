"""Nodes: addresses, capacity, conditions, taints."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, PROXIED, column, field, subresource

package = schema.package("core/v1")

TAINT_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")

package.kind(
    "Node",
    field("spec", 2, "NodeSpec", always=True),
    field("status", 3, "NodeStatus", always=True),
)
package.struct(
    "NodeSpec",
    field("podCIDR", 1, "string"),
    field("externalID", 2, "string"),
    field("providerID", 3, "string"),
    field("unschedulable", 4, "bool"),
    field("taints", 5, "[Taint]", list_type="atomic"),
    field("configSource", 6, "NodeConfigSource"),
    field("podCIDRs", 7, "[string]", patch=("merge",), list_type="set"),
)
package.struct(
    "Taint",
    field("key", 1, "string", required=True),
    field("value", 2, "string"),
    field("effect", 3, "string", required=True, enum=TAINT_EFFECTS),
    field("timeAdded", 4, "Time?"),
)
package.struct(
    "NodeConfigSource",
    field("configMap", 2, "ConfigMapNodeConfigSource"),
)
package.struct(
    "ConfigMapNodeConfigSource",
    field("namespace", 1, "string", required=True),
    field("name", 2, "string", required=True),
    field("uid", 3, "string"),
    field("resourceVersion", 4, "string"),
    field("kubeletConfigKey", 5, "string", required=True),
)
package.struct(
    "NodeStatus",
    field("capacity", 1, "{Quantity}"),
    field("allocatable", 2, "{Quantity}"),
    field("phase", 3, "string", enum=("Pending", "Running", "Terminated")),
    field("conditions", 4, "[NodeCondition]", merge_key="type", map_keys=("type",)),
    field("addresses", 5, "[NodeAddress]", merge_key="type", map_keys=("type",)),
    field("daemonEndpoints", 6, "NodeDaemonEndpoints", always=True),
    field("nodeInfo", 7, "NodeSystemInfo", always=True),
    field("images", 8, "[ContainerImage]", list_type="atomic"),
    field("volumesInUse", 9, "[string]", list_type="atomic"),
    field("volumesAttached", 10, "[AttachedVolume]", list_type="atomic"),
    field("config", 11, "NodeConfigStatus"),
    field("runtimeHandlers", 12, "[NodeRuntimeHandler]", list_type="atomic"),
    field("features", 13, "NodeFeatures"),
    field("declaredFeatures", 14, "[string]", list_type="atomic"),
)
package.struct(
    "NodeCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastHeartbeatTime", 3, "Time"),
    field("lastTransitionTime", 4, "Time"),
    field("reason", 5, "string"),
    field("message", 6, "string"),
)
package.struct(
    "NodeAddress",
    field("type", 1, "string", required=True),
    field("address", 2, "string", required=True),
)
package.struct(
    "NodeDaemonEndpoints",
    field("kubeletEndpoint", 1, "DaemonEndpoint", always=True),
)
package.struct(
    "DaemonEndpoint",
    field("Port", 1, "int32", required=True),
)
package.struct(
    "NodeSystemInfo",
    field("machineID", 1, "string", required=True),
    field("systemUUID", 2, "string", required=True),
    field("bootID", 3, "string", required=True),
    field("kernelVersion", 4, "string", required=True),
    field("osImage", 5, "string", required=True),
    field("containerRuntimeVersion", 6, "string", required=True),
    field("kubeletVersion", 7, "string", required=True),
    field("kubeProxyVersion", 8, "string", required=True),
    field("operatingSystem", 9, "string", required=True),
    field("architecture", 10, "string", required=True),
    field("swap", 11, "NodeSwapStatus"),
)
package.struct(
    "NodeSwapStatus",
    field("capacity", 1, "int64?"),
)
package.struct(
    "ContainerImage",
    field("names", 1, "[string]", always=True, list_type="atomic"),
    field("sizeBytes", 2, "int64"),
)
package.struct(
    "AttachedVolume",
    field("name", 1, "string", required=True),
    field("devicePath", 2, "string", required=True),
)
package.struct(
    "NodeConfigStatus",
    field("assigned", 1, "NodeConfigSource"),
    field("active", 2, "NodeConfigSource"),
    field("lastKnownGood", 3, "NodeConfigSource"),
    field("error", 4, "string"),
)
package.struct(
    "NodeRuntimeHandler",
    field("name", 1, "string", always=True),
    field("features", 2, "NodeRuntimeHandlerFeatures"),
)
package.struct(
    "NodeRuntimeHandlerFeatures",
    field("recursiveReadOnlyMounts", 1, "bool?"),
    field("userNamespaces", 2, "bool?"),
)
package.struct(
    "NodeFeatures",
    field("supplementalGroupsPolicy", 1, "bool?"),
)

package.resource(
    "nodes",
    "Node",
    namespaced=False,
    short_names=("no",),
    subresources=(subresource("proxy", "NodeProxyOptions", verbs=PROXIED), subresource("status", "Node")),
    columns=(
        NAME_COLUMN,
        column("Status"),
        column("Roles"),
        column("Age"),
        column("Version"),
        column("Internal-IP", priority=1),
        column("External-IP", priority=1),
        column("OS-Image", priority=1),
        column("Kernel-Version", priority=1),
        column("Container-Runtime", priority=1),
    ),
    field_selectors=("spec.unschedulable",),
)
