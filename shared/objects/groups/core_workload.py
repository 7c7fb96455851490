"""The workload kinds of the core group: pod templates and replication controllers."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("core/v1")

package.kind(
    "PodTemplate",
    field("template", 2, "PodTemplateSpec", always=True),
)
package.kind(
    "ReplicationController",
    field("spec", 2, "ReplicationControllerSpec", always=True),
    field("status", 3, "ReplicationControllerStatus", always=True),
)
package.struct(
    "ReplicationControllerSpec",
    field("replicas", 1, "int32?", default=1),
    field("selector", 2, "{string}", map_type="atomic"),
    field("template", 3, "PodTemplateSpec"),
    field("minReadySeconds", 4, "int32", default=0),
)
package.struct(
    "ReplicationControllerStatus",
    field("replicas", 1, "int32", required=True),
    field("fullyLabeledReplicas", 2, "int32"),
    field("observedGeneration", 3, "int64"),
    field("readyReplicas", 4, "int32"),
    field("availableReplicas", 5, "int32"),
    field("conditions", 6, "[ReplicationControllerCondition]", merge_key="type", map_keys=("type",)),
)
package.struct(
    "ReplicationControllerCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastTransitionTime", 3, "Time"),
    field("reason", 4, "string"),
    field("message", 5, "string"),
)

package.resource(
    "podtemplates",
    "PodTemplate",
    columns=(
        NAME_COLUMN,
        column("Containers"),
        column("Images"),
        column("Pod Labels"),
    ),
)
package.resource(
    "replicationcontrollers",
    "ReplicationController",
    short_names=("rc",),
    categories=("all",),
    subresources=(
        subresource("scale", "Scale", api_version="autoscaling/v1"),
        subresource("status", "ReplicationController"),
    ),
    columns=(
        NAME_COLUMN,
        column("Desired", "integer"),
        column("Current", "integer"),
        column("Ready", "integer"),
        column("Age"),
        column("Containers", priority=1),
        column("Images", priority=1),
        column("Selector", priority=1),
    ),
    field_selectors=("status.replicas",),
)
