"""Leases."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field

package = schema.package("coordination/v1")

package.kind(
    "Lease",
    field("spec", 2, "LeaseSpec", always=True),
)
package.struct(
    "LeaseSpec",
    field("holderIdentity", 1, "string?"),
    field("leaseDurationSeconds", 2, "int32?"),
    field("acquireTime", 3, "MicroTime?"),
    field("renewTime", 4, "MicroTime?"),
    field("leaseTransitions", 5, "int32?"),
    field("strategy", 6, "string?"),
    field("preferredHolder", 7, "string?"),
)

package.resource(
    "leases",
    "Lease",
    columns=(NAME_COLUMN, column("Holder"), column("Age")),
)
