"""Who may do what, until roles exist: administrators everything, nodes what their pods need, everybody who is known the
documents that describe the API, the unknown only whether the server is alive."""

from dataclasses import dataclass

from services.apiserver.auth.nodes import NodeAuthorizer
from services.apiserver.routes import Attributes
from shared.errors import Forbidden
from shared.identity.users import AUTHENTICATED, User

PUBLIC = ("/version", "/healthz", "/livez", "/readyz")
DESCRIPTIONS = ("/api", "/apis", "/openapi")
# reviews that everybody may make about himself
SELF_REVIEWS = frozenset(
    {
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
    }
)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an action is allowed, and why."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Decides on attributes; pure but for what the node rules look up in the cache."""

    nodes: NodeAuthorizer

    def decide(self, user: User, asked: Attributes) -> Decision:
        if user.is_master:
            return Decision(True)
        if asked.path:
            return _on_path(user, asked)
        if AUTHENTICATED in user.groups and (asked.group, asked.resource) in SELF_REVIEWS and asked.verb == "create":
            return Decision(True, "everybody may review himself")
        node = user.node
        if node is not None:
            return Decision(*self.nodes.decide(node, asked))
        return Decision(False)

    def require(self, user: User, asked: Attributes) -> None:
        """Forbidden, worded as Kubernetes does, unless the action is allowed."""
        decision = self.decide(user, asked)
        if not decision.allowed:
            raise refusal(user, asked, decision.reason)


def refusal(user: User, asked: Attributes, reason: str = "") -> Forbidden:
    """The 403 of an action that is not allowed."""
    because = f": {reason}" if reason else ""
    if asked.path:
        return Forbidden(f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"{because}', details={})
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    subject = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    named = f'{subject} "{asked.name}"' if asked.name else subject
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
    return Forbidden(
        f'{named} is forbidden: User "{user.name}" cannot {asked.verb} resource "{resource}" in API group '
        f'"{asked.group}" {scope}{because}',
        details={key: value for key, value in details.items() if value},
    )


def _on_path(user: User, asked: Attributes) -> Decision:
    if asked.verb != "get":
        return Decision(False)
    if _is_below(asked.path, PUBLIC):
        return Decision(True)
    if AUTHENTICATED in user.groups and _is_below(asked.path, DESCRIPTIONS):
        return Decision(True)
    return Decision(False)


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)
