"""A short notation for roles and bindings, so that a hundred of them can be read at a glance.

A role is a line with its name (`namespace/name` for a Role) and its rules below it, indented: verbs, API groups,
resources, and after `=` the names they are limited to; `url` in place of the groups makes a rule on paths. `read`,
`write` and `record` stand for several verbs, `core` for the group without a name. `into:edit` labels a ClusterRole to
be aggregated into `edit`, `collects:edit` makes it the one that aggregates. A binding is a line with the role's name
and the subjects it is bound to: `User/name`, `Group/name`, `ServiceAccount/namespace/name`.
"""

from collections.abc import Iterator

from services.apiserver.protocol import Object

GROUP = "rbac.authorization.k8s.io"
AUTOUPDATE = f"{GROUP.replace('k8s.io', 'kubernetes.io')}/autoupdate"
AGGREGATE = f"{GROUP}/aggregate-to-"
VERBS = {
    "read": ("get", "list", "watch"),
    "write": ("create", "delete", "deletecollection", "patch", "update"),
    "record": ("create", "patch", "update"),
}


def roles(text: str, prefix: str = "") -> Iterator[Object]:
    """The roles of a text, their names prefixed."""
    current: Object | None = None
    for line in filter(None, text.splitlines()):
        if line.startswith(" "):
            assert current is not None
            current.setdefault("rules", []).append(rule(line))
            continue
        if current is not None:
            yield current
        name, *marks = line.split()
        current = {"metadata": _metadata(prefix + name)}
        for mark in marks:
            word, _, target = mark.partition(":")
            label = f"{AGGREGATE}{target}"
            if word == "into":
                current["metadata"]["labels"][label] = "true"
            else:
                current["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}
    if current is not None:
        yield current


def bindings(text: str) -> Iterator[Object]:
    """The bindings of a text."""
    for line in filter(None, text.splitlines()):
        place, *words = line.split()
        metadata = _metadata(place)
        kind = "Role" if "namespace" in metadata else "ClusterRole"
        role = {"apiGroup": GROUP, "kind": kind, "name": metadata["name"]}
        if words and words[0].startswith("as:"):
            metadata["name"] = words.pop(0).removeprefix("as:")
        yield {"metadata": metadata, "roleRef": role, "subjects": [subject(word) for word in words]}


def rule(line: str) -> Object:
    """A PolicyRule; its lists are sorted, as Kubernetes stores them."""
    allowed, _, names = line.partition(" = ")
    verbs, groups, *resources = allowed.split()
    found: Object = {"verbs": sorted(one for word in verbs.split(",") for one in VERBS.get(word, (word,)))}
    if groups == "url":
        return found | {"nonResourceURLs": sorted(resources)}
    found |= {
        "apiGroups": sorted("" if group == "core" else group for group in groups.split(",")),
        "resources": sorted(resources),
    }
    return found | {"resourceNames": sorted(names.split())} if names else found


def subject(word: str) -> Object:
    """A Subject."""
    kind, *place = word.split("/")
    if kind == "ServiceAccount":
        return {"kind": kind, "name": place[1], "namespace": place[0]}
    return {"apiGroup": GROUP, "kind": kind, "name": place[0]}


def _metadata(place: str) -> Object:
    namespace, _, name = place.rpartition("/")
    metadata: Object = {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTOUPDATE: "true"},
    }
    return metadata | {"namespace": namespace} if namespace else metadata
