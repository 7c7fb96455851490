"""Roles and their bindings."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field

package = schema.package("rbac/v1")

package.kind(
    "ClusterRole",
    field("rules", 2, "[PolicyRule]", always=True, list_type="atomic"),
    field("aggregationRule", 3, "AggregationRule"),
)
package.struct(
    "PolicyRule",
    field("verbs", 1, "[string]", required=True, list_type="atomic"),
    field("apiGroups", 2, "[string]", list_type="atomic"),
    field("resources", 3, "[string]", list_type="atomic"),
    field("resourceNames", 4, "[string]", list_type="atomic"),
    field("nonResourceURLs", 5, "[string]", list_type="atomic"),
)
package.struct(
    "AggregationRule",
    field("clusterRoleSelectors", 1, "[meta/v1.LabelSelector]", list_type="atomic"),
)
package.kind(
    "ClusterRoleBinding",
    field("subjects", 2, "[Subject]", list_type="atomic"),
    field("roleRef", 3, "RoleRef", required=True, immutable=True),
)
package.struct(
    "Subject",
    field("kind", 1, "string", required=True),
    field("apiGroup", 2, "string"),
    field("name", 3, "string", required=True),
    field("namespace", 4, "string"),
    atomic=True,
)
package.struct(
    "RoleRef",
    field("apiGroup", 1, "string", always=True),
    field("kind", 2, "string", required=True),
    field("name", 3, "string", required=True),
    atomic=True,
)
package.kind(
    "Role",
    field("rules", 2, "[PolicyRule]", always=True, list_type="atomic"),
)
package.kind(
    "RoleBinding",
    field("subjects", 2, "[Subject]", list_type="atomic"),
    field("roleRef", 3, "RoleRef", required=True, immutable=True),
)

package.resource(
    "clusterrolebindings",
    "ClusterRoleBinding",
    namespaced=False,
    columns=(
        NAME_COLUMN,
        column("Role"),
        column("Age"),
        column("Users", priority=1),
        column("Groups", priority=1),
        column("ServiceAccounts", priority=1),
    ),
)
package.resource(
    "clusterroles",
    "ClusterRole",
    namespaced=False,
    columns=(
        NAME_COLUMN,
        column("Created At", "date"),
    ),
)
package.resource(
    "rolebindings",
    "RoleBinding",
    columns=(
        NAME_COLUMN,
        column("Role"),
        column("Age"),
        column("Users", priority=1),
        column("Groups", priority=1),
        column("ServiceAccounts", priority=1),
    ),
)
package.resource(
    "roles",
    "Role",
    columns=(
        NAME_COLUMN,
        column("Created At", "date"),
    ),
)
