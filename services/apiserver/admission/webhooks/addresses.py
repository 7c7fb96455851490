"""Where the server behind a Service can be reached from here: an address of a ready endpoint of it.

An API server is no pod and may stand where no service proxy runs, so the address of the Service itself is no use; the
addresses of pods are routed wherever the cluster's nodes are.
"""

import random
from collections.abc import Iterator

from services.apiserver.admission.webhooks.hooks import Service
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref

SLICES = ("discovery.k8s.io", "endpointslices")
OF_SERVICE = "kubernetes.io/service-name"


class Unreachable(Exception):
    """There is nobody to connect to; the text says why."""


def addresses_of(store: Store, service: Service) -> list[tuple[str, int]]:
    """Hosts and ports to try, in random order; Unreachable if there is none."""
    record = store.state.cache.get(Ref("", "services", service.namespace, service.name))
    if record is None:
        raise Unreachable(f'service "{service.name}" not found')
    spec = record.object.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return [(spec["externalName"], service.port)]
    port = next((one for one in spec.get("ports") or () if one.get("port") == service.port), None)
    if port is None:
        raise Unreachable(f'no service port {service.port} found for service "{service.name}"')
    found = [one for slice_ in _slices(store, service) for one in _endpoints(slice_, port.get("name", ""))]
    if not found:
        raise Unreachable(f'no endpoints available for service "{service.name}"')
    random.shuffle(found)
    return found


def _slices(store: Store, service: Service) -> Iterator[Object]:
    for record in store.state.cache.list(*SLICES, service.namespace):
        labels = record.object["metadata"].get("labels") or {}
        if labels.get(OF_SERVICE) == service.name:
            yield record.object


def _endpoints(slice_: Object, port_name: str) -> Iterator[tuple[str, int]]:
    numbers = [one["port"] for one in slice_.get("ports") or () if one.get("name", "") == port_name and one.get("port")]
    for endpoint in slice_.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready", True):
            yield from ((address, number) for address in endpoint.get("addresses") or () for number in numbers)
