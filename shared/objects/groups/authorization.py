"""Questions whether somebody may do something."""

from shared.objects import schema
from shared.objects.schema import CREATE_ONLY, field

package = schema.package("authorization/v1")

package.kind(
    "LocalSubjectAccessReview",
    field("spec", 2, "SubjectAccessReviewSpec", required=True),
    field("status", 3, "SubjectAccessReviewStatus", always=True),
)
package.struct(
    "SubjectAccessReviewSpec",
    field("resourceAttributes", 1, "ResourceAttributes"),
    field("nonResourceAttributes", 2, "NonResourceAttributes"),
    field("user", 3, "string"),
    field("groups", 4, "[string]", list_type="atomic"),
    field("extra", 5, "{[string]}"),
    field("uid", 6, "string"),
)
package.struct(
    "ResourceAttributes",
    field("namespace", 1, "string"),
    field("verb", 2, "string"),
    field("group", 3, "string"),
    field("version", 4, "string"),
    field("resource", 5, "string"),
    field("subresource", 6, "string"),
    field("name", 7, "string"),
    field("fieldSelector", 8, "FieldSelectorAttributes"),
    field("labelSelector", 9, "LabelSelectorAttributes"),
)
package.struct(
    "FieldSelectorAttributes",
    field("rawSelector", 1, "string"),
    field("requirements", 2, "[meta/v1.FieldSelectorRequirement]", list_type="atomic"),
)
package.struct(
    "LabelSelectorAttributes",
    field("rawSelector", 1, "string"),
    field("requirements", 2, "[meta/v1.LabelSelectorRequirement]", list_type="atomic"),
)
package.struct(
    "NonResourceAttributes",
    field("path", 1, "string"),
    field("verb", 2, "string"),
)
package.struct(
    "SubjectAccessReviewStatus",
    field("allowed", 1, "bool", required=True),
    field("reason", 2, "string"),
    field("evaluationError", 3, "string"),
    field("denied", 4, "bool"),
)
package.kind(
    "SelfSubjectAccessReview",
    field("spec", 2, "SelfSubjectAccessReviewSpec", required=True),
    field("status", 3, "SubjectAccessReviewStatus", always=True),
)
package.struct(
    "SelfSubjectAccessReviewSpec",
    field("resourceAttributes", 1, "ResourceAttributes"),
    field("nonResourceAttributes", 2, "NonResourceAttributes"),
)
package.kind(
    "SelfSubjectRulesReview",
    field("spec", 2, "SelfSubjectRulesReviewSpec", required=True),
    field("status", 3, "SubjectRulesReviewStatus", always=True),
)
package.struct(
    "SelfSubjectRulesReviewSpec",
    field("namespace", 1, "string"),
)
package.struct(
    "SubjectRulesReviewStatus",
    field("resourceRules", 1, "[ResourceRule]", required=True, list_type="atomic"),
    field("nonResourceRules", 2, "[NonResourceRule]", required=True, list_type="atomic"),
    field("incomplete", 3, "bool", required=True),
    field("evaluationError", 4, "string"),
)
package.struct(
    "ResourceRule",
    field("verbs", 1, "[string]", required=True, list_type="atomic"),
    field("apiGroups", 2, "[string]", list_type="atomic"),
    field("resources", 3, "[string]", list_type="atomic"),
    field("resourceNames", 4, "[string]", list_type="atomic"),
)
package.struct(
    "NonResourceRule",
    field("verbs", 1, "[string]", required=True, list_type="atomic"),
    field("nonResourceURLs", 2, "[string]", list_type="atomic"),
)
package.kind(
    "SubjectAccessReview",
    field("spec", 2, "SubjectAccessReviewSpec", required=True),
    field("status", 3, "SubjectAccessReviewStatus", always=True),
)

package.resource(
    "localsubjectaccessreviews",
    "LocalSubjectAccessReview",
    verbs=CREATE_ONLY,
)
package.resource(
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
    verbs=CREATE_ONLY,
)
package.resource(
    "selfsubjectrulesreviews",
    "SelfSubjectRulesReview",
    namespaced=False,
    verbs=CREATE_ONLY,
)
package.resource(
    "subjectaccessreviews",
    "SubjectAccessReview",
    namespaced=False,
    verbs=CREATE_ONLY,
)
