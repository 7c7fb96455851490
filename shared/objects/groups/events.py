"""Events as the events.k8s.io group shows them."""

from shared.objects import schema
from shared.objects.schema import column, field

package = schema.package("events/v1")

package.kind(
    "Event",
    field("eventTime", 2, "MicroTime", required=True),
    field("series", 3, "EventSeries"),
    field("reportingController", 4, "string"),
    field("reportingInstance", 5, "string"),
    field("action", 6, "string"),
    field("reason", 7, "string"),
    field("regarding", 8, "core/v1.ObjectReference", always=True),
    field("related", 9, "core/v1.ObjectReference"),
    field("note", 10, "string"),
    field("type", 11, "string"),
    field("deprecatedSource", 12, "core/v1.EventSource", always=True),
    field("deprecatedFirstTimestamp", 13, "Time"),
    field("deprecatedLastTimestamp", 14, "Time"),
    field("deprecatedCount", 15, "int32"),
)
package.struct(
    "EventSeries",
    field("count", 1, "int32", required=True),
    field("lastObservedTime", 2, "MicroTime", required=True),
)

package.resource(
    "events",
    "Event",
    short_names=("ev",),
    columns=(
        column("Last Seen"),
        column("Type"),
        column("Reason"),
        column("Object"),
        column("Subobject", priority=1),
        column("Source", priority=1),
        column("Message"),
        column("First Seen", priority=1),
        column("Count", priority=1),
        column("Name", format="name", priority=1),
    ),
    field_selectors=(
        "type",
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
    ),
)
