"""Namespaces, configuration, identities, events, quotas, and references between objects."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("core/v1")

QUOTA_SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
)

package.kind(
    "ComponentStatus",
    field("conditions", 2, "[ComponentCondition]", merge_key="type", map_keys=("type",)),
)
package.struct(
    "ComponentCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("message", 3, "string"),
    field("error", 4, "string"),
)
package.kind(
    "ConfigMap",
    field("data", 2, "{string}"),
    field("binaryData", 3, "{bytes}"),
    field("immutable", 4, "bool?"),
)
package.kind(
    "Event",
    field("metadata", 1, "meta/v1.ObjectMeta", required=True),
    field("involvedObject", 2, "ObjectReference", required=True),
    field("reason", 3, "string"),
    field("message", 4, "string"),
    field("source", 5, "EventSource", always=True),
    field("firstTimestamp", 6, "Time"),
    field("lastTimestamp", 7, "Time"),
    field("count", 8, "int32"),
    field("type", 9, "string"),
    field("eventTime", 10, "MicroTime"),
    field("series", 11, "EventSeries"),
    field("action", 12, "string"),
    field("related", 13, "ObjectReference"),
    field("reportingComponent", 14, "string", always=True),
    field("reportingInstance", 15, "string", always=True),
    metadata="",
)
package.struct(
    "ObjectReference",
    field("kind", 1, "string"),
    field("namespace", 2, "string"),
    field("name", 3, "string"),
    field("uid", 4, "string"),
    field("apiVersion", 5, "string"),
    field("resourceVersion", 6, "string"),
    field("fieldPath", 7, "string"),
    atomic=True,
)
package.struct(
    "EventSource",
    field("component", 1, "string"),
    field("host", 2, "string"),
)
package.struct(
    "EventSeries",
    field("count", 1, "int32"),
    field("lastObservedTime", 2, "MicroTime"),
)
package.kind(
    "LimitRange",
    field("spec", 2, "LimitRangeSpec", always=True),
)
package.struct(
    "LimitRangeSpec",
    field("limits", 1, "[LimitRangeItem]", required=True, list_type="atomic"),
)
package.struct(
    "LimitRangeItem",
    field("type", 1, "string", required=True),
    field("max", 2, "{Quantity}"),
    field("min", 3, "{Quantity}"),
    field("default", 4, "{Quantity}"),
    field("defaultRequest", 5, "{Quantity}"),
    field("maxLimitRequestRatio", 6, "{Quantity}"),
)
package.kind(
    "Namespace",
    field("spec", 2, "NamespaceSpec", always=True),
    field("status", 3, "NamespaceStatus", always=True),
)
package.struct(
    "NamespaceSpec",
    field("finalizers", 1, "[string]", list_type="atomic"),
)
package.struct(
    "NamespaceStatus",
    field("phase", 1, "string", fill="Active", enum=("Active", "Terminating")),
    field("conditions", 2, "[NamespaceCondition]", merge_key="type", map_keys=("type",)),
)
package.struct(
    "NamespaceCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastTransitionTime", 4, "Time"),
    field("reason", 5, "string"),
    field("message", 6, "string"),
)
package.kind(
    "ResourceQuota",
    field("spec", 2, "ResourceQuotaSpec", always=True),
    field("status", 3, "ResourceQuotaStatus", always=True),
)
package.struct(
    "ResourceQuotaSpec",
    field("hard", 1, "{Quantity}"),
    field("scopes", 2, "[string]", enum=QUOTA_SCOPES, list_type="atomic"),
    field("scopeSelector", 3, "ScopeSelector"),
)
package.struct(
    "ScopeSelector",
    field("matchExpressions", 1, "[ScopedResourceSelectorRequirement]", list_type="atomic"),
    atomic=True,
)
package.struct(
    "ScopedResourceSelectorRequirement",
    field("scopeName", 1, "string", required=True, enum=QUOTA_SCOPES),
    field("operator", 2, "string", required=True, enum=("DoesNotExist", "Exists", "In", "NotIn")),
    field("values", 3, "[string]", list_type="atomic"),
)
package.struct(
    "ResourceQuotaStatus",
    field("hard", 1, "{Quantity}"),
    field("used", 2, "{Quantity}"),
)
package.kind(
    "Secret",
    field("data", 2, "{bytes}"),
    field("type", 3, "string", fill="Opaque", immutable=True),
    field("stringData", 4, "{string}"),
    field("immutable", 5, "bool?"),
)
package.kind(
    "ServiceAccount",
    field("secrets", 2, "[ObjectReference]", merge_key="name", map_keys=("name",)),
    field("imagePullSecrets", 3, "[LocalObjectReference]", list_type="atomic"),
    field("automountServiceAccountToken", 4, "bool?"),
)
package.struct(
    "LocalObjectReference",
    field("name", 1, "string", default=""),
    atomic=True,
)
package.struct(
    "SecretReference",
    field("name", 1, "string"),
    field("namespace", 2, "string"),
    atomic=True,
)
package.struct(
    "TypedLocalObjectReference",
    field("apiGroup", 1, "string?"),
    field("kind", 2, "string", required=True),
    field("name", 3, "string", required=True),
    atomic=True,
)
package.struct(
    "TypedObjectReference",
    field("apiGroup", 1, "string?"),
    field("kind", 2, "string", required=True),
    field("name", 3, "string", required=True),
    field("namespace", 4, "string?"),
)

package.resource(
    "configmaps",
    "ConfigMap",
    short_names=("cm",),
    columns=(NAME_COLUMN, column("Data"), column("Age")),
)
package.resource(
    "events",
    "Event",
    short_names=("ev",),
    columns=(
        column("Last Seen"),
        column("Type"),
        column("Reason"),
        column("Object"),
        column("Subobject", priority=1),
        column("Source", priority=1),
        column("Message"),
        column("First Seen", priority=1),
        column("Count", priority=1),
        column("Name", format="name", priority=1),
    ),
    field_selectors=(
        "type",
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
    ),
)
package.resource(
    "namespaces",
    "Namespace",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(subresource("finalize", "Namespace", verbs=("update",)), subresource("status", "Namespace")),
    columns=(NAME_COLUMN, column("Status"), column("Age")),
    field_selectors=("status.phase",),
)
package.resource(
    "secrets",
    "Secret",
    columns=(NAME_COLUMN, column("Type"), column("Data"), column("Age")),
    field_selectors=("type",),
)
package.resource(
    "serviceaccounts",
    "ServiceAccount",
    short_names=("sa",),
    subresources=(subresource("token", "TokenRequest", verbs=("create",), api_version="authentication.k8s.io/v1"),),
    columns=(NAME_COLUMN, column("Age")),
)

package.resource(
    "componentstatuses",
    "ComponentStatus",
    namespaced=False,
    short_names=("cs",),
    verbs=("get", "list"),
    columns=(
        NAME_COLUMN,
        column("Status"),
        column("Message"),
        column("Error"),
    ),
)
package.resource(
    "limitranges",
    "LimitRange",
    short_names=("limits",),
    columns=(
        NAME_COLUMN,
        column("Created At", "date"),
    ),
)
package.resource(
    "resourcequotas",
    "ResourceQuota",
    short_names=("quota",),
    subresources=(subresource("status", "ResourceQuota"),),
    columns=(
        NAME_COLUMN,
        column("Request"),
        column("Limit"),
        column("Age"),
    ),
)
