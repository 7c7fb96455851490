"""API groups served by other servers."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("apiregistration/v1")

package.kind(
    "APIService",
    field("spec", 2, "APIServiceSpec", always=True),
    field("status", 3, "APIServiceStatus", always=True),
)
package.struct(
    "APIServiceSpec",
    field("service", 1, "ServiceReference"),
    field("group", 2, "string"),
    field("version", 3, "string"),
    field("insecureSkipTLSVerify", 4, "bool"),
    field("caBundle", 5, "bytes", list_type="atomic"),
    field("groupPriorityMinimum", 7, "int32", required=True),
    field("versionPriority", 8, "int32", required=True),
)
package.struct(
    "ServiceReference",
    field("namespace", 1, "string"),
    field("name", 2, "string"),
    field("port", 3, "int32", fill=443),
)
package.struct(
    "APIServiceStatus",
    field("conditions", 1, "[APIServiceCondition]", merge_key="type", map_keys=("type",)),
)
package.struct(
    "APIServiceCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastTransitionTime", 3, "Time"),
    field("reason", 4, "string"),
    field("message", 5, "string"),
)

package.resource(
    "apiservices",
    "APIService",
    namespaced=False,
    categories=("api-extensions",),
    subresources=(subresource("status", "APIService"),),
    columns=(
        NAME_COLUMN,
        column("Service"),
        column("Available"),
        column("Age"),
    ),
)
