"""Evictions and disruption budgets."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("policy/v1")

package.kind(
    "Eviction",
    field("deleteOptions", 2, "meta/v1.DeleteOptions"),
)
package.kind(
    "PodDisruptionBudget",
    field("spec", 2, "PodDisruptionBudgetSpec", always=True),
    field("status", 3, "PodDisruptionBudgetStatus", always=True),
)
package.struct(
    "PodDisruptionBudgetSpec",
    field("minAvailable", 1, "IntOrString?"),
    field("selector", 2, "meta/v1.LabelSelector", patch=("replace",)),
    field("maxUnavailable", 3, "IntOrString?"),
    field("unhealthyPodEvictionPolicy", 4, "string?", enum=("AlwaysAllow", "IfHealthyBudget")),
)
package.struct(
    "PodDisruptionBudgetStatus",
    field("observedGeneration", 1, "int64"),
    field("disruptedPods", 2, "{Time}"),
    field("disruptionsAllowed", 3, "int32", always=True),
    field("currentHealthy", 4, "int32", always=True),
    field("desiredHealthy", 5, "int32", always=True),
    field("expectedPods", 6, "int32", always=True),
    field("conditions", 7, "[meta/v1.Condition]", merge_key="type", map_keys=("type",)),
)

package.resource(
    "poddisruptionbudgets",
    "PodDisruptionBudget",
    short_names=("pdb",),
    subresources=(subresource("status", "PodDisruptionBudget"),),
    columns=(
        NAME_COLUMN,
        column("Min Available"),
        column("Max Unavailable"),
        column("Allowed Disruptions", "integer"),
        column("Age"),
    ),
)
