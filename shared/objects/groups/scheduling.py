"""Priority classes."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field

package = schema.package("scheduling/v1")

PREEMPTION_POLICIES = ("Never", "PreemptLowerPriority")

package.kind(
    "PriorityClass",
    field("value", 2, "int32", always=True),
    field("globalDefault", 3, "bool"),
    field("description", 4, "string"),
    field("preemptionPolicy", 5, "string?", fill="PreemptLowerPriority", enum=PREEMPTION_POLICIES, immutable=True),
)

package.resource(
    "priorityclasses",
    "PriorityClass",
    namespaced=False,
    short_names=("pc",),
    columns=(
        NAME_COLUMN,
        column("Value", "integer"),
        column("Global-Default", "boolean"),
        column("Age"),
        column("PreemptionPolicy"),
    ),
)
