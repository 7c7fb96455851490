"""Which resource a word means: `deploy`, `deployments`, `Deployment` or `deployments.apps`, as kubectl takes it, from
what the server says it serves."""

from __future__ import annotations

from typing import Any, NamedTuple

from shared.cli.client import ApiSession
from shared.cli.cluster import ClusterError

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Kind(NamedTuple):
    """A resource in its preferred version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of all objects (namespace ""), those of a namespace, or one."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [base]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        return "/".join([*parts, name] if name else parts)


def find(session: ApiSession, word: str) -> Kind:
    """The first resource, in the server's order, that goes by this name. ClusterError if there is none."""
    documents = [session.request("GET", path, accept=_AGGREGATED) for path in ("/api", "/apis")]
    found = choose([item for document in documents for item in document["items"]], word)
    if found is None:
        raise ClusterError(f"the server serves no resource type {word!r}; see `kubectl api-resources`")
    return found


def choose(groups: list[dict[str, Any]], word: str) -> Kind | None:
    """`find` among the groups of an APIGroupDiscoveryList."""
    wanted = word.lower()
    for group in groups:
        name = group["metadata"].get("name", "")
        for version in group["versions"]:
            for resource in version["resources"]:
                kind = resource["responseKind"]["kind"]
                plural = resource["resource"]
                names = {plural, resource.get("singularResource", ""), kind.lower(), *resource.get("shortNames", ())}
                names |= {f"{one}.{name}" for one in (plural, kind.lower())} if name else set()
                if wanted in names - {""}:
                    is_namespaced = resource["scope"] == "Namespaced"
                    return Kind(name, version["version"], plural, kind, is_namespaced)
    return None
