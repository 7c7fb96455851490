"""Cluster addresses and node ports of Services: given out so that no two Services ever hold the same one.

A claim is a record of its own in the state log, written in one atomic batch with the Service that holds it and
expecting that nobody has the number. So two replicas that pick the same number cannot both succeed, and a crash leaves
neither a Service without its claim nor a claim without its Service.
"""

import ipaddress
import random
from collections.abc import Callable, Sequence

from services.apiserver import addressing
from services.apiserver.failures import internal, invalid
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref
from shared.objects.registry import Resource
from shared.objects.validation import Cause
from shared.state.log import CREATE, Write

RESOURCE = "_allocations"
# the first addresses are left to Services that ask for one by number (KEP-3070)
STATIC_BAND = 256
Along = Callable[[], Sequence[Write]]


class Allocator:
    """Plans the claims of a Service; the plan picks numbers anew each time it is called."""

    def __init__(self, store: Store, network: ipaddress.IPv4Network, ports: range) -> None:
        self._store = store
        self._network = network
        self._ports = ports

    def concerns(self, resource: Resource) -> bool:
        """Whether planning may change objects of a resource."""
        return resource.plural == "services" and resource.group == ""

    def plan(self, resource: Resource, obj: Object, old: Object | None) -> Along | None:
        """What a created or changed object claims and releases; None if it is no Service or nothing changes.

        Calling the plan sets what it picked in the object; Invalid if a number that was asked for cannot be had.
        """
        if not self.concerns(resource):
            return None
        spec = obj.setdefault("spec", {})
        if old is None and (causes := addressing.unconfigured(spec)):
            raise invalid(resource.group, resource.kind, obj["metadata"]["name"], causes)
        held = _claims(old["spec"]) if old is not None and "spec" in old else {}
        asked = _claims(spec)
        chooses_address = addressing.needs_address(spec) and not addressing.addresses(spec)
        ports = spec.get("ports") or []
        choosing = [port for port in ports if not port.get("nodePort")] if addressing.needs_node_ports(spec) else []
        chooses_health = addressing.needs_health_check_port(spec) and not spec.get("healthCheckNodePort")
        _set_families(spec)
        if asked.keys() == held.keys() and not chooses_address and not choosing and not chooses_health:
            return None

        def along() -> Sequence[Write]:
            self._check_asked(resource, obj, [name for name in asked if name not in held])
            taken = set(asked)
            if chooses_address:
                spec["clusterIP"] = self._pick_address()
                spec["clusterIPs"] = [spec["clusterIP"]]
            for port in choosing:
                shared = _same_number(ports, port)
                port["nodePort"] = shared or self._pick_port(taken)
                taken.add(_port_claim(port["nodePort"]))
            if chooses_health:
                spec["healthCheckNodePort"] = self._pick_port(taken)
            wanted = _claims(spec)
            owner = {"namespace": obj["metadata"]["namespace"], "name": obj["metadata"]["name"]}
            claimed = [self._claim(name, owner) for name in wanted if name not in held]
            return claimed + self._released([name for name in held if name not in wanted])

        return along

    def release(self, resource: Resource, obj: Object) -> Along | None:
        """What the removal of an object gives back."""
        if not self.concerns(resource) or "spec" not in obj:
            return None
        return lambda: self._released(list(_claims(obj["spec"])))

    def _check_asked(self, resource: Resource, obj: Object, names: Sequence[str]) -> None:
        causes = []
        for name in names:
            kind, _, number = name.partition(".")
            problem = self._problem(kind, number, name)
            if not problem:
                continue
            if kind == "ip":
                value = ", ".join(f'"{one}"' for one in addressing.addresses(obj["spec"]))
                text = f"Invalid value: [{value}]: failed to allocate IP {number}: {problem}"
                causes.append(Cause("FieldValueInvalid", text, "spec.clusterIPs"))
            else:
                text = f"Invalid value: {number}: {problem}"
                causes.append(Cause("FieldValueInvalid", text, _port_field(obj["spec"], int(number))))
        if causes:
            raise invalid(resource.group, resource.kind, obj["metadata"]["name"], causes)

    def _problem(self, kind: str, number: str, name: str) -> str:
        if kind == "ip":
            address = ipaddress.ip_address(number)
            if address not in self._network or address in (self._network[0], self._network[-1]):
                return f"the provided network does not match the current range ({self._network})"
            return "provided IP is already allocated" if self._is_taken(name) else ""
        if int(number) not in self._ports:
            return f"provided port is not in the valid range. The range of valid ports is {self._range()}"
        return "provided port is already allocated" if self._is_taken(name) else ""

    def _range(self) -> str:
        return f"{self._ports.start}-{self._ports.stop - 1}"

    def _pick_address(self) -> str:
        size = self._network.num_addresses
        band = STATIC_BAND if size > 4 * STATIC_BAND else 1
        offset = _first_free(
            range(band, size - 1), lambda number: self._is_taken(f"ip.{self._network[number]}")
        ) or _first_free(range(1, band), lambda number: self._is_taken(f"ip.{self._network[number]}"))
        if offset is None:
            raise internal(f"failed to allocate a serviceIP: range {self._network} is full")
        return str(self._network[offset])

    def _pick_port(self, taken: set[str]) -> int:
        def is_taken(number: int) -> bool:
            return _port_claim(number) in taken or self._is_taken(_port_claim(number))

        port = _first_free(self._ports, is_taken)
        if port is None:
            raise internal(f"failed to allocate a nodePort: range {self._range()} is full")
        return port

    def _is_taken(self, name: str) -> bool:
        return self._store.state.cache.get(_ref(name)) is not None

    def _claim(self, name: str, owner: Object) -> Write:
        ref = _ref(name)
        return Write(ref, {"metadata": {"name": name}, "owner": owner}, self._store.state.cache.expected(ref), CREATE)

    def _released(self, names: Sequence[str]) -> list[Write]:
        writes = []
        for name in names:
            record = self._store.state.cache.get(_ref(name))
            if record is not None:
                writes.append(Write(record.ref, record.object, record.revision, "delete"))
        return writes


def _claims(spec: Object) -> dict[str, None]:
    names = [f"ip.{address}" for address in addressing.addresses(spec)]
    names += [_port_claim(port) for port in addressing.node_ports(spec)]
    return dict.fromkeys(names)


def _ref(name: str) -> Ref:
    return Ref("", RESOURCE, "", name)


def _port_claim(port: int) -> str:
    return f"port.{port}"


def _port_field(spec: Object, number: int) -> str:
    for index, port in enumerate(spec.get("ports") or ()):
        if port.get("nodePort") == number:
            return f"spec.ports[{index}].nodePort"
    return "spec.healthCheckNodePort"


def _same_number(ports: Sequence[Object], port: Object) -> int | None:
    """A port of another protocol with the same number shares its node port, as DNS over TCP and UDP wants it."""
    for other in ports:
        same_number = other.get("port") == port.get("port")
        if same_number and other.get("nodePort") and other.get("protocol", "TCP") != port.get("protocol", "TCP"):
            return int(other["nodePort"])
    return None


def _set_families(spec: Object) -> None:
    if spec.get("type", "ClusterIP") not in addressing.ADDRESSED:
        return
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    if spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]
    spec.setdefault("ipFamilies", ["IPv4"])
    headless_without_selector = spec.get("clusterIP") == addressing.HEADLESS and not spec.get("selector")
    spec.setdefault("ipFamilyPolicy", "RequireDualStack" if headless_without_selector else "SingleStack")


def _first_free(candidates: range, is_taken: Callable[[int], bool]) -> int | None:
    if not candidates:
        return None
    start = random.randrange(len(candidates))
    for step in range(len(candidates)):
        number = candidates[(start + step) % len(candidates)]
        if not is_taken(number):
            return number
    return None
