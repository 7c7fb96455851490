"""Counters of the audit log, under the names that dashboards for Kubernetes know."""

from prometheus_client import Counter

EVENTS = Counter("apiserver_audit_event", "Audit events written.")
ERRORS = Counter("apiserver_audit_error", "Audit events that could not be written.", ["plugin"])
LEVELS = Counter("apiserver_audit_level", "Requests by the level at which they are audited.", ["level"])
