"""The server's own metrics, under the names that dashboards for Kubernetes know."""

from functools import cache

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
QUEUED = Gauge("apiserver_flowcontrol_current_inqueue_requests", "Requests waiting for a seat.", ["request_kind"])
REJECTED = Counter("apiserver_flowcontrol_rejected_requests", "Requests answered with 429.", ["request_kind"])
LONG_RUNNING = Gauge("apiserver_longrunning_requests", "Open watches and streams.", ["verb"])
WATCH_EVENTS = Counter("apiserver_watch_events", "Events sent to watchers.", ["group", "version", "kind"])


@cache
def counted(verb: str, group: str, version: str, resource: str, subresource: str, code: int) -> Counter:
    """The counter of such requests; looking one up by its labels costs more than counting."""
    return REQUESTS.labels(verb, group, version, resource, subresource, str(code))


@cache
def timed(verb: str, group: str, resource: str) -> Histogram:
    """The histogram of the times of such requests."""
    return DURATION.labels(verb, group, resource)


def exposition() -> Outcome:
    """The page at /metrics."""
    return Raw(generate_latest(), CONTENT_TYPE_LATEST)
