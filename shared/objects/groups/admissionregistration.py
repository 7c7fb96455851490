"""Webhooks and policies that judge or change objects on their way in."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("admissionregistration/v1")

FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
REINVOCATION_POLICIES = ("IfNeeded", "Never")
SCOPES = ("*", "Cluster", "Namespaced")
SIDE_EFFECTS = ("None", "NoneOnDryRun", "Some", "Unknown")

package.kind(
    "MutatingAdmissionPolicy",
    field("spec", 2, "MutatingAdmissionPolicySpec", always=True),
)
package.struct(
    "MutatingAdmissionPolicySpec",
    field("paramKind", 1, "ParamKind"),
    field("matchConstraints", 2, "MatchResources"),
    field("variables", 3, "[Variable]", list_type="atomic"),
    field("mutations", 4, "[Mutation]", list_type="atomic"),
    field("failurePolicy", 5, "string?", fill="Fail", enum=FAILURE_POLICIES),
    field("matchConditions", 6, "[MatchCondition]", merge_key="name", map_keys=("name",)),
    field("reinvocationPolicy", 7, "string", enum=REINVOCATION_POLICIES),
)
package.struct(
    "ParamKind",
    field("apiVersion", 1, "string"),
    field("kind", 2, "string"),
    atomic=True,
)
package.struct(
    "MatchResources",
    field("namespaceSelector", 1, "meta/v1.LabelSelector", fill={}),
    field("objectSelector", 2, "meta/v1.LabelSelector", fill={}),
    field("resourceRules", 3, "[NamedRuleWithOperations]", list_type="atomic"),
    field("excludeResourceRules", 4, "[NamedRuleWithOperations]", list_type="atomic"),
    field("matchPolicy", 7, "string?", fill="Equivalent", enum=MATCH_POLICIES),
    atomic=True,
)
package.struct(
    "NamedRuleWithOperations",
    field("resourceNames", 1, "[string]", list_type="atomic"),
    field("operations", "2.1", "[string]", enum=OPERATIONS, list_type="atomic"),
    field("apiGroups", "2.2.1", "[string]", list_type="atomic"),
    field("apiVersions", "2.2.2", "[string]", list_type="atomic"),
    field("resources", "2.2.3", "[string]", list_type="atomic"),
    field("scope", "2.2.4", "string?", fill="*", enum=SCOPES),
    atomic=True,
)
package.struct(
    "Variable",
    field("name", 1, "string", required=True),
    field("expression", 2, "string", required=True),
    atomic=True,
)
package.struct(
    "Mutation",
    field("patchType", 2, "string", required=True, enum=("ApplyConfiguration", "JSONPatch")),
    field("applyConfiguration", 3, "ApplyConfiguration"),
    field("jsonPatch", 4, "JSONPatch"),
)
package.struct(
    "ApplyConfiguration",
    field("expression", 1, "string"),
)
package.struct(
    "JSONPatch",
    field("expression", 1, "string"),
)
package.struct(
    "MatchCondition",
    field("name", 1, "string", required=True),
    field("expression", 2, "string", required=True),
)
package.kind(
    "MutatingAdmissionPolicyBinding",
    field("spec", 2, "MutatingAdmissionPolicyBindingSpec", always=True),
)
package.struct(
    "MutatingAdmissionPolicyBindingSpec",
    field("policyName", 1, "string"),
    field("paramRef", 2, "ParamRef"),
    field("matchResources", 3, "MatchResources"),
)
package.struct(
    "ParamRef",
    field("name", 1, "string"),
    field("namespace", 2, "string"),
    field("selector", 3, "meta/v1.LabelSelector"),
    field("parameterNotFoundAction", 4, "string?"),
    atomic=True,
)
package.kind(
    "MutatingWebhookConfiguration",
    field("webhooks", 2, "[MutatingWebhook]", merge_key="name", map_keys=("name",)),
)
package.struct(
    "MutatingWebhook",
    field("name", 1, "string", required=True),
    field("clientConfig", 2, "WebhookClientConfig", required=True),
    field("rules", 3, "[RuleWithOperations]", list_type="atomic"),
    field("failurePolicy", 4, "string?", fill="Fail", enum=FAILURE_POLICIES),
    field("namespaceSelector", 5, "meta/v1.LabelSelector", fill={}),
    field("sideEffects", 6, "string?", required=True, enum=SIDE_EFFECTS),
    field("timeoutSeconds", 7, "int32?", fill=10),
    field("admissionReviewVersions", 8, "[string]", required=True, list_type="atomic"),
    field("matchPolicy", 9, "string?", fill="Equivalent", enum=MATCH_POLICIES),
    field("reinvocationPolicy", 10, "string?", fill="Never", enum=REINVOCATION_POLICIES),
    field("objectSelector", 11, "meta/v1.LabelSelector", fill={}),
    field("matchConditions", 12, "[MatchCondition]", merge_key="name", map_keys=("name",)),
)
package.struct(
    "WebhookClientConfig",
    field("service", 1, "ServiceReference"),
    field("caBundle", 2, "bytes"),
    field("url", 3, "string?"),
)
package.struct(
    "ServiceReference",
    field("namespace", 1, "string", required=True),
    field("name", 2, "string", required=True),
    field("path", 3, "string?"),
    field("port", 4, "int32?", fill=443),
)
package.struct(
    "RuleWithOperations",
    field("operations", 1, "[string]", enum=OPERATIONS, list_type="atomic"),
    field("apiGroups", "2.1", "[string]", list_type="atomic"),
    field("apiVersions", "2.2", "[string]", list_type="atomic"),
    field("resources", "2.3", "[string]", list_type="atomic"),
    field("scope", "2.4", "string?", fill="*", enum=SCOPES),
)
package.kind(
    "ValidatingAdmissionPolicy",
    field("spec", 2, "ValidatingAdmissionPolicySpec", always=True),
    field("status", 3, "ValidatingAdmissionPolicyStatus", always=True),
)
package.struct(
    "ValidatingAdmissionPolicySpec",
    field("paramKind", 1, "ParamKind"),
    field("matchConstraints", 2, "MatchResources"),
    field("validations", 3, "[Validation]", list_type="atomic"),
    field("failurePolicy", 4, "string?", fill="Fail", enum=FAILURE_POLICIES),
    field("auditAnnotations", 5, "[AuditAnnotation]", list_type="atomic"),
    field("matchConditions", 6, "[MatchCondition]", merge_key="name", map_keys=("name",)),
    field("variables", 7, "[Variable]", merge_key="name", map_keys=("name",)),
)
package.struct(
    "Validation",
    field("expression", 1, "string", required=True),
    field("message", 2, "string"),
    field("reason", 3, "string?"),
    field("messageExpression", 4, "string"),
)
package.struct(
    "AuditAnnotation",
    field("key", 1, "string", required=True),
    field("valueExpression", 2, "string", required=True),
)
package.struct(
    "ValidatingAdmissionPolicyStatus",
    field("observedGeneration", 1, "int64"),
    field("typeChecking", 2, "TypeChecking"),
    field("conditions", 3, "[meta/v1.Condition]", map_keys=("type",)),
)
package.struct(
    "TypeChecking",
    field("expressionWarnings", 1, "[ExpressionWarning]", list_type="atomic"),
)
package.struct(
    "ExpressionWarning",
    field("fieldRef", 2, "string", required=True),
    field("warning", 3, "string", required=True),
)
package.kind(
    "ValidatingAdmissionPolicyBinding",
    field("spec", 2, "ValidatingAdmissionPolicyBindingSpec", required=True),
)
package.struct(
    "ValidatingAdmissionPolicyBindingSpec",
    field("policyName", 1, "string", required=True, always=False),
    field("paramRef", 2, "ParamRef"),
    field("matchResources", 3, "MatchResources"),
    field(
        "validationActions", 4, "[string]", required=True, always=False, enum=("Audit", "Deny", "Warn"), list_type="set"
    ),
)
package.kind(
    "ValidatingWebhookConfiguration",
    field("webhooks", 2, "[ValidatingWebhook]", merge_key="name", map_keys=("name",)),
)
package.struct(
    "ValidatingWebhook",
    field("name", 1, "string", required=True),
    field("clientConfig", 2, "WebhookClientConfig", required=True),
    field("rules", 3, "[RuleWithOperations]", list_type="atomic"),
    field("failurePolicy", 4, "string?", fill="Fail", enum=FAILURE_POLICIES),
    field("namespaceSelector", 5, "meta/v1.LabelSelector", fill={}),
    field("sideEffects", 6, "string?", required=True, enum=SIDE_EFFECTS),
    field("timeoutSeconds", 7, "int32?", fill=10),
    field("admissionReviewVersions", 8, "[string]", required=True, list_type="atomic"),
    field("matchPolicy", 9, "string?", fill="Equivalent", enum=MATCH_POLICIES),
    field("objectSelector", 10, "meta/v1.LabelSelector", fill={}),
    field("matchConditions", 11, "[MatchCondition]", merge_key="name", map_keys=("name",)),
)

package.resource(
    "mutatingadmissionpolicies",
    "MutatingAdmissionPolicy",
    namespaced=False,
    categories=("api-extensions",),
    columns=(
        NAME_COLUMN,
        column("Mutations", "integer"),
        column("ParamKind"),
        column("Age"),
    ),
)
package.resource(
    "mutatingadmissionpolicybindings",
    "MutatingAdmissionPolicyBinding",
    namespaced=False,
    categories=("api-extensions",),
    columns=(
        NAME_COLUMN,
        column("PolicyName"),
        column("ParamRef"),
        column("Age"),
    ),
)
package.resource(
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    namespaced=False,
    categories=("api-extensions",),
    columns=(
        NAME_COLUMN,
        column("Webhooks", "integer"),
        column("Age"),
    ),
)
package.resource(
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
    namespaced=False,
    categories=("api-extensions",),
    subresources=(subresource("status", "ValidatingAdmissionPolicy"),),
    columns=(
        NAME_COLUMN,
        column("Validations", "integer"),
        column("ParamKind"),
        column("Age"),
    ),
)
package.resource(
    "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicyBinding",
    namespaced=False,
    categories=("api-extensions",),
    columns=(
        NAME_COLUMN,
        column("PolicyName"),
        column("ParamRef"),
        column("Age"),
    ),
)
package.resource(
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
    categories=("api-extensions",),
    columns=(
        NAME_COLUMN,
        column("Webhooks", "integer"),
        column("Age"),
    ),
)
