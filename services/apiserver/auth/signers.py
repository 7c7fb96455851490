"""Certificate signing requests name who made them, and approving or signing one takes a right on its signer (the
plugins CertificateApproval, CertificateSigning and the strategy of CertificateSigningRequests of Kubernetes).

Whoever could approve any request could make himself an administrator.
"""

from dataclasses import dataclass

from services.apiserver.auth.authorization import Authorizer
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object, Request
from services.apiserver.routes import Attributes
from shared.identity.users import User
from shared.objects.registry import Resource

GROUP, PLURAL = "certificates.k8s.io", "certificatesigningrequests"
IDENTITY = ("username", "uid", "groups", "extra")


@dataclass(frozen=True, slots=True)
class SignerGuard:
    """Asks the authorizer for `approve` and `sign` on signers, by name or as DOMAIN/*."""

    authorizer: Authorizer

    def identify(self, user: User, resource: Resource, obj: Object) -> None:
        """Write into a new request who makes it, whatever it says itself; in place."""
        spec = obj.get("spec")
        if not _is_request(resource) or not isinstance(spec, dict):
            return
        for name in IDENTITY:
            spec.pop(name, None)
        spec |= {name: value for name, value in user.info().items() if name in IDENTITY}

    def check_update(self, request: Request, resource: Resource, obj: Object, old: Object) -> None:
        """Forbidden if the caller may not approve, or not sign, for the signer of a request."""
        if not _is_request(resource):
            return
        part = request.path.rstrip("/").rpartition("/")[2]
        if part == "approval":
            self._require("approve", request.user, resource, old)
        elif part == "status" and obj.get("status") != old.get("status"):
            self._require("sign", request.user, resource, old)

    def _require(self, verb: str, user: User, resource: Resource, old: Object) -> None:
        signer = old["spec"].get("signerName", "")
        for name in (signer, f"{signer.partition('/')[0]}/*"):
            if self.authorizer.decide(user, Attributes(verb, GROUP, "*", "signers", name=name)).allowed:
                return
        why = f'user not permitted to {verb} requests with signerName "{signer}"'
        raise forbidden(resource, old["metadata"]["name"], why)


def _is_request(resource: Resource) -> bool:
    return (resource.group, resource.plural) == (GROUP, PLURAL)
