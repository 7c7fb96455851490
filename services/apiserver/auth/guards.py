"""What a caller needs besides the right to the request itself, once it is known what would be stored."""

from dataclasses import dataclass

from services.apiserver.auth import roles, signers
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.auth.escalation import EscalationGuard
from services.apiserver.auth.signers import SignerGuard
from services.apiserver.protocol import Object, Request
from services.apiserver.routes import Attributes
from shared.objects.registry import Resource

# with these methods an object may be created although the right to change it was asked for
CREATING_METHODS = ("PUT", "PATCH")
GUARDED_GROUPS = (roles.GROUP, signers.GROUP)


@dataclass(frozen=True, slots=True)
class Guards:
    """All checks of a write that look at the object."""

    authorizer: Authorizer

    def check_create(self, request: Request, resource: Resource, obj: Object) -> None:
        """Forbidden if the caller may not create; writes into certificate requests who made them."""
        user, metadata = request.user, obj["metadata"]
        if request.method in CREATING_METHODS:
            place = (metadata.get("namespace", ""), metadata.get("name", ""))
            self.authorizer.require(
                user, Attributes("create", resource.group, resource.version, resource.plural, "", *place)
            )
        if resource.group in GUARDED_GROUPS:
            EscalationGuard(self.authorizer).check(user, resource, obj)
            SignerGuard(self.authorizer).identify(user, resource, obj)

    def check_update(self, request: Request, resource: Resource, obj: Object, old: Object) -> None:
        """Forbidden if the change grants, approves or signs what the caller may not."""
        if resource.group in GUARDED_GROUPS:
            EscalationGuard(self.authorizer).check(request.user, resource, obj, old)
            SignerGuard(self.authorizer).check_update(request, resource, obj, old)
