"""What a new cluster begins with: the system namespaces, the default roles, the storage class of local directories, and
the Services by which pods reach the API and DNS.

Every replica runs this at its start; what exists is left alone, so that an administrator's changes stay. Only the
address behind the Service `kubernetes` follows the server.
"""

import ipaddress
import logging

from services.apiserver.admission.pods import SYSTEM_PRIORITIES
from services.apiserver.auth.aggregation import Aggregation
from services.apiserver.bootstrap_roles import bootstrap_roles
from services.apiserver.protocol import Object, Query, Request
from services.apiserver.routes import Target
from services.apiserver.store import Store
from services.apiserver.write import Writer
from shared.errors import AlreadyExists
from shared.identity.users import AUTHENTICATED, MASTERS, User
from shared.objects import meta, registry, volumebinding
from shared.objects.registry import Resource

log = logging.getLogger(__name__)

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
SELF = User("system:apiserver", (MASTERS, AUTHENTICATED))
DNS_OFFSET = 10


async def bootstrap(store: Store, writer: Writer, network: ipaddress.IPv4Network, endpoint: tuple[str, int]) -> None:
    """Create what is missing; `endpoint` is where pods reach an API server from inside."""
    for name in NAMESPACES:
        await _ensure(store, writer, "", "v1", "namespaces", {"metadata": {"name": name}})
    await bootstrap_roles(store, writer, own_request())
    await Aggregation(store, writer, own_request()).settle()
    for name, (value, description) in SYSTEM_PRIORITIES.items():
        priority: Object = {"metadata": {"name": name}, "value": value, "description": description}
        await _ensure(store, writer, "scheduling.k8s.io", "v1", "priorityclasses", priority)
    await _ensure(store, writer, "storage.k8s.io", "v1", "storageclasses", _local_path_class())
    host, port = endpoint
    await _ensure(store, writer, "", "v1", "services", _kubernetes_service(str(network[1]), port))
    await _ensure(store, writer, "", "v1", "services", _dns_service(str(network[DNS_OFFSET])))
    if ipaddress.ip_address(host).is_loopback:
        log.warning("no pod can reach the API: the advertised address %s is on the loopback interface", host)
        return
    await _ensure(store, writer, "", "v1", "endpoints", _kubernetes_endpoints(host, port), ("subsets",))
    content = ("endpoints", "ports")
    await _ensure(store, writer, "discovery.k8s.io", "v1", "endpointslices", _kubernetes_slice(host, port), content)


async def _ensure(
    store: Store, writer: Writer, group: str, version: str, plural: str, obj: Object, content: tuple[str, ...] = ()
) -> None:
    """Create an object, or bring the fields `content` of an existing one up to date."""
    resource = registry.by_plural(group, version, plural)
    assert resource is not None
    namespace = obj["metadata"].get("namespace", "")
    name = obj["metadata"]["name"]
    present = store.peek(resource, namespace, name)
    if present is not None:
        if any(present.object.get(field) != obj[field] for field in content):
            target = Target(resource, namespace, name, None, False)
            body = {field: obj[field] for field in content}
            await writer.change(own_request(), target, lambda record: meta.copy(record.object) | meta.copy(body), None)
        return
    try:
        await writer.store_new(own_request(), resource, namespace, _typed(resource, obj))
    except AlreadyExists:
        log.debug("another server created %s %s", plural, name)


def _typed(resource: Resource, obj: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind} | obj


def own_request() -> Request:
    """What this server writes under."""
    return Request(SELF, "POST", "", Query({}), {"user-agent": "wherry-apiserver"}, b"")


def _local_path_class() -> Object:
    """The class of directories on nodes; a volume is made where the first pod that uses it runs."""
    return {
        "metadata": {"name": "local-path", "annotations": {volumebinding.DEFAULT_CLASS[0]: "true"}},
        "provisioner": volumebinding.LOCAL_PATH,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": volumebinding.WAIT,
        "allowVolumeExpansion": True,
    }


def _kubernetes_service(address: str, port: int) -> Object:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    return {
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }


def _dns_service(address: str) -> Object:
    labels = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    return {
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
    }


def _kubernetes_endpoints(host: str, port: int) -> Object:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": host}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    }


def _kubernetes_slice(host: str, port: int) -> Object:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
