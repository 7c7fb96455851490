"""The autoscaler by several metrics."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("autoscaling/v2")

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
    field("metrics", 4, "[MetricSpec]", list_type="atomic"),
    field("behavior", 5, "HorizontalPodAutoscalerBehavior"),
)
package.struct(
    "CrossVersionObjectReference",
    field("kind", 1, "string", required=True),
    field("name", 2, "string", required=True),
    field("apiVersion", 3, "string"),
)
package.struct(
    "MetricSpec",
    field("type", 1, "string", required=True),
    field("object", 2, "ObjectMetricSource"),
    field("pods", 3, "PodsMetricSource"),
    field("resource", 4, "ResourceMetricSource"),
    field("external", 5, "ExternalMetricSource"),
    field("containerResource", 7, "ContainerResourceMetricSource"),
)
package.struct(
    "ObjectMetricSource",
    field("describedObject", 1, "CrossVersionObjectReference", required=True),
    field("target", 2, "MetricTarget", required=True),
    field("metric", 3, "MetricIdentifier", required=True),
)
package.struct(
    "MetricTarget",
    field("type", 1, "string", required=True),
    field("value", 2, "Quantity?"),
    field("averageValue", 3, "Quantity?"),
    field("averageUtilization", 4, "int32?"),
)
package.struct(
    "MetricIdentifier",
    field("name", 1, "string", required=True),
    field("selector", 2, "meta/v1.LabelSelector"),
)
package.struct(
    "PodsMetricSource",
    field("metric", 1, "MetricIdentifier", required=True),
    field("target", 2, "MetricTarget", required=True),
)
package.struct(
    "ResourceMetricSource",
    field("name", 1, "string", required=True),
    field("target", 2, "MetricTarget", required=True),
)
package.struct(
    "ExternalMetricSource",
    field("metric", 1, "MetricIdentifier", required=True),
    field("target", 2, "MetricTarget", required=True),
)
package.struct(
    "ContainerResourceMetricSource",
    field("name", 1, "string", required=True),
    field("target", 2, "MetricTarget", required=True),
    field("container", 3, "string", required=True),
)
package.struct(
    "HorizontalPodAutoscalerBehavior",
    field("scaleUp", 1, "HPAScalingRules"),
    field("scaleDown", 2, "HPAScalingRules"),
)
package.struct(
    "HPAScalingRules",
    field("selectPolicy", 1, "string?"),
    field("policies", 2, "[HPAScalingPolicy]", list_type="atomic"),
    field("stabilizationWindowSeconds", 3, "int32?"),
    field("tolerance", 4, "Quantity?"),
)
package.struct(
    "HPAScalingPolicy",
    field("type", 1, "string", required=True),
    field("value", 2, "int32", required=True),
    field("periodSeconds", 3, "int32", required=True),
)
package.struct(
    "HorizontalPodAutoscalerStatus",
    field("observedGeneration", 1, "int64?"),
    field("lastScaleTime", 2, "Time?"),
    field("currentReplicas", 3, "int32"),
    field("desiredReplicas", 4, "int32", required=True),
    field("currentMetrics", 5, "[MetricStatus]", always=True, list_type="atomic"),
    field("conditions", 6, "[HorizontalPodAutoscalerCondition]", merge_key="type", map_keys=("type",)),
)
package.struct(
    "MetricStatus",
    field("type", 1, "string", required=True),
    field("object", 2, "ObjectMetricStatus"),
    field("pods", 3, "PodsMetricStatus"),
    field("resource", 4, "ResourceMetricStatus"),
    field("external", 5, "ExternalMetricStatus"),
    field("containerResource", 7, "ContainerResourceMetricStatus"),
)
package.struct(
    "ObjectMetricStatus",
    field("metric", 1, "MetricIdentifier", required=True),
    field("current", 2, "MetricValueStatus", required=True),
    field("describedObject", 3, "CrossVersionObjectReference", required=True),
)
package.struct(
    "MetricValueStatus",
    field("value", 1, "Quantity?"),
    field("averageValue", 2, "Quantity?"),
    field("averageUtilization", 3, "int32?"),
)
package.struct(
    "PodsMetricStatus",
    field("metric", 1, "MetricIdentifier", required=True),
    field("current", 2, "MetricValueStatus", required=True),
)
package.struct(
    "ResourceMetricStatus",
    field("name", 1, "string", required=True),
    field("current", 2, "MetricValueStatus", required=True),
)
package.struct(
    "ExternalMetricStatus",
    field("metric", 1, "MetricIdentifier", required=True),
    field("current", 2, "MetricValueStatus", required=True),
)
package.struct(
    "ContainerResourceMetricStatus",
    field("name", 1, "string", required=True),
    field("current", 2, "MetricValueStatus", required=True),
    field("container", 3, "string", required=True),
)
package.struct(
    "HorizontalPodAutoscalerCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastTransitionTime", 3, "Time"),
    field("reason", 4, "string"),
    field("message", 5, "string"),
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
