"""The DNS server's metrics under the names of CoreDNS, which dashboards and alerts read.

Exists because a labelled counter of the client library costs as much as a whole answer: the server counts in plain
dictionaries, and this collector names them when somebody looks.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_DURATIONS = tuple(0.00025 * 2**power for power in range(16))
_SIZES = (0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16e3, 32e3, 48e3, 64e3)
_SERVER = "dns://:53"
_TYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    64: "SVCB",
    65: "HTTPS",
}
_RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")

upstream_duration = Histogram(
    "coredns_proxy_request_duration_seconds",
    "Time an upstream resolver took to answer",
    ["proxy_name", "to", "rcode"],
    buckets=_DURATIONS,
)


class _Distribution:
    """A histogram without labels and locks."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        total = 0
        found = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Statistics(Collector):
    """What the DNS servers of this process did. Keys: zone ("." for names of others), protocol, type or rcode."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = defaultdict(int)
        self.responses: dict[tuple[str, int, str], int] = defaultdict(int)
        self.durations: dict[str, _Distribution] = defaultdict(lambda: _Distribution(_DURATIONS))
        self.request_sizes: dict[tuple[str, str], _Distribution] = defaultdict(lambda: _Distribution(_SIZES))
        self.response_sizes: dict[tuple[str, str], _Distribution] = defaultdict(lambda: _Distribution(_SIZES))
        self.cache_hits: dict[str, int] = defaultdict(int)
        self.cache_misses = 0
        self.cache_entries: dict[str, int] = defaultdict(int)

    def record(
        self, zone: str, protocol: str, kind: int, rcode: int, plugin: str, duration_s: float, sizes: tuple[int, int]
    ) -> None:
        """Count one answered request; `sizes` are the bytes of request and response."""
        self.requests[zone, protocol, kind] += 1
        self.responses[zone, rcode, plugin] += 1
        self.durations[zone].observe(duration_s)
        self.request_sizes[zone, protocol].observe(sizes[0])
        self.response_sizes[zone, protocol].observe(sizes[1])

    def describe(self) -> list[Metric]:
        """Nothing ahead, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        requests = CounterMetricFamily(
            "coredns_dns_requests", "DNS requests", labels=["server", "zone", "view", "proto", "family", "type"]
        )
        for (zone, protocol, kind), count in list(self.requests.items()):
            requests.add_metric([_SERVER, zone, "", protocol, "1", _TYPES.get(kind, "other")], count)
        yield requests
        responses = CounterMetricFamily(
            "coredns_dns_responses", "DNS responses", labels=["server", "zone", "view", "rcode", "plugin"]
        )
        for (zone, rcode, plugin), count in list(self.responses.items()):
            name = _RCODES[rcode] if rcode < len(_RCODES) else str(rcode)
            responses.add_metric([_SERVER, zone, "", name, plugin], count)
        yield responses
        durations = HistogramMetricFamily(
            "coredns_dns_request_duration_seconds", "Time to answer a request", labels=["server", "zone", "view"]
        )
        for zone, distribution in list(self.durations.items()):
            durations.add_metric([_SERVER, zone, ""], distribution.buckets(), distribution.sum)
        yield durations
        for name, sizes in (("request", self.request_sizes), ("response", self.response_sizes)):
            family = HistogramMetricFamily(
                f"coredns_dns_{name}_size_bytes", f"Size of a {name}", labels=["server", "zone", "view", "proto"]
            )
            for (zone, protocol), distribution in list(sizes.items()):
                family.add_metric([_SERVER, zone, "", protocol], distribution.buckets(), distribution.sum)
            yield family
        yield from self._cache()

    def _cache(self) -> Iterator[Metric]:
        labels = [_SERVER, ".", ""]
        hits = CounterMetricFamily("coredns_cache_hits", "Cache hits", labels=["server", "type", "zones", "view"])
        for kind, count in list(self.cache_hits.items()):
            hits.add_metric([_SERVER, kind, ".", ""], count)
        yield hits
        misses = CounterMetricFamily("coredns_cache_misses", "Cache misses", labels=["server", "zones", "view"])
        misses.add_metric(labels, self.cache_misses)
        yield misses
        requests = CounterMetricFamily("coredns_cache_requests", "Cache requests", labels=["server", "zones", "view"])
        requests.add_metric(labels, self.cache_misses + sum(self.cache_hits.values()))
        yield requests
        entries = GaugeMetricFamily(
            "coredns_cache_entries", "Cache entries", labels=["server", "type", "zones", "view"]
        )
        for kind, count in list(self.cache_entries.items()):
            entries.add_metric([_SERVER, kind, ".", ""], count)
        yield entries


statistics = Statistics()
REGISTRY.register(statistics)
