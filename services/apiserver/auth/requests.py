"""What a request asks for, read from its path alone: for what no kind is served as, and before anything is routed.

The rules are those of Kubernetes' RequestInfo, so that a caller is refused in the same words whether or not the
resource exists.
"""

from services.apiserver.routes import METHOD_VERBS, Attributes


def attributes(method: str, path: str, *, watch: bool) -> Attributes:
    """The attributes of a request; `watch` is the query parameter."""
    parts = path.strip("/").split("/")
    minimum = {"api": 3, "apis": 4}.get(parts[0])
    if minimum is None or len(parts) < minimum:
        return Attributes(verb=method.lower(), path=path)
    group = parts[1] if parts[0] == "apis" else ""
    version, rest = parts[minimum - 2], parts[minimum - 1 :]
    verb = METHOD_VERBS.get(method, {"GET": "get", "HEAD": "get", "DELETE": "delete"}.get(method, ""))
    if rest[0] == "watch" and len(rest) > 1:
        verb, rest = "watch", rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    resource, name, subresource = (*rest, "", "")[:3]
    if not name:
        verb = {"get": "watch" if watch else "list", "delete": "deletecollection"}.get(verb, verb)
    return Attributes(verb, group, version, resource, subresource, namespace, name)
