"""The cluster's names: from services, endpoint slices and pods to assembled answers, changed name by name.

Exists so that an answer is ready before it is asked for, and a change of one service assembles only that service's
names.
"""

import ipaddress
import logging
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from services.nodeagent.dns import records, wire
from services.nodeagent.dns.records import Data, Object, Records
from services.nodeagent.dns.wire import Answer
from services.nodeagent.proxy.changes import Changes, Key

log = logging.getLogger(__name__)

VERSION = "1.1.0"
# short, as the answers are always current but clients may keep them
TTL_S = 5
_POINTER_LIMIT = 0x4000

Owner = tuple[str, str, str]


class Zone:
    """All names of the cluster `domain`. `address` is the DNS server's own; `networks` are the pod and service CIDRs,
    whose reverse names are known here completely, so that unknown ones are denied and not asked upstream.
    """

    def __init__(self, domain: str, address: str, networks: Sequence[str] = ()) -> None:
        self.suffix = wire.encode_name(domain)
        self._pod_suffix = wire.encode_name("pod")[:-1] + self.suffix
        self._reverse = tuple(name for network in networks for name in _reverse_suffixes(network))
        self._changes = Changes()
        self._pods: Mapping[Key, Object] | None = None
        self._owned: dict[Owner, Records] = {}
        self._names: dict[bytes, dict[Owner, set[Data]]] = {}
        self._nodes: Counter[bytes] = Counter()
        self._answers: dict[bytes, dict[int, Answer]] = {}
        self._external: dict[bytes, bytes] = {}
        self._denials: dict[tuple[int, int, int], Answer] = {}
        self._own = {
            wire.encode_name(f"dns-version.{domain}"): {Data(wire.TXT, wire.txt(VERSION))},
            self.suffix: {Data(wire.NS, wire.encode_name(f"ns.dns.{domain}")), Data(wire.SOA, self._soa_data(b""))},
            wire.encode_name(f"ns.dns.{domain}"): {Data(wire.A, socket.inet_aton(address))},
        }
        self._replace(("", "", ""), self._own)

    def apply(
        self,
        services: Mapping[Key, Object],
        slices: Mapping[Key, Object],
        pods: Mapping[Key, Object] | None = None,
    ) -> int:
        """Know exactly these objects, by (namespace, name); returns the number of changed services and pods.

        Without `pods` every well-formed name under `pod` is answered; with them only those of pods given.
        """
        stale = self._changes.look(services, slices)
        for key in stale:
            self._replace(("service", *key), self._records_of(key))
        return len(stale) + self._apply_pods(pods)

    def lookup(self, name: bytes, kind: int) -> Answer | None:
        """The answer to a question, None if the name is not this zone's; a CNAME is answered for every type."""
        answers = self._answers.get(name)
        if answers is not None:
            return answers.get(kind) or answers.get(wire.CNAME) or self._denial(wire.NOERROR, name, self._zone_of(name))
        if name.endswith(self.suffix):
            if self._pods is None and name.endswith(self._pod_suffix):
                return self._any_pod(name, kind)
            rcode = wire.NOERROR if name in self._nodes else wire.NXDOMAIN
            return self._denial(rcode, name, self.suffix)
        for suffix in self._reverse:
            if name.endswith(suffix):
                return self._denial(wire.NXDOMAIN, name, suffix)
        return None

    def external(self, name: bytes) -> bytes | None:
        """The name that an ExternalName service stands for, None if `name` is not such a service."""
        return self._external.get(name)

    def __len__(self) -> int:
        return len(self._answers)

    def _records_of(self, key: Key) -> Records:
        service = self._changes.service(key)
        if service is None:
            return {}
        try:
            return records.of_service(service, self._changes.slices(key), self.suffix)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError, struct.error) as exc:
            # one malformed object must not keep all others from being found
            log.error("service %s has no names: %s: %s", "/".join(key), type(exc).__name__, exc)
            return {}

    def _apply_pods(self, pods: Mapping[Key, Object] | None) -> int:
        before, now = self._pods or {}, pods or {}
        stale = [key for key, pod in now.items() if before.get(key) is not pod]
        stale += before.keys() - now.keys()
        for key in stale:
            self._replace(("pod", *key), records.of_pod(now[key], self.suffix) if key in now else {})
        self._pods = None if pods is None else dict(pods)
        return len(stale)

    def _replace(self, owner: Owner, wanted: Records) -> None:
        before = self._owned.pop(owner, {})
        if wanted:
            self._owned[owner] = wanted
        touched = {name for name in before.keys() | wanted.keys() if before.get(name) != wanted.get(name)}
        for name in touched:
            owners = self._names.setdefault(name, {})
            if name in wanted:
                owners[owner] = wanted[name]
            else:
                owners.pop(owner, None)
            if not owners:
                del self._names[name]
        if touched:
            # answers with SRV records also hold the addresses of other names of the same owner
            touched |= {name for name, data in wanted.items() if any(item.kind == wire.SRV for item in data)}
        for name in touched:
            self._assemble(name)

    def _assemble(self, name: bytes) -> None:
        owners = self._names.get(name)
        if owners is None:
            if self._answers.pop(name, None) is not None:
                self._count_ancestors(name, -1)
            self._external.pop(name, None)
            return
        data = sorted(set().union(*owners.values()))
        if name not in self._answers:
            self._count_ancestors(name, 1)
        self._answers[name] = {
            kind: self._answer(name, kind, [item.rdata for item in data if item.kind == kind])
            for kind in {item.kind for item in data}
        }
        self._external.pop(name, None)
        for item in data:
            if item.kind == wire.CNAME:
                self._external[name] = item.rdata

    def _answer(self, name: bytes, kind: int, rdatas: list[bytes]) -> Answer:
        if kind != wire.SRV:
            body = b"".join(wire.record(kind, rdata, TTL_S) for rdata in rdatas)
            return Answer(wire.NOERROR, len(rdatas), 0, body, len(rdatas) if kind == wire.A else 0)
        body, extra, extras = b"", b"", 0
        offset = wire.HEADER_SIZE + len(name) + 4
        for rdata in rdatas:
            item = wire.record(kind, rdata, TTL_S)
            target = rdata[6:]
            position = offset + len(body) + len(item) - len(target)
            body += item
            if position < _POINTER_LIMIT:
                for address in self._addresses(target):
                    extra += wire.record(wire.A, address, TTL_S, wire.pointer(position))
                    extras += 1
        return Answer(wire.NOERROR, len(rdatas), 0, body + extra, 0, len(extra), extras)

    def _addresses(self, name: bytes) -> list[bytes]:
        owners = self._names.get(name, {})
        return sorted({item.rdata for data in owners.values() for item in data if item.kind == wire.A})

    def _count_ancestors(self, name: bytes, step: int) -> None:
        for ancestor in _ancestors(name, self.suffix):
            self._nodes[ancestor] += step
            if not self._nodes[ancestor]:
                del self._nodes[ancestor]

    def _any_pod(self, name: bytes, kind: int) -> Answer:
        above = name[: -len(self._pod_suffix)]
        labels = wire.decode_name(above + b"\0").rstrip(".").split(".") if above else []
        if len(labels) == 2:
            try:
                address = socket.inet_pton(socket.AF_INET, labels[0].replace("-", "."))
            except OSError:
                return self._denial(wire.NXDOMAIN, name, self.suffix)
            if kind == wire.A:
                return Answer(wire.NOERROR, 1, 0, wire.record(wire.A, address, TTL_S), 1)
        rcode = wire.NXDOMAIN if len(labels) > 2 else wire.NOERROR
        return self._denial(rcode, name, self.suffix)

    def _zone_of(self, name: bytes) -> bytes:
        if name.endswith(self.suffix):
            return self.suffix
        return next((suffix for suffix in self._reverse if name.endswith(suffix)), wire.parent(name))

    def _denial(self, rcode: int, name: bytes, zone: bytes) -> Answer:
        """An answer without records: the zone's SOA tells how long it holds (RFC 2308)."""
        key = (rcode, len(name), len(zone))
        found = self._denials.get(key)
        if found is None:
            # the zone's name is the end of the question's name
            owner = wire.pointer(wire.HEADER_SIZE + len(name) - len(zone))
            found = Answer(rcode, 0, 1, wire.record(wire.SOA, self._soa_data(owner), TTL_S, owner))
            self._denials[key] = found
        return found

    def _soa_data(self, zone: bytes) -> bytes:
        zone = zone or self.suffix
        primary, mailbox = wire.encode_name("ns.dns")[:-1], wire.encode_name("hostmaster")[:-1]
        numbers = (1, 7200, 1800, 86400, TTL_S)
        return primary + zone + mailbox + zone + b"".join(number.to_bytes(4, "big") for number in numbers)


def _ancestors(name: bytes, zone: bytes) -> Iterator[bytes]:
    if not name.endswith(zone):
        return
    name = wire.parent(name)
    while len(name) > len(zone):
        yield name
        name = wire.parent(name)


def _reverse_suffixes(network: str) -> list[bytes]:
    """The names under in-addr.arpa that hold exactly the addresses of a network."""
    parsed = ipaddress.IPv4Network(network)
    octets = max(1, (parsed.prefixlen + 7) // 8)
    found = []
    for part in parsed.subnets(new_prefix=octets * 8):
        labels = str(part.network_address).split(".")[:octets]
        found.append(wire.encode_name(".".join(reversed(labels)) + ".in-addr.arpa"))
    return found
