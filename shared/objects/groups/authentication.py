"""Who a token or a request belongs to, and new tokens."""

from shared.objects import schema
from shared.objects.schema import CREATE_ONLY, field

package = schema.package("authentication/v1")

package.kind(
    "SelfSubjectReview",
    field("status", 2, "SelfSubjectReviewStatus", always=True),
)
package.struct(
    "SelfSubjectReviewStatus",
    field("userInfo", 1, "UserInfo", always=True),
)
package.struct(
    "UserInfo",
    field("username", 1, "string"),
    field("uid", 2, "string"),
    field("groups", 3, "[string]", list_type="atomic"),
    field("extra", 4, "{[string]}"),
)
package.kind(
    "TokenRequest",
    field("spec", 2, "TokenRequestSpec", always=True),
    field("status", 3, "TokenRequestStatus", always=True),
)
package.struct(
    "TokenRequestSpec",
    field("audiences", 1, "[string]", always=True, list_type="atomic"),
    field("boundObjectRef", 3, "BoundObjectReference"),
    field("expirationSeconds", 4, "int64?", fill=3600),
)
package.struct(
    "BoundObjectReference",
    field("kind", 1, "string"),
    field("apiVersion", 2, "string"),
    field("name", 3, "string"),
    field("uid", 4, "string"),
)
package.struct(
    "TokenRequestStatus",
    field("token", 1, "string", always=True),
    field("expirationTimestamp", 2, "Time"),
)
package.kind(
    "TokenReview",
    field("spec", 2, "TokenReviewSpec", required=True),
    field("status", 3, "TokenReviewStatus", always=True),
)
package.struct(
    "TokenReviewSpec",
    field("token", 1, "string", required=True, always=False),
    field("audiences", 2, "[string]", list_type="atomic"),
)
package.struct(
    "TokenReviewStatus",
    field("authenticated", 1, "bool"),
    field("user", 2, "UserInfo", always=True),
    field("error", 3, "string"),
    field("audiences", 4, "[string]", list_type="atomic"),
)

package.resource(
    "selfsubjectreviews",
    "SelfSubjectReview",
    namespaced=False,
    verbs=CREATE_ONLY,
)
package.resource(
    "tokenreviews",
    "TokenReview",
    namespaced=False,
    verbs=CREATE_ONLY,
)
