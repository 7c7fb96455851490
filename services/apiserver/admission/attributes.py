"""What an admission plugin is asked about: one write, as it stands when its turn comes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from services.apiserver import strategies
from services.apiserver.protocol import Object, Request
from shared.objects.registry import Resource

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


@dataclass(slots=True)
class Attributes:
    """One operation on an object or a subresource of it.

    `object` is None for deletions, `old` for creations; a plugin that mutates replaces `object` or changes it in place.
    `kind` is (group, version, kind) of the object, which for subresources may differ from the resource's.
    """

    request: Request
    operation: str
    resource: Resource
    namespace: str
    name: str
    object: Object | None
    old: Object | None = None
    subresource: str = ""
    kind: tuple[str, str, str] = ("", "", "")
    options: Object = field(default_factory=dict)
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not self.kind[2]:
            self.kind = (self.resource.group, self.resource.version, self.resource.kind)

    @property
    def key(self) -> tuple[str, str]:
        """(group, plural) of the resource."""
        return self.resource.group, self.resource.plural

    @property
    def current(self) -> Object:
        """The new object, or the old one of a deletion."""
        found = self.object if self.object is not None else self.old
        return found if found is not None else {}


@dataclass(frozen=True, slots=True)
class Lens:
    """How a subresource of another kind shows an object, for example its Scale, and how it is put back."""

    subresource: str
    kind: tuple[str, str, str]
    show: Callable[[Object], Object]
    put: Callable[[Object, Object], Object]

    def seen(self, asked: Attributes) -> Attributes:
        """The operation as one on the subresource."""
        assert asked.object is not None
        old = self.show(asked.old) if asked.old is not None else None
        return replace(asked, object=self.show(asked.object), old=old, subresource=self.subresource, kind=self.kind)


def creation(request: Request, resource: Resource, obj: Object) -> Attributes:
    """Creating an object."""
    metadata = obj["metadata"]
    name = metadata.get("name") or metadata.get("generateName", "")
    namespace = _namespace(resource, metadata.get("namespace", ""), name)
    return Attributes(request, CREATE, resource, namespace, name, obj, dry_run=request.dry_run)


def change(request: Request, resource: Resource, obj: Object, old: Object, subresource: str) -> Attributes:
    """Replacing an object, or what a subresource is of it."""
    metadata = old["metadata"]
    namespace = _namespace(resource, metadata.get("namespace", ""), metadata["name"])
    return Attributes(
        request, UPDATE, resource, namespace, metadata["name"], obj, old, subresource, dry_run=request.dry_run
    )


def removal(request: Request, resource: Resource, old: Object, options: Object) -> Attributes:
    """Deleting an object."""
    metadata = old["metadata"]
    namespace = _namespace(resource, metadata.get("namespace", ""), metadata["name"])
    dry = request.dry_run or "All" in (options.get("dryRun") or ())
    return Attributes(request, DELETE, resource, namespace, metadata["name"], None, old, options=options, dry_run=dry)


def _namespace(resource: Resource, namespace: str, name: str) -> str:
    """A namespace counts as being in itself."""
    return name if strategies.key(resource) == ("", "namespaces") else namespace
