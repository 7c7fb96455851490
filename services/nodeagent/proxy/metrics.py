"""The proxy's metrics under the names of kube-proxy, which dashboards and alerts read."""

from prometheus_client import Counter, Gauge, Histogram

_FAMILY = {"ip_family": "IPv4"}

sync_duration = Histogram(
    "kubeproxy_sync_proxy_rules_duration_seconds",
    "Time to bring the kernel's rules in line with services and endpoints",
    ["ip_family"],
    buckets=[0.001 * 2**power for power in range(15)],
).labels(**_FAMILY)

programming_duration = Histogram(
    "kubeproxy_network_programming_duration_seconds",
    "Time from the change of a service or pod until the kernel's rules follow",
    ["ip_family"],
    buckets=[0.25, 0.5, *range(1, 60), *range(60, 121, 5), *range(135, 301, 15)],
).labels(**_FAMILY)

last_sync = Gauge(
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    "When the kernel's rules were last brought in line",
    ["ip_family"],
).labels(**_FAMILY)

service_changes = Counter(
    "kubeproxy_sync_proxy_rules_service_changes",
    "Changes of services that were applied",
)

endpoint_changes = Counter(
    "kubeproxy_sync_proxy_rules_endpoint_changes",
    "Changes of endpoint slices that were applied",
)

changed_elements = Counter(
    "wherry_proxy_changed_elements",
    "Map elements that were added or removed in the kernel",
)
