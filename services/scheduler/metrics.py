"""The scheduler's figures under the names that Kubernetes dashboards read."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)

ATTEMPTS = Histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "Time of one scheduling attempt, decision and binding together.",
    ["result", "profile"],
    buckets=BUCKETS,
)
ALGORITHM = Histogram(
    "scheduler_scheduling_algorithm_duration_seconds", "Time of the decision alone, per pod.", buckets=BUCKETS
)
SLI = Histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "Time from a pod's arrival in the queue to its binding.",
    ["attempts"],
    buckets=BUCKETS,
)
SCHEDULE_ATTEMPTS = Counter("scheduler_schedule_attempts", "Scheduling attempts by result.", ["result", "profile"])
PENDING = Gauge("scheduler_pending_pods", "Pods without a node, by kind of waiting.", ["queue"])
