"""Priority classes."""

from shared.objects import schema
from shared.objects.schema import field

package = schema.package("scheduling/v1")

PREEMPTION_POLICIES = ("Never", "PreemptLowerPriority")

package.kind(
    "PriorityClass",
    field("value", 2, "int32", always=True, immutable=True),
    field("globalDefault", 3, "bool"),
    field("description", 4, "string"),
    field("preemptionPolicy", 5, "string?", fill="PreemptLowerPriority", enum=PREEMPTION_POLICIES, immutable=True),
)
