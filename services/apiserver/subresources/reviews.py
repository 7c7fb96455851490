"""Reviews of who the caller is and what somebody may do (authentication.k8s.io, authorization.k8s.io)."""

from dataclasses import dataclass

from services.apiserver import decoding
from services.apiserver.auth.authorization import DESCRIPTIONS, PUBLIC, Authorizer
from services.apiserver.failures import invalid
from services.apiserver.protocol import Document, Object, Outcome, Request
from services.apiserver.routes import Attributes, Target
from shared.identity.users import User
from shared.objects import times
from shared.objects.validation import Cause

GROUP = "authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Reviews:
    """Answers every kind of access review with the decision of the authorizer."""

    authorizer: Authorizer

    async def create(self, request: Request, target: Target) -> Outcome:
        resource = target.resource
        body = decoding.decode_as(request, resource.api_version, resource.kind)
        spec = body.get("spec") or {}
        answer: Object = {"kind": resource.kind, "apiVersion": resource.api_version}
        answer["metadata"] = body.get("metadata") or {}
        match resource.kind:
            case "SelfSubjectReview":
                answer["metadata"] = {"creationTimestamp": times.now()}
                answer["status"] = {"userInfo": request.user.info()}
                return Document(answer, 201)
            case "SelfSubjectRulesReview":
                answer |= {"spec": spec, "status": _rules(request.user)}
                return Document(answer, 201)
            case "SelfSubjectAccessReview":
                user = request.user
            case _:
                user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""))
                if not user.name and not user.groups:
                    _refuse("spec.user", 'Invalid value: "": at least one of user or group must be specified')
        asked = _attributes(spec)
        if resource.kind == "LocalSubjectAccessReview" and asked.namespace != target.namespace:
            text = f'Invalid value: "{asked.namespace}": must match metadata.namespace'
            _refuse("spec.resourceAttributes.namespace", text)
        decision = self.authorizer.decide(user, asked)
        status: Object = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return Document(answer | {"spec": spec, "status": status}, 201)


def _attributes(spec: Object) -> Attributes:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (path is None):
        _refuse(
            "spec.resourceAttributes",
            "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )
    if path is not None:
        return Attributes(verb=path.get("verb", ""), path=path.get("path", ""))
    assert resource is not None
    names = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    return Attributes(**{name: resource.get(name, "") for name in names})


def _rules(user: User) -> Object:
    paths = [one for root in (*PUBLIC, *DESCRIPTIONS) for one in (root, f"{root}/*")]
    if user.is_master:
        return {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        }
    reviews = {
        "verbs": ["create"],
        "apiGroups": [GROUP],
        "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    }
    return {
        "resourceRules": [reviews],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": paths}],
        "incomplete": False,
    }


def _refuse(field: str, message: str) -> None:
    raise invalid(GROUP, "", "", [Cause("FieldValueInvalid", message, field)])
