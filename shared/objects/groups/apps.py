"""Deployments, ReplicaSets, DaemonSets, StatefulSets and the revisions they keep."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("apps/v1")

UPDATE_STRATEGIES = ("OnDelete", "RollingUpdate")

package.kind(
    "ControllerRevision",
    field("data", 2, "RawExtension", immutable=True),
    field("revision", 3, "int64", required=True),
)
package.kind(
    "DaemonSet",
    field("spec", 2, "DaemonSetSpec", always=True),
    field("status", 3, "DaemonSetStatus", always=True),
)
package.struct(
    "DaemonSetSpec",
    field("selector", 1, "meta/v1.LabelSelector", required=True, always=False, immutable=True),
    field("template", 2, "core/v1.PodTemplateSpec", required=True),
    field("updateStrategy", 3, "DaemonSetUpdateStrategy", always=True),
    field("minReadySeconds", 4, "int32"),
    field("revisionHistoryLimit", 6, "int32?", fill=10),
)
package.struct(
    "DaemonSetUpdateStrategy",
    field("type", 1, "string", fill="RollingUpdate", enum=UPDATE_STRATEGIES),
    field("rollingUpdate", 2, "RollingUpdateDaemonSet"),
)
package.struct(
    "RollingUpdateDaemonSet",
    field("maxUnavailable", 1, "IntOrString?", fill=1),
    field("maxSurge", 2, "IntOrString?", fill=0),
)
package.struct(
    "DaemonSetStatus",
    field("currentNumberScheduled", 1, "int32", required=True),
    field("numberMisscheduled", 2, "int32", required=True),
    field("desiredNumberScheduled", 3, "int32", required=True),
    field("numberReady", 4, "int32", required=True),
    field("observedGeneration", 5, "int64"),
    field("updatedNumberScheduled", 6, "int32"),
    field("numberAvailable", 7, "int32"),
    field("numberUnavailable", 8, "int32"),
    field("collisionCount", 9, "int32?"),
    field("conditions", 10, "[DaemonSetCondition]", merge_key="type", map_keys=("type",)),
)
package.struct(
    "DaemonSetCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastTransitionTime", 3, "Time"),
    field("reason", 4, "string"),
    field("message", 5, "string"),
)
package.kind(
    "Deployment",
    field("spec", 2, "DeploymentSpec", always=True),
    field("status", 3, "DeploymentStatus", always=True),
)
package.struct(
    "DeploymentSpec",
    field("replicas", 1, "int32?", fill=1),
    field("selector", 2, "meta/v1.LabelSelector", required=True, always=False, immutable=True),
    field("template", 3, "core/v1.PodTemplateSpec", required=True),
    field("strategy", 4, "DeploymentStrategy", always=True, patch=("retainKeys",)),
    field("minReadySeconds", 5, "int32"),
    field("revisionHistoryLimit", 6, "int32?", fill=10),
    field("paused", 7, "bool"),
    field("progressDeadlineSeconds", 9, "int32?", fill=600),
)
package.struct(
    "DeploymentStrategy",
    field("type", 1, "string", fill="RollingUpdate", enum=("Recreate", "RollingUpdate")),
    field("rollingUpdate", 2, "RollingUpdateDeployment"),
)
package.struct(
    "RollingUpdateDeployment",
    field("maxUnavailable", 1, "IntOrString?", fill="25%"),
    field("maxSurge", 2, "IntOrString?", fill="25%"),
)
package.struct(
    "DeploymentStatus",
    field("observedGeneration", 1, "int64"),
    field("replicas", 2, "int32"),
    field("updatedReplicas", 3, "int32"),
    field("availableReplicas", 4, "int32"),
    field("unavailableReplicas", 5, "int32"),
    field("conditions", 6, "[DeploymentCondition]", merge_key="type", map_keys=("type",)),
    field("readyReplicas", 7, "int32"),
    field("collisionCount", 8, "int32?"),
    field("terminatingReplicas", 9, "int32?"),
)
package.struct(
    "DeploymentCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("reason", 4, "string"),
    field("message", 5, "string"),
    field("lastUpdateTime", 6, "Time"),
    field("lastTransitionTime", 7, "Time"),
)
package.kind(
    "ReplicaSet",
    field("spec", 2, "ReplicaSetSpec", always=True),
    field("status", 3, "ReplicaSetStatus", always=True),
)
package.struct(
    "ReplicaSetSpec",
    field("replicas", 1, "int32?", fill=1),
    field("selector", 2, "meta/v1.LabelSelector", required=True, always=False, immutable=True),
    field("template", 3, "core/v1.PodTemplateSpec", always=True),
    field("minReadySeconds", 4, "int32"),
)
package.struct(
    "ReplicaSetStatus",
    field("replicas", 1, "int32", required=True),
    field("fullyLabeledReplicas", 2, "int32"),
    field("observedGeneration", 3, "int64"),
    field("readyReplicas", 4, "int32"),
    field("availableReplicas", 5, "int32"),
    field("conditions", 6, "[ReplicaSetCondition]", merge_key="type", map_keys=("type",)),
    field("terminatingReplicas", 7, "int32?"),
)
package.struct(
    "ReplicaSetCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastTransitionTime", 3, "Time"),
    field("reason", 4, "string"),
    field("message", 5, "string"),
)
package.kind(
    "StatefulSet",
    field("spec", 2, "StatefulSetSpec", always=True),
    field("status", 3, "StatefulSetStatus", always=True),
)
package.struct(
    "StatefulSetSpec",
    field("replicas", 1, "int32?", fill=1),
    field("selector", 2, "meta/v1.LabelSelector", required=True, always=False),
    field("template", 3, "core/v1.PodTemplateSpec", required=True),
    field("volumeClaimTemplates", 4, "[core/v1.PersistentVolumeClaim]", list_type="atomic"),
    field("serviceName", 5, "string", always=True),
    field("podManagementPolicy", 6, "string", fill="OrderedReady", enum=("OrderedReady", "Parallel")),
    field("updateStrategy", 7, "StatefulSetUpdateStrategy", always=True),
    field("revisionHistoryLimit", 8, "int32?", fill=10),
    field("minReadySeconds", 9, "int32"),
    field("persistentVolumeClaimRetentionPolicy", 10, "StatefulSetPersistentVolumeClaimRetentionPolicy", fill={}),
    field("ordinals", 11, "StatefulSetOrdinals"),
)
package.struct(
    "StatefulSetUpdateStrategy",
    field("type", 1, "string", fill="RollingUpdate", enum=UPDATE_STRATEGIES),
    field("rollingUpdate", 2, "RollingUpdateStatefulSetStrategy"),
)
package.struct(
    "RollingUpdateStatefulSetStrategy",
    field("partition", 1, "int32?", fill=0),
    field("maxUnavailable", 2, "IntOrString?"),
)
package.struct(
    "StatefulSetPersistentVolumeClaimRetentionPolicy",
    field("whenDeleted", 1, "string", fill="Retain"),
    field("whenScaled", 2, "string", fill="Retain"),
)
package.struct(
    "StatefulSetOrdinals",
    field("start", 1, "int32", always=True),
)
package.struct(
    "StatefulSetStatus",
    field("observedGeneration", 1, "int64"),
    field("replicas", 2, "int32", required=True),
    field("readyReplicas", 3, "int32"),
    field("currentReplicas", 4, "int32"),
    field("updatedReplicas", 5, "int32"),
    field("currentRevision", 6, "string"),
    field("updateRevision", 7, "string"),
    field("collisionCount", 9, "int32?"),
    field("conditions", 10, "[StatefulSetCondition]", merge_key="type", map_keys=("type",)),
    field("availableReplicas", 11, "int32", always=True),
)
package.struct(
    "StatefulSetCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastTransitionTime", 3, "Time"),
    field("reason", 4, "string"),
    field("message", 5, "string"),
)

package.resource(
    "controllerrevisions",
    "ControllerRevision",
    columns=(NAME_COLUMN, column("Controller"), column("Revision"), column("Age")),
)
package.resource(
    "daemonsets",
    "DaemonSet",
    short_names=("ds",),
    categories=("all",),
    subresources=(subresource("status", "DaemonSet"),),
    columns=(
        NAME_COLUMN,
        column("Desired", "integer"),
        column("Current", "integer"),
        column("Ready", "integer"),
        column("Up-to-date", "integer"),
        column("Available", "integer"),
        column("Node Selector"),
        column("Age"),
        column("Containers", priority=1),
        column("Images", priority=1),
        column("Selector", priority=1),
    ),
)
package.resource(
    "deployments",
    "Deployment",
    short_names=("deploy",),
    categories=("all",),
    subresources=(subresource("scale", "Scale", api_version="autoscaling/v1"), subresource("status", "Deployment")),
    columns=(
        NAME_COLUMN,
        column("Ready"),
        column("Up-to-date"),
        column("Available"),
        column("Age"),
        column("Containers", priority=1),
        column("Images", priority=1),
        column("Selector", priority=1),
    ),
)
package.resource(
    "replicasets",
    "ReplicaSet",
    short_names=("rs",),
    categories=("all",),
    subresources=(subresource("scale", "Scale", api_version="autoscaling/v1"), subresource("status", "ReplicaSet")),
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
)

package.resource(
    "statefulsets",
    "StatefulSet",
    short_names=("sts",),
    categories=("all",),
    subresources=(
        subresource("scale", "Scale", api_version="autoscaling/v1"),
        subresource("status", "StatefulSet"),
    ),
    columns=(
        NAME_COLUMN,
        column("Ready"),
        column("Age"),
        column("Containers", priority=1),
        column("Images", priority=1),
    ),
)
