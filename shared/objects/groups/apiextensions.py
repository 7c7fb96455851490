"""Custom resource definitions."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("apiextensions/v1")

package.kind(
    "CustomResourceDefinition",
    field("spec", 2, "CustomResourceDefinitionSpec", required=True),
    field("status", 3, "CustomResourceDefinitionStatus", always=True),
)
package.struct(
    "CustomResourceDefinitionSpec",
    field("group", 1, "string", required=True),
    field("names", 3, "CustomResourceDefinitionNames", required=True),
    field("scope", 4, "string", required=True),
    field("versions", 7, "[CustomResourceDefinitionVersion]", required=True, list_type="atomic"),
    field("conversion", 9, "CustomResourceConversion"),
    field("preserveUnknownFields", 10, "bool"),
)
package.struct(
    "CustomResourceDefinitionNames",
    field("plural", 1, "string", required=True),
    field("singular", 2, "string"),
    field("shortNames", 3, "[string]", list_type="atomic"),
    field("kind", 4, "string", required=True),
    field("listKind", 5, "string"),
    field("categories", 6, "[string]", list_type="atomic"),
)
package.struct(
    "CustomResourceDefinitionVersion",
    field("name", 1, "string", required=True),
    field("served", 2, "bool", required=True),
    field("storage", 3, "bool", required=True),
    field("schema", 4, "CustomResourceValidation"),
    field("subresources", 5, "CustomResourceSubresources"),
    field("additionalPrinterColumns", 6, "[CustomResourceColumnDefinition]", list_type="atomic"),
    field("deprecated", 7, "bool"),
    field("deprecationWarning", 8, "string"),
    field("selectableFields", 9, "[SelectableField]", list_type="atomic"),
)
package.struct(
    "CustomResourceValidation",
    field("openAPIV3Schema", 1, "JSONSchemaProps"),
)
package.struct(
    "JSONSchemaProps",
    field("id", 1, "string"),
    field("$schema", 2, "string"),
    field("$ref", 3, "string"),
    field("description", 4, "string"),
    field("type", 5, "string"),
    field("format", 6, "string"),
    field("title", 7, "string"),
    field("default", 8, "JSON"),
    field("maximum", 9, "double?"),
    field("exclusiveMaximum", 10, "bool"),
    field("minimum", 11, "double?"),
    field("exclusiveMinimum", 12, "bool"),
    field("maxLength", 13, "int64?"),
    field("minLength", 14, "int64?"),
    field("pattern", 15, "string"),
    field("maxItems", 16, "int64?"),
    field("minItems", 17, "int64?"),
    field("uniqueItems", 18, "bool"),
    field("multipleOf", 19, "double?"),
    field("enum", 20, "[JSON]", list_type="atomic"),
    field("maxProperties", 21, "int64?"),
    field("minProperties", 22, "int64?"),
    field("required", 23, "[string]", list_type="atomic"),
    field("items", 24, "JSONSchemaPropsOrArray"),
    field("allOf", 25, "[JSONSchemaProps]", list_type="atomic"),
    field("oneOf", 26, "[JSONSchemaProps]", list_type="atomic"),
    field("anyOf", 27, "[JSONSchemaProps]", list_type="atomic"),
    field("not", 28, "JSONSchemaProps"),
    field("properties", 29, "{JSONSchemaProps}"),
    field("additionalProperties", 30, "JSONSchemaPropsOrBool"),
    field("patternProperties", 31, "{JSONSchemaProps}"),
    field("dependencies", 32, "{JSONSchemaPropsOrStringArray}"),
    field("additionalItems", 33, "JSONSchemaPropsOrBool"),
    field("definitions", 34, "{JSONSchemaProps}"),
    field("externalDocs", 35, "ExternalDocumentation"),
    field("example", 36, "JSON"),
    field("nullable", 37, "bool"),
    field("x-kubernetes-preserve-unknown-fields", 38, "bool"),
    field("x-kubernetes-embedded-resource", 39, "bool"),
    field("x-kubernetes-int-or-string", 40, "bool"),
    field("x-kubernetes-list-map-keys", 41, "[string]", list_type="atomic"),
    field("x-kubernetes-list-type", 42, "string"),
    field("x-kubernetes-map-type", 43, "string"),
    field("x-kubernetes-validations", 44, "[ValidationRule]", merge_key="rule", map_keys=("rule",)),
)
package.struct(
    "ExternalDocumentation",
    field("description", 1, "string"),
    field("url", 2, "string"),
)
package.struct(
    "ValidationRule",
    field("rule", 1, "string", required=True),
    field("message", 2, "string"),
    field("messageExpression", 3, "string"),
    field(
        "reason",
        4,
        "string",
        enum=("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"),
    ),
    field("fieldPath", 5, "string"),
    field("optionalOldSelf", 6, "bool"),
)
package.struct(
    "CustomResourceSubresources",
    field("status", 1, "Empty"),
    field("scale", 2, "CustomResourceSubresourceScale"),
)
package.struct(
    "CustomResourceSubresourceScale",
    field("specReplicasPath", 1, "string", required=True),
    field("statusReplicasPath", 2, "string", required=True),
    field("labelSelectorPath", 3, "string"),
)
package.struct(
    "CustomResourceColumnDefinition",
    field("name", 1, "string", required=True),
    field("type", 2, "string", required=True),
    field("format", 3, "string"),
    field("description", 4, "string"),
    field("priority", 5, "int32?"),
    field("jsonPath", 6, "string", required=True),
)
package.struct(
    "SelectableField",
    field("jsonPath", 1, "string", required=True),
)
package.struct(
    "CustomResourceConversion",
    field("strategy", 1, "string", required=True),
    field("webhook", 2, "WebhookConversion"),
)
package.struct(
    "WebhookConversion",
    field("clientConfig", 2, "WebhookClientConfig"),
    field("conversionReviewVersions", 3, "[string]", required=True, list_type="atomic"),
)
package.struct(
    "WebhookClientConfig",
    field("service", 1, "ServiceReference"),
    field("caBundle", 2, "bytes"),
    field("url", 3, "string"),
)
package.struct(
    "ServiceReference",
    field("namespace", 1, "string", required=True),
    field("name", 2, "string", required=True),
    field("path", 3, "string"),
    field("port", 4, "int32?", fill=443),
)
package.struct(
    "CustomResourceDefinitionStatus",
    field("conditions", 1, "[CustomResourceDefinitionCondition]", map_keys=("type",)),
    field("acceptedNames", 2, "CustomResourceDefinitionNames", always=True),
    field("storedVersions", 3, "[string]", list_type="atomic"),
    field("observedGeneration", 4, "int64?"),
)
package.struct(
    "CustomResourceDefinitionCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastTransitionTime", 3, "Time"),
    field("reason", 4, "string"),
    field("message", 5, "string"),
    field("observedGeneration", 6, "int64?"),
)

package.resource(
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=(subresource("status", "CustomResourceDefinition"),),
    columns=(
        NAME_COLUMN,
        column("Created At", "date"),
    ),
)
