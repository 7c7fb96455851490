"""What every API group shares: object metadata, options, Status, label selectors."""

from shared.objects import schema
from shared.objects.schema import field

package = schema.package("meta/v1")

package.kind(
    "APIGroupList",
    field("groups", 1, "[APIGroup]", required=True, list_type="atomic"),
    metadata="",
)
package.kind(
    "APIGroup",
    field("name", 1, "string", required=True),
    field("versions", 2, "[GroupVersionForDiscovery]", required=True, list_type="atomic"),
    field("preferredVersion", 3, "GroupVersionForDiscovery", always=True),
    field("serverAddressByClientCIDRs", 4, "[ServerAddressByClientCIDR]", list_type="atomic"),
    metadata="",
)
package.struct(
    "GroupVersionForDiscovery",
    field("groupVersion", 1, "string", required=True),
    field("version", 2, "string", required=True),
)
package.struct(
    "ServerAddressByClientCIDR",
    field("clientCIDR", 1, "string", required=True),
    field("serverAddress", 2, "string", required=True),
)
package.kind(
    "APIResourceList",
    field("groupVersion", 1, "string", required=True),
    field("resources", 2, "[APIResource]", required=True, list_type="atomic"),
    metadata="",
)
package.struct(
    "APIResource",
    field("name", 1, "string", required=True),
    field("namespaced", 2, "bool", required=True),
    field("kind", 3, "string", required=True),
    field("verbs", 4, "Verbs", required=True),
    field("shortNames", 5, "[string]", list_type="atomic"),
    field("singularName", 6, "string", required=True),
    field("categories", 7, "[string]", list_type="atomic"),
    field("group", 8, "string"),
    field("version", 9, "string"),
    field("storageVersionHash", 10, "string"),
)
package.kind(
    "APIVersions",
    field("versions", 1, "[string]", required=True, list_type="atomic"),
    field("serverAddressByClientCIDRs", 2, "[ServerAddressByClientCIDR]", required=True, list_type="atomic"),
    metadata="",
)
package.kind(
    "DeleteOptions",
    field("gracePeriodSeconds", 1, "int64?"),
    field("preconditions", 2, "Preconditions"),
    field("orphanDependents", 3, "bool?"),
    field("propagationPolicy", 4, "string?"),
    field("dryRun", 5, "[string]", list_type="atomic"),
    field("ignoreStoreReadErrorWithClusterBreakingPotential", 6, "bool?"),
    metadata="",
)
package.struct(
    "Preconditions",
    field("uid", 1, "string?"),
    field("resourceVersion", 2, "string?"),
)
package.kind(
    "Status",
    field("status", 2, "string"),
    field("message", 3, "string"),
    field("reason", 4, "string"),
    field("details", 5, "StatusDetails"),
    field("code", 6, "int32"),
    metadata="ListMeta",
)
package.struct(
    "ListMeta",
    field("selfLink", 1, "string"),
    field("resourceVersion", 2, "string"),
    field("continue", 3, "string"),
    field("remainingItemCount", 4, "int64?"),
    field("shardInfo", 5, "ShardInfo"),
)
package.struct(
    "ShardInfo",
    field("selector", 1, "string", required=True),
)
package.struct(
    "StatusDetails",
    field("name", 1, "string"),
    field("group", 2, "string"),
    field("kind", 3, "string"),
    field("causes", 4, "[StatusCause]", list_type="atomic"),
    field("retryAfterSeconds", 5, "int32"),
    field("uid", 6, "string"),
)
package.struct(
    "StatusCause",
    field("reason", 1, "string"),
    field("message", 2, "string"),
    field("field", 3, "string"),
)
package.kind(
    "CreateOptions",
    field("dryRun", 1, "[string]"),
    field("fieldManager", 3, "string"),
    field("fieldValidation", 4, "string"),
    metadata="",
)
package.kind(
    "PartialObjectMetadata",
)
package.kind(
    "PartialObjectMetadataList",
    field("items", 2, "[PartialObjectMetadata]", always=True),
    metadata="ListMeta",
)
package.kind(
    "PatchOptions",
    field("dryRun", 1, "[string]"),
    field("force", 2, "bool?"),
    field("fieldManager", 3, "string"),
    field("fieldValidation", 4, "string"),
    metadata="",
)
package.kind(
    "UpdateOptions",
    field("dryRun", 1, "[string]"),
    field("fieldManager", 2, "string"),
    field("fieldValidation", 3, "string"),
    metadata="",
)
package.struct(
    "Condition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("observedGeneration", 3, "int64"),
    field("lastTransitionTime", 4, "Time", required=True),
    field("reason", 5, "string", required=True),
    field("message", 6, "string", required=True),
)
package.struct(
    "FieldSelectorRequirement",
    field("key", 1, "string", required=True),
    field("operator", 2, "string", required=True),
    field("values", 3, "[string]", list_type="atomic"),
)
package.struct(
    "LabelSelector",
    field("matchLabels", 1, "{string}"),
    field("matchExpressions", 2, "[LabelSelectorRequirement]", list_type="atomic"),
    atomic=True,
)
package.struct(
    "LabelSelectorRequirement",
    field("key", 1, "string", required=True),
    field("operator", 2, "string", required=True),
    field("values", 3, "[string]", list_type="atomic"),
)
package.struct(
    "ObjectMeta",
    field("name", 1, "string"),
    field("generateName", 2, "string"),
    field("namespace", 3, "string"),
    field("selfLink", 4, "string"),
    field("uid", 5, "string"),
    field("resourceVersion", 6, "string"),
    field("generation", 7, "int64"),
    field("creationTimestamp", 8, "Time"),
    field("deletionTimestamp", 9, "Time?"),
    field("deletionGracePeriodSeconds", 10, "int64?"),
    field("labels", 11, "{string}"),
    field("annotations", 12, "{string}"),
    field("ownerReferences", 13, "[OwnerReference]", merge_key="uid", map_keys=("uid",)),
    field("finalizers", 14, "[string]", patch=("merge",), list_type="set"),
    field("managedFields", 17, "[ManagedFieldsEntry]", list_type="atomic"),
)
package.struct(
    "OwnerReference",
    field("kind", 1, "string", required=True),
    field("name", 3, "string", required=True),
    field("uid", 4, "string", required=True),
    field("apiVersion", 5, "string", required=True),
    field("controller", 6, "bool?"),
    field("blockOwnerDeletion", 7, "bool?"),
    atomic=True,
)
package.struct(
    "ManagedFieldsEntry",
    field("manager", 1, "string"),
    field("operation", 2, "string"),
    field("apiVersion", 3, "string"),
    field("time", 4, "Time?"),
    field("fieldsType", 6, "string"),
    field("fieldsV1", 7, "FieldsV1?"),
    field("subresource", 8, "string"),
)
package.struct(
    "WatchEvent",
    field("type", 1, "string", required=True),
    field("object", 2, "RawExtension", required=True),
)
