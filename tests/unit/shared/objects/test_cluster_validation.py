"""Validation of the kinds beyond pods, workloads and services: reasons and field paths as Kubernetes gives them."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.shared.objects.test_validation import APP, LABELS, TEMPLATE, created, updated

RBAC = "rbac.authorization.k8s.io/v1"
ADMISSION = "admissionregistration.k8s.io/v1"
NETWORKING = "networking.k8s.io/v1"
JOB = {"template": {"spec": {"containers": [APP], "restartPolicy": "Never"}}}
CRON = {"schedule": "*/5 * * * *", "jobTemplate": {"spec": JOB}}
SET = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
VOLUME = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}}
CLAIM: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
TEMPLATE_CLAIM = {"metadata": {"name": "data"}, "spec": CLAIM}
MOUNTING = {
    **TEMPLATE,
    "spec": {"containers": [{**APP, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]},
}
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
SCALER = {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3}
ROLE = {"kind": "Role", "name": "r"}
RULES = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
HOOK = {
    "name": "a.b.example",
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "clientConfig": {"url": "https://host/path"},
    "rules": RULES,
}
POLICY = {"matchConstraints": {"resourceRules": RULES}, "validations": [{"expression": "true"}]}
KEY = ec.generate_private_key(ec.SECP256R1())
ASKED = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(KEY, hashes.SHA256())
REQUEST = base64.b64encode(ASKED.public_bytes(serialization.Encoding.PEM)).decode()
SIGNING = {"request": REQUEST, "signerName": "a.example/b", "usages": ["client auth"]}
LEVEL = {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
EXACTLY = {"name": "r", "exactly": {"deviceClassName": "c"}}

VALID: list[tuple[str, str, dict[str, Any]]] = [
    ("apps/v1", "StatefulSet", {"spec": SET}),
    ("apps/v1", "StatefulSet", {"spec": {**SET, "template": MOUNTING, "volumeClaimTemplates": [TEMPLATE_CLAIM]}}),
    ("batch/v1", "CronJob", {"spec": CRON}),
    ("batch/v1", "CronJob", {"spec": {**CRON, "schedule": "0-30/10,45 0 1 JAN-mar sun", "timeZone": "UTC"}}),
    ("batch/v1", "CronJob", {"spec": {**CRON, "schedule": "@every 1h30m"}}),
    ("v1", "ReplicationController", {"spec": {"template": TEMPLATE}}),
    ("v1", "PodTemplate", {"template": TEMPLATE}),
    ("v1", "PersistentVolume", {"spec": VOLUME}),
    ("v1", "PersistentVolumeClaim", {"spec": CLAIM}),
    ("v1", "LimitRange", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "1m"}}]}}),
    ("v1", "ResourceQuota", {"spec": {"hard": {"pods": "1", "count/x.y": "2"}, "scopes": ["NotTerminating"]}}),
    (NETWORKING, "Ingress", {"spec": {"defaultBackend": BACKEND}}),
    (NETWORKING, "IngressClass", {"spec": {"controller": "a.b/c", "parameters": {"kind": "K", "name": "k"}}}),
    (NETWORKING, "NetworkPolicy", {"spec": {"podSelector": {}, "egress": [{}]}}),
    (NETWORKING, "ServiceCIDR", {"spec": {"cidrs": ["10.0.0.0/16", "fd00::/64"]}}),
    ("autoscaling/v2", "HorizontalPodAutoscaler", {"spec": SCALER}),
    ("autoscaling/v1", "HorizontalPodAutoscaler", {"spec": SCALER}),
    ("policy/v1", "PodDisruptionBudget", {"spec": {"minAvailable": "50%"}}),
    (RBAC, "Role", {"metadata": {"name": "System:x_y"}}),
    (RBAC, "RoleBinding", {"roleRef": ROLE, "subjects": [{"kind": "ServiceAccount", "name": "s"}]}),
    (RBAC, "ClusterRole", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]}),
    ("scheduling.k8s.io/v1", "PriorityClass", {"value": 10}),
    ("node.k8s.io/v1", "RuntimeClass", {"handler": "h"}),
    ("storage.k8s.io/v1", "StorageClass", {"provisioner": "a.example/p"}),
    ("storage.k8s.io/v1", "CSIDriver", {"spec": {}}),
    ("storage.k8s.io/v1", "CSINode", {"spec": {"drivers": [{"name": "d", "nodeID": "i"}]}}),
    (ADMISSION, "ValidatingWebhookConfiguration", {"webhooks": [HOOK]}),
    (ADMISSION, "MutatingWebhookConfiguration", {"webhooks": [HOOK]}),
    (ADMISSION, "ValidatingAdmissionPolicy", {"spec": POLICY}),
    (ADMISSION, "ValidatingAdmissionPolicyBinding", {"spec": {"policyName": "p", "validationActions": ["Deny"]}}),
    ("certificates.k8s.io/v1", "CertificateSigningRequest", {"spec": SIGNING}),
    ("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", {"spec": LEVEL}),
    ("resource.k8s.io/v1", "ResourceClaim", {"spec": {"devices": {"requests": [EXACTLY]}}}),
]


@pytest.mark.parametrize(("api_version", "kind", "obj"), VALID)
def test_what_kubernetes_takes_is_taken(api_version: str, kind: str, obj: dict[str, Any]) -> None:
    assert created(api_version, kind, obj) == set()


def cron(**spec: Any) -> dict[str, Any]:
    return {"spec": {**CRON, **spec}}


REFUSED: list[tuple[str, str, dict[str, Any], set[tuple[str, str]]]] = [
    (
        "apps/v1",
        "StatefulSet",
        {"spec": {**SET, "podManagementPolicy": "Wild", "updateStrategy": {"rollingUpdate": {"partition": -1}}}},
        {("Invalid", "spec.podManagementPolicy"), ("Invalid", "spec.updateStrategy.rollingUpdate.partition")},
    ),
    ("batch/v1", "CronJob", cron(schedule=""), {("Required", "spec.schedule")}),
    ("batch/v1", "CronJob", cron(schedule="60 * * * *"), {("Invalid", "spec.schedule")}),
    ("batch/v1", "CronJob", cron(schedule="* * * *"), {("Invalid", "spec.schedule")}),
    ("batch/v1", "CronJob", cron(schedule="*/0 * * * *"), {("Invalid", "spec.schedule")}),
    ("batch/v1", "CronJob", cron(schedule="5-1 * * * *"), {("Invalid", "spec.schedule")}),
    ("batch/v1", "CronJob", cron(schedule="TZ=UTC 0 0 * * *"), {("Invalid", "spec.schedule")}),
    ("batch/v1", "CronJob", cron(timeZone="Mars/Olympus"), {("Invalid", "spec.timeZone")}),
    (
        "batch/v1",
        "CronJob",
        cron(concurrencyPolicy="Maybe", startingDeadlineSeconds=-1),
        {("NotSupported", "spec.concurrencyPolicy"), ("Invalid", "spec.startingDeadlineSeconds")},
    ),
    (
        "batch/v1",
        "CronJob",
        cron(jobTemplate={"spec": {"template": {"spec": {"containers": [APP]}}}}),
        {("Required", "spec.jobTemplate.spec.template.spec.restartPolicy")},
    ),
    ("batch/v1", "CronJob", {"metadata": {"name": "c" * 53}, "spec": CRON}, {("Invalid", "metadata.name")}),
    (
        "v1",
        "ReplicationController",
        {"spec": {"selector": {"x": "y"}, "template": TEMPLATE}},
        {("Invalid", "spec.template.metadata.labels")},
    ),
    (
        "v1",
        "PersistentVolume",
        {"spec": {"accessModes": ["Odd"]}},
        {("NotSupported", "spec.accessModes"), ("Required", "spec.capacity"), ("Required", "spec")},
    ),
    (
        "v1",
        "PersistentVolumeClaim",
        {"spec": {**CLAIM, "resources": {"requests": {"storage": "0"}}}},
        {("Invalid", "spec.resources[storage]")},
    ),
    (
        "v1",
        "LimitRange",
        {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}, "default": {"cpu": "1"}}]}},
        {
            ("Invalid", "spec.limits[0].min[cpu]"),
            ("Invalid", "spec.limits[0].default[cpu]"),
            ("Forbidden", "spec.limits[0].default"),
        },
    ),
    (
        "v1",
        "ResourceQuota",
        {"spec": {"hard": {"odd": "-1"}, "scopes": ["Terminating", "NotTerminating"]}},
        {("Invalid", "spec.hard[odd]"), ("Invalid", "spec.scopes")},
    ),
    (NETWORKING, "Ingress", {"spec": {}}, {("Invalid", "spec")}),
    (
        NETWORKING,
        "Ingress",
        {"spec": {"rules": [{"host": "10.0.0.1", "http": {"paths": [{"path": "x", "pathType": "Exact"}]}}]}},
        {
            ("Invalid", "spec.rules[0].host"),
            ("Invalid", "spec.rules[0].http.paths[0].path"),
            ("Required", "spec.rules[0].http.paths[0].backend"),
        },
    ),
    (
        NETWORKING,
        "NetworkPolicy",
        {"spec": {"ingress": [{"from": [{}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]}},
        {("Required", "spec.ingress[0].from[0]"), ("Invalid", "spec.ingress[0].from[1].ipBlock.except[0]")},
    ),
    (
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        {"spec": {"scaleTargetRef": {"kind": "D"}, "minReplicas": 3, "maxReplicas": 2, "metrics": [{"type": "Pods"}]}},
        {
            ("Required", "spec.scaleTargetRef.name"),
            ("Invalid", "spec.maxReplicas"),
            ("Required", "spec.metrics[0].pods"),
        },
    ),
    (
        "policy/v1",
        "PodDisruptionBudget",
        {"spec": {"minAvailable": 1, "maxUnavailable": "101%"}},
        {("Invalid", "spec"), ("Invalid", "spec.maxUnavailable")},
    ),
    (RBAC, "Role", {"metadata": {"name": "a/b"}}, {("Invalid", "metadata.name")}),
    (
        RBAC,
        "Role",
        {"rules": [{"nonResourceURLs": ["/x"]}, {"verbs": ["get"]}]},
        {
            ("Required", "rules[0].verbs"),
            ("Invalid", "rules[0].nonResourceURLs"),
            ("Required", "rules[1].apiGroups"),
            ("Required", "rules[1].resources"),
        },
    ),
    (
        RBAC,
        "ClusterRoleBinding",
        {"roleRef": ROLE, "subjects": [{"kind": "ServiceAccount", "name": "s"}, {"kind": "Robot", "name": "r"}]},
        {("NotSupported", "roleRef.kind"), ("Required", "subjects[0].namespace"), ("NotSupported", "subjects[1].kind")},
    ),
    ("scheduling.k8s.io/v1", "PriorityClass", {"value": 1_000_000_001}, {("Forbidden", "value")}),
    (
        ADMISSION,
        "ValidatingWebhookConfiguration",
        {"webhooks": [{**HOOK, "name": "short", "timeoutSeconds": 31, "sideEffects": "Some", "clientConfig": {}}]},
        {
            ("Invalid", "webhooks[0].name"),
            ("Invalid", "webhooks[0].timeoutSeconds"),
            ("NotSupported", "webhooks[0].sideEffects"),
            ("Required", "webhooks[0].clientConfig"),
        },
    ),
    (
        ADMISSION,
        "ValidatingAdmissionPolicyBinding",
        {"spec": {"policyName": "p", "validationActions": ["Deny", "Warn"], "paramRef": {}}},
        {
            ("Invalid", "spec.validationActions"),
            ("Required", "spec.paramRef.name"),
            ("Required", "spec.paramRef.parameterNotFoundAction"),
        },
    ),
    (
        "certificates.k8s.io/v1",
        "CertificateSigningRequest",
        {"spec": {"request": "eA==", "signerName": "plain", "expirationSeconds": 5}},
        {
            ("Invalid", "spec.request"),
            ("Required", "spec.usages"),
            ("Invalid", "spec.signerName"),
            ("Invalid", "spec.expirationSeconds"),
        },
    ),
    (
        "resource.k8s.io/v1",
        "ResourceClaim",
        {"spec": {"devices": {"requests": [{"name": "r"}, {"name": "r", "exactly": {}}]}}},
        {
            ("Required", "spec.devices.requests[0]"),
            ("Duplicate", "spec.devices.requests[1].name"),
            ("Required", "spec.devices.requests[1].exactly.deviceClassName"),
        },
    ),
    (
        "apiregistration.k8s.io/v1",
        "APIService",
        {"spec": {"group": "g", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}},
        {("Invalid", "metadata.name")},
    ),
]


@pytest.mark.parametrize(("api_version", "kind", "obj", "expected"), REFUSED)
def test_what_kubernetes_refuses_is_refused(
    api_version: str, kind: str, obj: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    assert created(api_version, kind, obj) == expected


FROZEN: list[tuple[str, str, dict[str, Any], dict[str, Any], set[tuple[str, str]]]] = [
    (
        "apps/v1",
        "StatefulSet",
        {"spec": SET},
        {"spec": {**SET, "replicas": 5, "serviceName": "s"}},
        {("Forbidden", "spec")},
    ),
    ("apps/v1", "StatefulSet", {"spec": SET}, {"spec": {**SET, "replicas": 5, "minReadySeconds": 3}}, set()),
    (
        "v1",
        "PersistentVolume",
        {"spec": VOLUME},
        {"spec": {**VOLUME, "hostPath": {"path": "/e"}}},
        {("Forbidden", "spec.persistentvolumesource")},
    ),
    ("v1", "PersistentVolumeClaim", {"spec": CLAIM}, {"spec": {**CLAIM, "volumeName": "v"}}, set()),
    (
        "v1",
        "PersistentVolumeClaim",
        {"spec": CLAIM},
        {"spec": {**CLAIM, "accessModes": ["ReadWriteMany"]}},
        {("Forbidden", "spec")},
    ),
    (
        "v1",
        "PersistentVolumeClaim",
        {"spec": CLAIM, "status": {"phase": "Bound"}},
        {"spec": {**CLAIM, "resources": {"requests": {"storage": "2Gi"}}}},
        set(),
    ),
    (
        RBAC,
        "RoleBinding",
        {"roleRef": ROLE},
        {"roleRef": {"kind": "ClusterRole", "name": "r"}},
        {("Invalid", "roleRef")},
    ),
    ("scheduling.k8s.io/v1", "PriorityClass", {"value": 1}, {"value": 2}, {("Forbidden", "value")}),
    (
        "storage.k8s.io/v1",
        "StorageClass",
        {"provisioner": "p"},
        {"provisioner": "q"},
        {("Forbidden", "provisioner")},
    ),
    (
        "v1",
        "ResourceQuota",
        {"spec": {"scopes": ["Terminating"]}},
        {"spec": {"scopes": ["BestEffort"]}},
        {("Invalid", "spec.scopes")},
    ),
    (
        "resource.k8s.io/v1",
        "ResourceClaim",
        {"spec": {}},
        {"spec": {"devices": {"requests": [EXACTLY]}}},
        {("Invalid", "spec")},
    ),
]


@pytest.mark.parametrize(("api_version", "kind", "old", "new", "expected"), FROZEN)
def test_what_is_fixed_at_creation_stays(
    api_version: str, kind: str, old: dict[str, Any], new: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    assert updated(api_version, kind, old, new) == expected


def test_finalizers_of_a_namespace_are_named_like_any_others() -> None:
    spec = {"finalizers": ["kubernetes", "nodomain", "a.example/b"]}
    found = created("v1", "Namespace", {"metadata": {"name": "n"}, "spec": spec})
    assert found == {("Invalid", "spec.finalizers[1]")}
