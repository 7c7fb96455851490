"""Jobs and CronJobs."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("batch/v1")

package.kind(
    "CronJob",
    field("spec", 2, "CronJobSpec", required=True),
    field("status", 3, "CronJobStatus", always=True),
)
package.struct(
    "CronJobSpec",
    field("schedule", 1, "string", required=True),
    field("startingDeadlineSeconds", 2, "int64?"),
    field("concurrencyPolicy", 3, "string", fill="Allow", enum=("Allow", "Forbid", "Replace")),
    field("suspend", 4, "bool?", fill=False),
    field("jobTemplate", 5, "JobTemplateSpec", required=True),
    field("successfulJobsHistoryLimit", 6, "int32?", fill=3),
    field("failedJobsHistoryLimit", 7, "int32?", fill=1),
    field("timeZone", 8, "string?"),
)
package.struct(
    "JobTemplateSpec",
    field("metadata", 1, "meta/v1.ObjectMeta", always=True),
    field("spec", 2, "JobSpec", always=True),
)
package.struct(
    "JobSpec",
    field("parallelism", 1, "int32?"),
    field("completions", 2, "int32?"),
    field("activeDeadlineSeconds", 3, "int64?"),
    field("selector", 4, "meta/v1.LabelSelector", immutable=True),
    field("manualSelector", 5, "bool?"),
    field("template", 6, "core/v1.PodTemplateSpec", required=True),
    field("backoffLimit", 7, "int32?"),
    field("ttlSecondsAfterFinished", 8, "int32?"),
    field("completionMode", 9, "string?", enum=("Indexed", "NonIndexed"), immutable=True),
    field("suspend", 10, "bool?"),
    field("podFailurePolicy", 11, "PodFailurePolicy", immutable=True),
    field("backoffLimitPerIndex", 12, "int32?", immutable=True),
    field("maxFailedIndexes", 13, "int32?"),
    field("podReplacementPolicy", 14, "string?", enum=("Failed", "TerminatingOrFailed")),
    field("managedBy", 15, "string?", immutable=True),
    field("successPolicy", 16, "SuccessPolicy", immutable=True),
)
package.struct(
    "PodFailurePolicy",
    field("rules", 1, "[PodFailurePolicyRule]", required=True, list_type="atomic"),
)
package.struct(
    "PodFailurePolicyRule",
    field("action", 1, "string", required=True, enum=("Count", "FailIndex", "FailJob", "Ignore")),
    field("onExitCodes", 2, "PodFailurePolicyOnExitCodesRequirement"),
    field("onPodConditions", 3, "[PodFailurePolicyOnPodConditionsPattern]", list_type="atomic"),
)
package.struct(
    "PodFailurePolicyOnExitCodesRequirement",
    field("containerName", 1, "string?"),
    field("operator", 2, "string", required=True, enum=("In", "NotIn")),
    field("values", 3, "[int32]", required=True, list_type="set"),
)
package.struct(
    "PodFailurePolicyOnPodConditionsPattern",
    field("type", 1, "string", required=True),
    field("status", 2, "string", always=True, fill="True"),
)
package.struct(
    "SuccessPolicy",
    field("rules", 1, "[SuccessPolicyRule]", required=True, list_type="atomic"),
)
package.struct(
    "SuccessPolicyRule",
    field("succeededIndexes", 1, "string?"),
    field("succeededCount", 2, "int32?"),
)
package.struct(
    "CronJobStatus",
    field("active", 1, "[core/v1.ObjectReference]", list_type="atomic"),
    field("lastScheduleTime", 4, "Time?"),
    field("lastSuccessfulTime", 5, "Time?"),
)
package.kind(
    "Job",
    field("spec", 2, "JobSpec", always=True),
    field("status", 3, "JobStatus", always=True),
)
package.struct(
    "JobStatus",
    field("conditions", 1, "[JobCondition]", merge_key="type", list_type="atomic"),
    field("startTime", 2, "Time?"),
    field("completionTime", 3, "Time?"),
    field("active", 4, "int32"),
    field("succeeded", 5, "int32"),
    field("failed", 6, "int32"),
    field("completedIndexes", 7, "string"),
    field("uncountedTerminatedPods", 8, "UncountedTerminatedPods"),
    field("ready", 9, "int32?"),
    field("failedIndexes", 10, "string?"),
    field("terminating", 11, "int32?"),
)
package.struct(
    "JobCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastProbeTime", 3, "Time"),
    field("lastTransitionTime", 4, "Time"),
    field("reason", 5, "string"),
    field("message", 6, "string"),
)
package.struct(
    "UncountedTerminatedPods",
    field("succeeded", 1, "[string]", list_type="set"),
    field("failed", 2, "[string]", list_type="set"),
)

package.resource(
    "jobs",
    "Job",
    categories=("all",),
    subresources=(subresource("status", "Job"),),
    columns=(
        NAME_COLUMN,
        column("Status"),
        column("Completions"),
        column("Duration"),
        column("Age"),
        column("Containers", priority=1),
        column("Images", priority=1),
        column("Selector", priority=1),
    ),
    field_selectors=("status.successful",),
)

package.resource(
    "cronjobs",
    "CronJob",
    short_names=("cj",),
    categories=("all",),
    subresources=(subresource("status", "CronJob"),),
    columns=(
        NAME_COLUMN,
        column("Schedule"),
        column("Timezone"),
        column("Suspend", "boolean"),
        column("Active", "integer"),
        column("Last Schedule"),
        column("Age"),
        column("Containers", priority=1),
        column("Images", priority=1),
        column("Selector", priority=1),
    ),
)
