"""Priority and fairness of API requests."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("flowcontrol/v1")

package.kind(
    "FlowSchema",
    field("spec", 2, "FlowSchemaSpec", always=True),
    field("status", 3, "FlowSchemaStatus", always=True),
)
package.struct(
    "FlowSchemaSpec",
    field("priorityLevelConfiguration", 1, "PriorityLevelConfigurationReference", required=True),
    field("matchingPrecedence", 2, "int32", always=True),
    field("distinguisherMethod", 3, "FlowDistinguisherMethod"),
    field("rules", 4, "[PolicyRulesWithSubjects]", list_type="atomic"),
)
package.struct(
    "PriorityLevelConfigurationReference",
    field("name", 1, "string", required=True),
)
package.struct(
    "FlowDistinguisherMethod",
    field("type", 1, "string", required=True),
)
package.struct(
    "PolicyRulesWithSubjects",
    field("subjects", 1, "[Subject]", required=True, list_type="atomic"),
    field("resourceRules", 2, "[ResourcePolicyRule]", list_type="atomic"),
    field("nonResourceRules", 3, "[NonResourcePolicyRule]", list_type="atomic"),
)
package.struct(
    "Subject",
    field("kind", 1, "string", required=True),
    field("user", 2, "UserSubject"),
    field("group", 3, "GroupSubject"),
    field("serviceAccount", 4, "ServiceAccountSubject"),
)
package.struct(
    "UserSubject",
    field("name", 1, "string", required=True),
)
package.struct(
    "GroupSubject",
    field("name", 1, "string", required=True),
)
package.struct(
    "ServiceAccountSubject",
    field("namespace", 1, "string", required=True),
    field("name", 2, "string", required=True),
)
package.struct(
    "ResourcePolicyRule",
    field("verbs", 1, "[string]", required=True, list_type="set"),
    field("apiGroups", 2, "[string]", required=True, list_type="set"),
    field("resources", 3, "[string]", required=True, list_type="set"),
    field("clusterScope", 4, "bool"),
    field("namespaces", 5, "[string]", always=True, list_type="set"),
)
package.struct(
    "NonResourcePolicyRule",
    field("verbs", 1, "[string]", required=True, list_type="set"),
    field("nonResourceURLs", 6, "[string]", required=True, list_type="set"),
)
package.struct(
    "FlowSchemaStatus",
    field("conditions", 1, "[FlowSchemaCondition]", merge_key="type", map_keys=("type",)),
)
package.struct(
    "FlowSchemaCondition",
    field("type", 1, "string"),
    field("status", 2, "string"),
    field("lastTransitionTime", 3, "Time"),
    field("reason", 4, "string"),
    field("message", 5, "string"),
)
package.kind(
    "PriorityLevelConfiguration",
    field("spec", 2, "PriorityLevelConfigurationSpec", always=True),
    field("status", 3, "PriorityLevelConfigurationStatus", always=True),
)
package.struct(
    "PriorityLevelConfigurationSpec",
    field("type", 1, "string", required=True),
    field("limited", 2, "LimitedPriorityLevelConfiguration"),
    field("exempt", 3, "ExemptPriorityLevelConfiguration"),
)
package.struct(
    "LimitedPriorityLevelConfiguration",
    field("nominalConcurrencyShares", 1, "int32?", fill=30),
    field("limitResponse", 2, "LimitResponse", always=True),
    field("lendablePercent", 3, "int32?", fill=0),
    field("borrowingLimitPercent", 4, "int32?"),
)
package.struct(
    "LimitResponse",
    field("type", 1, "string", required=True),
    field("queuing", 2, "QueuingConfiguration"),
)
package.struct(
    "QueuingConfiguration",
    field("queues", 1, "int32", always=True),
    field("handSize", 2, "int32", always=True),
    field("queueLengthLimit", 3, "int32", always=True),
)
package.struct(
    "ExemptPriorityLevelConfiguration",
    field("nominalConcurrencyShares", 1, "int32?", fill=0),
    field("lendablePercent", 2, "int32?", fill=0),
)
package.struct(
    "PriorityLevelConfigurationStatus",
    field("conditions", 1, "[PriorityLevelConfigurationCondition]", merge_key="type", map_keys=("type",)),
)
package.struct(
    "PriorityLevelConfigurationCondition",
    field("type", 1, "string"),
    field("status", 2, "string"),
    field("lastTransitionTime", 3, "Time"),
    field("reason", 4, "string"),
    field("message", 5, "string"),
)

package.resource(
    "flowschemas",
    "FlowSchema",
    namespaced=False,
    subresources=(subresource("status", "FlowSchema"),),
    columns=(
        NAME_COLUMN,
        column("PriorityLevel"),
        column("MatchingPrecedence"),
        column("DistinguisherMethod"),
        column("Age"),
        column("MissingPL"),
    ),
)
package.resource(
    "prioritylevelconfigurations",
    "PriorityLevelConfiguration",
    namespaced=False,
    subresources=(subresource("status", "PriorityLevelConfiguration"),),
    columns=(
        NAME_COLUMN,
        column("Type"),
        column("NominalConcurrencyShares"),
        column("Queues"),
        column("HandSize"),
        column("QueueLengthLimit"),
        column("Age"),
    ),
)
