"""Reviews of who the caller is and what somebody may do (authentication.k8s.io, authorization.k8s.io)."""

from dataclasses import dataclass

from services.apiserver import decoding
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.failures import bad_request, invalid
from services.apiserver.protocol import Document, Object, Outcome, Request
from services.apiserver.routes import Attributes, Target
from shared.identity.users import User
from shared.objects import times
from shared.objects.validation import Cause

GROUP = "authorization.k8s.io"
RESOURCE_RULE = ("verbs", "apiGroups", "resources", "resourceNames")
PATH_RULE = ("verbs", "nonResourceURLs")


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
                answer |= {"spec": spec, "status": self._rules(request.user, spec.get("namespace", ""))}
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

    def _rules(self, user: User, namespace: str) -> Object:
        """All rules that a user has in a namespace, as SelfSubjectRulesReview shows them."""
        if not namespace:
            raise bad_request("no namespace on request")
        grants = self.authorizer.roles.grants(user)
        sources = [rule.source for rule in grants.rules(namespace)]
        status: Object = {
            "resourceRules": [_shown(one, RESOURCE_RULE) for one in sources if one.get("resources")],
            "nonResourceRules": [_shown(one, PATH_RULE) for one in sources if one.get("nonResourceURLs")],
            "incomplete": False,
        }
        problems = grants.problems(namespace)
        if problems:
            status |= {"incomplete": True, "evaluationError": problems}
        return status


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


def _shown(rule: Object, fields: tuple[str, ...]) -> Object:
    return {name: rule[name] for name in fields if rule.get(name)}


def _refuse(field: str, message: str) -> None:
    raise invalid(GROUP, "", "", [Cause("FieldValueInvalid", message, field)])
