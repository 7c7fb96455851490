from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import BadRequest
from shared.objects import decoding, defaults, registry, tables
from tests.unit.shared.objects.schema_objects import objects

NOW = datetime(2026, 11, 24, 8, 15, 35, tzinfo=UTC)
CREATED = "2026-11-24T08:10:32Z"
AGE = "5m3s"


def cells(api_version: str, kind: str, obj: dict[str, Any]) -> list[Any]:
    resource = registry.by_kind(api_version, kind)
    assert resource is not None
    full = {**obj, "metadata": {"name": "n", "creationTimestamp": CREATED, **obj.get("metadata", {})}}
    made: list[Any] = tables.row(resource, full, now=NOW)["cells"]
    assert len(made) == len(resource.columns)
    return made


def pod(status: dict[str, Any], spec: dict[str, Any] | None = None, **metadata: Any) -> list[Any]:
    return cells(
        "v1", "Pod", {"metadata": metadata, "spec": {"containers": [{"name": "app"}], **(spec or {})}, "status": status}
    )


def container(state: dict[str, Any], *, ready: bool = False, restarts: int = 0, **extra: Any) -> dict[str, Any]:
    return {"name": "app", "ready": ready, "restartCount": restarts, "state": state, **extra}


RUNNING = container({"running": {}}, ready=True)
DONE = container({"terminated": {"exitCode": 0, "reason": "Completed"}})
INITS = {"initContainers": [{"name": "i1"}, {"name": "i2"}]}
I1_DONE = {**container({"terminated": {"exitCode": 0}}), "name": "i1"}
SIDECAR = {"initContainers": [{"name": "i1", "restartPolicy": "Always"}]}


@pytest.mark.parametrize(
    ("status", "spec", "ready", "text"),
    [
        ({"phase": "Pending"}, {}, "0/1", "Pending"),
        ({"phase": "Running", "containerStatuses": [RUNNING]}, {}, "1/1", "Running"),
        (
            {"phase": "Pending", "containerStatuses": [container({"waiting": {"reason": "ImagePullBackOff"}})]},
            {},
            "0/1",
            "ImagePullBackOff",
        ),
        (
            {"phase": "Running", "containerStatuses": [container({"waiting": {"reason": "CrashLoopBackOff"}})]},
            {},
            "0/1",
            "CrashLoopBackOff",
        ),
        ({"phase": "Succeeded", "containerStatuses": [DONE]}, {}, "0/1", "Completed"),
        (
            {"phase": "Failed", "containerStatuses": [container({"terminated": {"exitCode": 3}})]},
            {},
            "0/1",
            "ExitCode:3",
        ),
        (
            {"phase": "Failed", "containerStatuses": [container({"terminated": {"exitCode": 137, "signal": 9}})]},
            {},
            "0/1",
            "Signal:9",
        ),
        ({"phase": "Failed", "reason": "Evicted"}, {}, "0/1", "Evicted"),
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
            },
            {},
            "0/1",
            "SchedulingGated",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [I1_DONE, {**container({"running": {}}), "name": "i2"}]},
            INITS,
            "0/1",
            "Init:1/2",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [container({"terminated": {"exitCode": 1, "reason": "Error"}})],
            },
            INITS,
            "0/1",
            "Init:Error",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [container({"terminated": {"exitCode": 2}})]},
            INITS,
            "0/1",
            "Init:ExitCode:2",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [container({"waiting": {"reason": "CrashLoopBackOff"}})]},
            INITS,
            "0/1",
            "Init:CrashLoopBackOff",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [container({"waiting": {"reason": "PodInitializing"}})]},
            INITS,
            "0/1",
            "Init:0/2",
        ),
        (
            {
                "phase": "Running",
                "initContainerStatuses": [{**RUNNING, "name": "i1", "started": True}],
                "containerStatuses": [RUNNING],
            },
            SIDECAR,
            "2/2",
            "Running",
        ),
        (
            {"phase": "Running", "containerStatuses": [RUNNING, {**DONE, "name": "b"}]},
            {"containers": [{"name": "app"}, {"name": "b"}]},
            "1/2",
            "NotReady",
        ),
    ],
)
def test_the_status_column_of_pods(status: dict[str, Any], spec: dict[str, Any], ready: str, text: str) -> None:
    assert pod(status, spec)[1:3] == [ready, text]


def test_a_deleted_pod_is_terminating_until_it_has_finished() -> None:
    assert pod({"phase": "Running"}, deletionTimestamp=CREATED)[2] == "Terminating"
    assert pod({"phase": "Succeeded"}, deletionTimestamp=CREATED)[2] == "Succeeded"
    assert pod({"phase": "Running", "reason": "NodeLost"}, deletionTimestamp=CREATED)[2] == "Unknown"


def test_restarts_tell_when_the_last_one_was() -> None:
    last = {"terminated": {"exitCode": 1, "finishedAt": "2026-11-24T08:15:30Z"}}
    once = container({"running": {}}, ready=True, restarts=2, lastState=last)
    assert pod({"phase": "Running", "containerStatuses": [once]})[3] == "2 (5s ago)"
    assert pod({"phase": "Running", "containerStatuses": [{**once, "lastState": {}}]})[3] == "2"


def test_the_wide_columns_of_pods() -> None:
    status = {"phase": "Running", "podIPs": [{"ip": "10.4.4.4"}], "conditions": [{"type": "x/y", "status": "True"}]}
    gates = {"nodeName": "n-1", "readinessGates": [{"conditionType": "x/y"}, {"conditionType": "x/z"}]}
    assert pod(status, gates)[4:] == [AGE, "10.4.4.4", "n-1", "<none>", "1/2"]


def test_finished_pods_carry_a_row_condition() -> None:
    resource = registry.by_kind("v1", "Pod")
    assert resource is not None
    done = tables.row(resource, {"metadata": {"name": "n"}, "status": {"phase": "Succeeded"}}, now=NOW)
    assert done["conditions"][0]["reason"] == "Succeeded"
    assert "conditions" not in tables.row(
        resource, {"metadata": {"name": "n"}, "status": {"phase": "Running"}}, now=NOW
    )


TEMPLATE = {
    "spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:2"}], "nodeSelector": {"x": "y"}}
}
WORKLOAD = {"replicas": 3, "selector": {"matchLabels": {"b": "2", "a": "1"}}, "template": TEMPLATE}
WIDE = ["a,b", "i:1,i:2", "a=1,b=2"]


@pytest.mark.parametrize(
    ("api_version", "kind", "obj", "wanted"),
    [
        (
            "apps/v1",
            "Deployment",
            {"spec": WORKLOAD, "status": {"readyReplicas": 1, "updatedReplicas": 2}},
            ["n", "1/3", 2, 0, AGE, *WIDE],
        ),
        (
            "apps/v1",
            "ReplicaSet",
            {"spec": WORKLOAD, "status": {"replicas": 3, "readyReplicas": 1}},
            ["n", 3, 3, 1, AGE, *WIDE],
        ),
        ("apps/v1", "DaemonSet", {"spec": WORKLOAD}, ["n", 0, 0, 0, 0, 0, "x=y", AGE, *WIDE]),
        ("batch/v1", "Job", {"spec": {**WORKLOAD, "completions": 3}}, ["n", "Running", "0/3", "", AGE, *WIDE]),
        (
            "batch/v1",
            "Job",
            {
                "spec": {**WORKLOAD, "parallelism": 2},
                "status": {
                    "succeeded": 1,
                    "startTime": "2026-11-24T08:10:00Z",
                    "completionTime": "2026-11-24T08:10:30Z",
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            },
            ["n", "Complete", "1/1 of 2", "30s", AGE, *WIDE],
        ),
        (
            "apps/v1",
            "ControllerRevision",
            {
                "metadata": {
                    "ownerReferences": [
                        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": True}
                    ]
                },
                "revision": 4,
            },
            ["n", "daemonset.apps/d", 4, AGE],
        ),
        ("v1", "ConfigMap", {"data": {"a": "1"}, "binaryData": {"b": ""}}, ["n", 2, AGE]),
        ("v1", "Secret", {"type": "Opaque", "data": {"a": ""}}, ["n", "Opaque", 1, AGE]),
        ("v1", "ServiceAccount", {}, ["n", AGE]),
        ("v1", "Namespace", {"status": {"phase": "Active"}}, ["n", "Active", AGE]),
        ("coordination.k8s.io/v1", "Lease", {"spec": {"holderIdentity": "me"}}, ["n", "me", AGE]),
        (
            "v1",
            "Service",
            {
                "spec": {
                    "type": "NodePort",
                    "clusterIPs": ["10.96.0.9"],
                    "ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"}],
                }
            },
            ["n", "NodePort", "10.96.0.9", "<none>", "80:30001/TCP", AGE, "<none>"],
        ),
        (
            "v1",
            "Service",
            {"spec": {"type": "ExternalName", "externalName": "db.example.com", "selector": {"app": "n"}}},
            ["n", "ExternalName", "<none>", "db.example.com", "<none>", AGE, "app=n"],
        ),
        (
            "v1",
            "Service",
            {"spec": {"type": "LoadBalancer"}},
            ["n", "LoadBalancer", "<none>", "<pending>", "<none>", AGE, "<none>"],
        ),
        (
            "v1",
            "Endpoints",
            {"subsets": [{"addresses": [{"ip": f"10.1.1.{i}"} for i in range(4)], "ports": [{"port": 80}]}]},
            ["n", "10.1.1.0:80,10.1.1.1:80,10.1.1.2:80 + 1 more...", AGE],
        ),
        ("v1", "Endpoints", {}, ["n", "<none>", AGE]),
        (
            "discovery.k8s.io/v1",
            "EndpointSlice",
            {"addressType": "IPv4", "ports": [{"port": 80}, {"name": "x"}], "endpoints": [{"addresses": ["10.1.1.1"]}]},
            ["n", "IPv4", "80,*", "10.1.1.1", AGE],
        ),
        (
            "v1",
            "Node",
            {
                "metadata": {
                    "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}
                },
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.89.0.11"}],
                    "nodeInfo": {"kubeletVersion": "v1"},
                },
            },
            [
                "n",
                "Ready,SchedulingDisabled",
                "control-plane,worker",
                AGE,
                "v1",
                "10.89.0.11",
                "<none>",
                "<unknown>",
                "<unknown>",
                "<unknown>",
            ],
        ),
        (
            "v1",
            "Event",
            {
                "type": "Warning",
                "reason": "BackOff",
                "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec"},
                "source": {"component": "kubelet", "host": "node-1"},
                "message": " text\n",
                "firstTimestamp": CREATED,
                "lastTimestamp": "2026-11-24T08:15:30Z",
                "count": 3,
            },
            ["5s", "Warning", "BackOff", "pod/p", "spec", "kubelet, node-1", "text", AGE, 3, "n"],
        ),
        (
            "events.k8s.io/v1",
            "Event",
            {
                "type": "Normal",
                "reason": "R",
                "regarding": {"kind": "Pod", "name": "p"},
                "note": "t",
                "eventTime": CREATED,
                "reportingController": "c",
            },
            [AGE, "Normal", "R", "pod/p", "", "c", "t", AGE, 1, "n"],
        ),
    ],
)
def test_rows_read_as_kubectl_users_know_them(
    api_version: str, kind: str, obj: dict[str, Any], wanted: list[Any]
) -> None:
    assert cells(api_version, kind, obj) == wanted


def test_a_table_carries_what_is_asked_for_of_each_object() -> None:
    resource = registry.by_kind("v1", "ConfigMap")
    assert resource is not None
    obj = {"metadata": {"name": "one"}, "data": {"a": "1"}}
    made = tables.table(resource, [obj], now=NOW)
    assert [one["name"] for one in made["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert made["rows"][0]["object"] == {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": obj["metadata"],
    }
    assert tables.row(resource, obj, "None", NOW)["object"] is None
    assert tables.row(resource, obj, "Object", NOW)["object"] == {"apiVersion": "v1", "kind": "ConfigMap", **obj}
    with pytest.raises(BadRequest):
        tables.table(resource, [obj], include_object="Half", now=NOW)


CLUSTER_ROWS: list[tuple[str, str, dict[str, Any], list[Any]]] = [
    (
        "apps/v1",
        "StatefulSet",
        {
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "a", "image": "i"}]}}},
            "status": {"readyReplicas": 2},
        },
        ["n", "2/3", AGE, "a", "i"],
    ),
    (
        "batch/v1",
        "CronJob",
        {
            "spec": {"schedule": "@daily", "suspend": False, "timeZone": "UTC", "jobTemplate": {}},
            "status": {"active": [{}], "lastScheduleTime": "2026-11-24T08:15:05Z"},
        },
        ["n", "@daily", "UTC", "False", 1, "30s", AGE, "", "", "<none>"],
    ),
    (
        "v1",
        "ReplicationController",
        {"spec": {"replicas": 2, "selector": {"a": "b"}}, "status": {"replicas": 1}},
        ["n", 2, 1, 0, AGE, "", "", "a=b"],
    ),
    ("v1", "PodTemplate", {"template": {"metadata": {"labels": {"a": "b"}}}}, ["n", "", "", "a=b"]),
    (
        "v1",
        "PersistentVolume",
        {
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": "ns", "name": "c"},
                "storageClassName": "fast",
                "volumeMode": "Block",
            },
            "status": {"phase": "Bound"},
        },
        ["n", "10Gi", "RWO,RWX", "Retain", "Bound", "ns/c", "fast", "<unset>", "", AGE, "Block"],
    ),
    (
        "v1",
        "PersistentVolumeClaim",
        {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}, "status": {"phase": "Pending"}},
        ["n", "Pending", "", "", "", "fast", "<unset>", AGE, "<unset>"],
    ),
    (
        "v1",
        "PersistentVolumeClaim",
        {
            "spec": {"volumeName": "v", "volumeMode": "Filesystem"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOncePod"]},
        },
        ["n", "Bound", "v", "1Gi", "RWOP", "", "<unset>", AGE, "Filesystem"],
    ),
    (
        "v1",
        "ResourceQuota",
        {"status": {"hard": {"pods": "10", "limits.cpu": "2"}, "used": {"pods": "3"}}},
        ["n", "pods: 3/10", "limits.cpu: 0/2", AGE],
    ),
    (
        "v1",
        "ComponentStatus",
        {"conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]},
        ["n", "Healthy", "ok", ""],
    ),
    ("v1", "LimitRange", {}, ["n", CREATED]),
    (
        "networking.k8s.io/v1",
        "Ingress",
        {
            "spec": {"rules": [{"host": "a.example"}], "tls": [{}], "ingressClassName": "x"},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}},
        },
        ["n", "x", "a.example", "10.0.0.1", "80, 443", AGE],
    ),
    ("networking.k8s.io/v1", "Ingress", {"spec": {"rules": [{}]}}, ["n", "<none>", "*", "", "80", AGE]),
    (
        "networking.k8s.io/v1",
        "IngressClass",
        {"spec": {"controller": "a.b/c", "parameters": {"apiGroup": "a.b", "kind": "P", "name": "p"}}},
        ["n", "a.b/c", "P.a.b/p", AGE],
    ),
    ("networking.k8s.io/v1", "NetworkPolicy", {"spec": {"podSelector": {}}}, ["n", "<none>", AGE]),
    (
        "networking.k8s.io/v1",
        "IPAddress",
        {"spec": {"parentRef": {"resource": "services", "namespace": "ns", "name": "s"}}},
        ["n", "services/ns/s"],
    ),
    ("networking.k8s.io/v1", "ServiceCIDR", {"spec": {"cidrs": ["10.0.0.0/16"]}}, ["n", "10.0.0.0/16", AGE]),
    (
        "policy/v1",
        "PodDisruptionBudget",
        {"spec": {"maxUnavailable": "30%"}, "status": {"disruptionsAllowed": 1}},
        ["n", "N/A", "30%", 1, AGE],
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        {
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [
                {"kind": "User", "name": "u"},
                {"kind": "User", "name": "v"},
                {"kind": "ServiceAccount", "namespace": "ns", "name": "s"},
            ],
        },
        ["n", "Role/r", AGE, "u, v", "", "ns/s"],
    ),
    (
        "storage.k8s.io/v1",
        "StorageClass",
        {
            "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "p",
        },
        ["n (default)", "p", "Delete", "Immediate", False, AGE],
    ),
    (
        "storage.k8s.io/v1",
        "CSIDriver",
        {"spec": {"attachRequired": False, "volumeLifecycleModes": ["Persistent"]}},
        ["n", False, False, False, "<unset>", False, "Persistent", AGE],
    ),
    ("storage.k8s.io/v1", "CSINode", {"spec": {"drivers": [{}]}}, ["n", 1, AGE]),
    (
        "storage.k8s.io/v1",
        "VolumeAttachment",
        {"spec": {"attacher": "a", "nodeName": "x", "source": {"persistentVolumeName": "v"}}},
        ["n", "a", "v", "x", False, AGE],
    ),
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicy",
        {"spec": {"validations": [{}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}},
        ["n", 1, "v1/ConfigMap", AGE],
    ),
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
        {"spec": {"policyName": "p", "paramRef": {"namespace": "ns", "name": "c"}}},
        ["n", "p", "ns/c", AGE],
    ),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", {"webhooks": [{}, {}]}, ["n", 2, AGE]),
    (
        "certificates.k8s.io/v1",
        "CertificateSigningRequest",
        {
            "spec": {"signerName": "a/b", "username": "u", "expirationSeconds": 3600},
            "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="},
        },
        ["n", AGE, "a/b", "u", "60m", "Approved,Issued"],
    ),
    ("scheduling.k8s.io/v1", "PriorityClass", {"value": 7, "preemptionPolicy": "Never"}, ["n", 7, False, AGE, "Never"]),
    ("node.k8s.io/v1", "RuntimeClass", {"handler": "h"}, ["n", "h", AGE]),
    ("resource.k8s.io/v1", "ResourceClaim", {"status": {}}, ["n", "pending", AGE]),
    (
        "resource.k8s.io/v1",
        "ResourceClaim",
        {"status": {"allocation": {"devices": {}}, "reservedFor": [{}]}},
        ["n", "allocated,reserved", AGE],
    ),
    (
        "flowcontrol.apiserver.k8s.io/v1",
        "FlowSchema",
        {
            "spec": {"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 9},
            "status": {"conditions": [{"type": "Dangling", "status": "False"}]},
        },
        ["n", "l", 9, "<none>", AGE, "False"],
    ),
    (
        "flowcontrol.apiserver.k8s.io/v1",
        "PriorityLevelConfiguration",
        {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 30, "limitResponse": {"type": "Reject"}}}},
        ["n", "Limited", 30, "<none>", "<none>", "<none>", AGE],
    ),
    (
        "apiregistration.k8s.io/v1",
        "APIService",
        {
            "spec": {"service": {"namespace": "ns", "name": "s"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "Gone"}]},
        },
        ["n", "ns/s", "False (Gone)", AGE],
    ),
]


@pytest.mark.parametrize(("api_version", "kind", "obj", "expected"), CLUSTER_ROWS)
def test_the_other_kinds_read_as_kubectl_shows_them(
    api_version: str, kind: str, obj: dict[str, Any], expected: list[Any]
) -> None:
    assert cells(api_version, kind, obj) == expected


CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}
QUEUE = {"type": "External", "external": {"metric": {"name": "q"}, "target": {"averageValue": "30"}}}
USED = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}


@pytest.mark.parametrize(
    ("metrics", "current", "text"),
    [
        ([], [], "<none>"),
        ([CPU], [], "cpu: <unknown>/80%"),
        ([CPU, QUEUE], [USED], "cpu: 12%/80%, <unknown>/30 (avg)"),
        ([CPU, QUEUE, QUEUE, QUEUE], [USED], "cpu: 12%/80%, <unknown>/30 (avg) + 2 more..."),
    ],
)
def test_autoscalers_show_what_they_aim_at(metrics: list[Any], current: list[Any], text: str) -> None:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5, "metrics": metrics}
    made = cells("autoscaling/v2", "HorizontalPodAutoscaler", {"spec": spec, "status": {"currentMetrics": current}})
    assert made == ["n", "Deployment/d", text, "<unset>", 5, 0, AGE]


def test_the_first_version_of_an_autoscaler_shows_the_same() -> None:
    spec = {"scaleTargetRef": {"kind": "D", "name": "d"}, "maxReplicas": 5, "targetCPUUtilizationPercentage": 80}
    obj = {"spec": spec, "status": {"currentReplicas": 1, "currentCPUUtilizationPercentage": 12}}
    assert cells("autoscaling/v1", "HorizontalPodAutoscaler", obj)[2:6] == ["cpu: 12%/80%", "<unset>", 5, 1]


def test_a_default_table_without_objects_has_no_rows_at_all() -> None:
    limits, maps = registry.by_kind("v1", "LimitRange"), registry.by_kind("v1", "ConfigMap")
    assert limits is not None
    assert maps is not None
    assert tables.table(limits, [])["rows"] is None
    assert tables.table(maps, [])["rows"] == []


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([one for one in registry.all_resources() if len(one.verbs) > 1]).flatmap(
        lambda one: st.tuples(st.just(one), objects(one.schema, depth=5))
    )
)
def test_any_object_fits_the_columns_of_its_kind(drawn: tuple[registry.Resource, dict[str, Any]]) -> None:
    resource, obj = drawn
    decoding.conform(resource.schema, obj)
    defaults.apply_defaults(resource, obj)
    assert len(tables.row(resource, obj, now=NOW)["cells"]) == len(resource.columns)
