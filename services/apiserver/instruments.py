"""The server's own metrics, under the names that dashboards for Kubernetes know."""

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from services.apiserver.protocol import Outcome, Raw

REQUESTS = Counter(
    "apiserver_request",
    "Requests by verb, resource and code.",
    ["verb", "group", "version", "resource", "subresource", "code"],
)
DURATION = Histogram(
    "apiserver_request_duration_seconds",
    "Time to answer, in seconds; watches and streams are left out.",
    ["verb", "group", "resource"],
    buckets=(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60),
)
INFLIGHT = Gauge("apiserver_current_inflight_requests", "Requests being served.", ["request_kind"])
LONG_RUNNING = Gauge("apiserver_longrunning_requests", "Open watches and streams.", ["verb"])
WATCH_EVENTS = Counter("apiserver_watch_events", "Events sent to watchers.", ["group", "version", "kind"])


def exposition() -> Outcome:
    """The page at /metrics."""
    return Raw(generate_latest(), CONTENT_TYPE_LATEST)
