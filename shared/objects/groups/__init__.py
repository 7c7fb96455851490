"""Where each API group version is declared, and the names it goes by in URLs and in OpenAPI."""

MODULES: dict[str, tuple[str, ...]] = {
    "meta/v1": ("meta",),
    "core/v1": (
        "core_pod",
        "core_container",
        "core_volume",
        "core_volume_driver",
        "core_node",
        "core_service",
        "core_config",
        "core_storage",
        "core_workload",
    ),
    "apiregistration/v1": ("apiregistration",),
    "apps/v1": ("apps",),
    "events/v1": ("events",),
    "authentication/v1": ("authentication",),
    "authorization/v1": ("authorization",),
    "autoscaling/v2": ("autoscaling_v2",),
    "autoscaling/v1": ("autoscaling_v1",),
    "batch/v1": ("batch",),
    "certificates/v1": ("certificates",),
    "networking/v1": ("networking",),
    "policy/v1": ("policy",),
    "rbac/v1": ("rbac",),
    "storage/v1": ("storage",),
    "admissionregistration/v1": ("admissionregistration",),
    "apiextensions/v1": ("apiextensions",),
    "scheduling/v1": ("scheduling",),
    "coordination/v1": ("coordination",),
    "node/v1": ("node",),
    "discovery/v1": ("discovery",),
    "resource/v1": ("resource", "resource_device"),
    "flowcontrol/v1": ("flowcontrol",),
}
"""Packages in the order in which discovery lists their groups, newer versions first, and the modules of each."""

_GROUPS: dict[str, str] = {
    "": "core",
    "meta.k8s.io": "meta",
    "admissionregistration.k8s.io": "admissionregistration",
    "apiextensions.k8s.io": "apiextensions",
    "apiregistration.k8s.io": "apiregistration",
    "apps": "apps",
    "authentication.k8s.io": "authentication",
    "authorization.k8s.io": "authorization",
    "autoscaling": "autoscaling",
    "batch": "batch",
    "certificates.k8s.io": "certificates",
    "coordination.k8s.io": "coordination",
    "discovery.k8s.io": "discovery",
    "events.k8s.io": "events",
    "flowcontrol.apiserver.k8s.io": "flowcontrol",
    "networking.k8s.io": "networking",
    "node.k8s.io": "node",
    "policy": "policy",
    "rbac.authorization.k8s.io": "rbac",
    "resource.k8s.io": "resource",
    "scheduling.k8s.io": "scheduling",
    "storage.k8s.io": "storage",
}
_NAMES = {short: group for group, short in _GROUPS.items()}
_PREFIXES = {
    "meta": "io.k8s.apimachinery.pkg.apis.meta",
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
}


def package_of(api_version: str) -> str | None:
    """The package of an apiVersion: "v1" is core/v1, "rbac.authorization.k8s.io/v1" is rbac/v1; None if unknown."""
    group, _, version = api_version.rpartition("/")
    name = f"{_GROUPS.get(group)}/{version}"
    return name if name in MODULES else None


def group_version(package: str) -> tuple[str, str]:
    """The API group and version of a package."""
    short, _, version = package.partition("/")
    return _NAMES[short], version


def openapi_prefix(package: str) -> str:
    """The dotted package of the published schema names, for example io.k8s.api.core.v1."""
    short, _, version = package.partition("/")
    return f"{_PREFIXES.get(short, f'io.k8s.api.{short}')}.{version}"
