"""Who may do what: administrators everything, nodes what their pods need, everybody what roles bound to them allow."""

from dataclasses import dataclass

from services.apiserver.auth.nodes import NodeAuthorizer
from services.apiserver.auth.roles import Decision, RoleIndex
from services.apiserver.auth.rules import name_of
from services.apiserver.failures import named, qualified
from services.apiserver.routes import Attributes
from shared.errors import Forbidden
from shared.identity.users import User


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Decides on attributes; pure but for what nodes and roles keep from the cache's changes."""

    nodes: NodeAuthorizer
    roles: RoleIndex

    def decide(self, user: User, asked: Attributes) -> Decision:
        if user.is_master:
            return Decision(True)
        node, why = user.node, ""
        if node is not None and not asked.path:
            allowed, why = self.nodes.decide(node, asked)
            if allowed:
                return Decision(True)
        decision = self.roles.grants(user).decide(asked)
        if decision.allowed or not why:
            return decision
        return Decision(False, "\n".join(filter(None, (why, decision.reason))))

    def require(self, user: User, asked: Attributes) -> Decision:
        """Why the action is allowed; Forbidden, worded as Kubernetes does, if it is not."""
        decision = self.decide(user, asked)
        if not decision.allowed:
            raise refusal(user, asked, decision.reason)
        return decision


def refusal(user: User, asked: Attributes, reason: str = "") -> Forbidden:
    """The 403 of an action that is not allowed."""
    because = f": {reason}" if reason else ""
    if asked.path:
        return Forbidden(f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"{because}', details={})
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    subject, name = qualified(asked.group, asked.resource), name_of(asked)
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    head = f'{subject} "{name}"' if name else subject
    return Forbidden(
        f'{head} is forbidden: User "{user.name}" cannot {asked.verb} resource "{resource}" in API group '
        f'"{asked.group}" {scope}{because}',
        details=named(asked.group, asked.resource, name),
    )
