"""Label and field selectors of a request as one predicate on stored records."""

from dataclasses import dataclass

from services.apiserver import conversion
from services.apiserver.protocol import Request
from services.apiserver.routes import Target
from shared.objects import selectors
from shared.objects.registry import Resource
from shared.objects.selectors import FieldSelector, LabelSelector
from shared.state.cache import Record

NO_LABELS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list, watch or deletecollection chooses; `name` is set by paths that name one object."""

    labels: LabelSelector | None = None
    fields: FieldSelector | None = None
    name: str = ""

    @classmethod
    def of(cls, request: Request, resource: Resource, target: Target | None = None) -> "Selection":
        """The selectors of a request; BadRequest if one cannot be parsed or names an unknown field."""
        labels, fields = request.query.get("labelSelector"), request.query.get("fieldSelector")
        return cls(
            selectors.parse_labels(labels) if labels else None,
            selectors.parse_fields(resource, fields) if fields else None,
            target.name if target is not None else "",
        )

    @property
    def is_open(self) -> bool:
        """Whether everything is chosen."""
        return self.labels is None and self.fields is None and not self.name

    def matches(self, resource: Resource, record: Record) -> bool:
        """Whether a stored object is chosen."""
        if self.name and record.ref.name != self.name:
            return False
        if self.labels is not None and not self.labels.matches(record.object["metadata"].get("labels") or NO_LABELS):
            return False
        return self.fields is None or self.fields.matches(conversion.view(resource, record))
