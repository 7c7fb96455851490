"""Scale, the common face of everything with replicas, and the first autoscaler."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("autoscaling/v1")

package.kind(
    "HorizontalPodAutoscaler",
    field("spec", 2, "HorizontalPodAutoscalerSpec", required=True),
    field("status", 3, "HorizontalPodAutoscalerStatus", always=True),
)
package.struct(
    "HorizontalPodAutoscalerSpec",
    field("scaleTargetRef", 1, "CrossVersionObjectReference", required=True),
    field("minReplicas", 2, "int32?", fill=1),
    field("maxReplicas", 3, "int32", required=True),
    field("targetCPUUtilizationPercentage", 4, "int32?"),
)
package.struct(
    "CrossVersionObjectReference",
    field("kind", 1, "string", required=True),
    field("name", 2, "string", required=True),
    field("apiVersion", 3, "string"),
    atomic=True,
)
package.struct(
    "HorizontalPodAutoscalerStatus",
    field("observedGeneration", 1, "int64?"),
    field("lastScaleTime", 2, "Time?"),
    field("currentReplicas", 3, "int32", required=True),
    field("desiredReplicas", 4, "int32", required=True),
    field("currentCPUUtilizationPercentage", 5, "int32?"),
)
package.kind(
    "Scale",
    field("spec", 2, "ScaleSpec", always=True),
    field("status", 3, "ScaleStatus", always=True),
)
package.struct(
    "ScaleSpec",
    field("replicas", 1, "int32", default=0),
)
package.struct(
    "ScaleStatus",
    field("replicas", 1, "int32", required=True),
    field("selector", 2, "string"),
)

package.resource(
    "horizontalpodautoscalers",
    "HorizontalPodAutoscaler",
    short_names=("hpa",),
    categories=("all",),
    subresources=(subresource("status", "HorizontalPodAutoscaler"),),
    columns=(
        NAME_COLUMN,
        column("Reference"),
        column("Targets"),
        column("MinPods"),
        column("MaxPods"),
        column("Replicas"),
        column("Age"),
    ),
)
