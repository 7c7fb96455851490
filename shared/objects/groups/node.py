"""Runtime classes."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field

package = schema.package("node/v1")

package.kind(
    "RuntimeClass",
    field("handler", 2, "string", required=True, immutable=True),
    field("overhead", 3, "Overhead"),
    field("scheduling", 4, "Scheduling"),
)
package.struct(
    "Overhead",
    field("podFixed", 1, "{Quantity}"),
)
package.struct(
    "Scheduling",
    field("nodeSelector", 1, "{string}", map_type="atomic"),
    field("tolerations", 2, "[core/v1.Toleration]", list_type="atomic"),
)

package.resource(
    "runtimeclasses",
    "RuntimeClass",
    namespaced=False,
    columns=(
        NAME_COLUMN,
        column("Handler"),
        column("Age"),
    ),
)
