"""What admission measures, under the names that dashboards for Kubernetes know."""

from prometheus_client import Counter, Gauge, Histogram

CALLS = Histogram(
    "apiserver_admission_webhook_admission_duration_seconds",
    "Time that calls of webhooks took, in seconds.",
    ["name", "type", "operation", "rejected"],
    buckets=(0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25),
)
# counters, but a library that writes the format by the book would append `_total` to their names
REJECTIONS = Gauge(
    "apiserver_admission_webhook_rejection_count",
    "Requests refused because of a webhook, by its own verdict (no_error) or because it could not be asked.",
    ["name", "type", "operation", "error_type", "rejection_code"],
)
FAILED_OPEN = Gauge(
    "apiserver_admission_webhook_fail_open_count",
    "Requests let pass although a webhook could not be asked.",
    ["name", "type"],
)
CHECKS = Counter(
    "apiserver_validating_admission_policy_check",
    "Violations of policies, by what followed from them.",
    ["policy", "policy_binding", "enforcement_action"],
)
