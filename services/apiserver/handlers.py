"""The table of what is served by more than the generic rules: subresources and resources that store nothing."""

from services.apiserver.admission.subresources import Subresources
from services.apiserver.auth.authentication import Authenticator
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.auth.nodes import NodeAuthorizer
from services.apiserver.protocol import Outcome, Request
from services.apiserver.routes import OPTIONS_VERB, Serve, Target
from services.apiserver.store import Store
from services.apiserver.streaming.checkpoints import Checkpoints
from services.apiserver.streaming.logs import Logs
from services.apiserver.streaming.proxying import Proxy
from services.apiserver.streaming.sessions import Sessions
from services.apiserver.subresources.binding import bind
from services.apiserver.subresources.eviction import OLDER_VERSIONS, Evictions
from services.apiserver.subresources.migration import Migrations
from services.apiserver.subresources.reviews import Reviews
from services.apiserver.subresources.scale import Scaling
from services.apiserver.subresources.tokens import TokenRequests, TokenReviews
from services.apiserver.write import Writer
from shared.bus.port import Bus
from shared.identity.tokens import TokenKey


def special_handlers(
    bus: Bus,
    store: Store,
    writer: Writer,
    authorizer: Authorizer,
    authenticator: Authenticator,
    key: TokenKey,
    nodes: NodeAuthorizer,
) -> dict[tuple[str, str, str], Serve]:
    """(group, resource[/subresource], verb) -> handler; the group `*` stands for all that have the subresource."""

    async def binding(request: Request, target: Target) -> Outcome:
        return await bind(store, request, target)

    scaling = Scaling(store, writer)
    reviews = Reviews(authorizer)
    evictions = Evictions(store, writer)
    guarded = Subresources(writer.admission.extensions).guarded
    sessions = Sessions(bus, store)
    checkpoints = Checkpoints(bus, store)
    table: dict[tuple[str, str, str], Serve] = {
        ("", "bindings", "create"): guarded(binding, "v1", "Binding"),
        ("", "pods/binding", "create"): guarded(binding, "v1", "Binding"),
        ("", "pods/eviction", "create"): guarded(evictions.create, "policy/v1", "Eviction", OLDER_VERSIONS),
        ("", "pods/checkpoint", "create"): checkpoints.take,
        ("", "pods/migrate", "create"): guarded(Migrations(bus, store).create, "v1", "Binding"),
        ("", "pods/log", "get"): Logs(bus, store).get,
        ("", "serviceaccounts/token", "create"): guarded(
            TokenRequests(store, key, nodes).create, "authentication.k8s.io/v1", "TokenRequest"
        ),
        ("authentication.k8s.io", "tokenreviews", "create"): TokenReviews(authenticator, key).create,
        ("authentication.k8s.io", "selfsubjectreviews", "create"): reviews.create,
        ("*", "*/scale", "get"): scaling.get,
        ("*", "*/scale", "update"): scaling.update,
        ("*", "*/scale", "patch"): scaling.patch,
    }
    for plural in ("subjectaccessreviews", "localsubjectaccessreviews"):
        table["authorization.k8s.io", plural, "create"] = reviews.create
    for plural in ("selfsubjectaccessreviews", "selfsubjectrulesreviews"):
        table["authorization.k8s.io", plural, "create"] = reviews.create
    proxy = Proxy(bus, store)
    for verb in ("get", "create", "update", "patch", "delete", OPTIONS_VERB):
        table["", "pods/proxy", verb] = proxy.pod
        table["", "services/proxy", verb] = proxy.service
        table["", "nodes/proxy", verb] = proxy.node
    for verb in ("get", "create"):
        table["", "pods/exec", verb] = sessions.execute
        table["", "pods/attach", verb] = sessions.attach
        table["", "pods/portforward", verb] = sessions.forward
    return table
