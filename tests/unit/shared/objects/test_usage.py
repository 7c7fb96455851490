"""What objects take from quotas: effective requests, names, scopes, ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.objects import quantities
from shared.objects.usage import amounts, counting, pods, scopes

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
Object = dict[str, Any]


def container(name: str = "app", requests: Object | None = None, limits: Object | None = None, **more: Any) -> Object:
    return {"name": name, "resources": {"requests": requests or {}, "limits": limits or {}}, **more}


def pod(*containers: Object, **spec: Any) -> Object:
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers), **spec}}


def quota(*scope_names: str, **requirement: Any) -> Object:
    selector = {"scopeSelector": {"matchExpressions": [requirement]}} if requirement else {}
    return {"metadata": {"name": "q"}, "spec": {"scopes": list(scope_names), **selector}}


@pytest.mark.parametrize(
    ("left", "right", "total"),
    [("0", "512Mi", "512Mi"), ("512Mi", "512Mi", "1Gi"), ("500m", "1", "1500m"), ("1Gi", "1000", "1073742824")],
)
def test_a_sum_keeps_the_notation_of_its_first_amount(left: str, right: str, total: str) -> None:
    assert quantities.add(left, right) == total


def test_a_difference_never_falls_below_zero() -> None:
    assert amounts.difference({"cpu": "1", "memory": "1Gi"}, {"cpu": "3"}) == {"cpu": "0", "memory": "1Gi"}


def test_init_containers_count_while_they_run_and_sidecars_from_their_start() -> None:
    spec = pod(
        container(requests={"cpu": "200m"}),
        initContainers=[
            container("early", {"cpu": "900m"}),
            container("sidecar", {"cpu": "100m"}, restartPolicy="Always"),
            container("late", {"cpu": "850m"}),
        ],
        overhead={"cpu": "50m"},
    )["spec"]
    assert pods.requests(spec) == {"cpu": "1"}
    assert pods.requests(spec, overhead=False) == {"cpu": "950m"}


def test_resources_of_the_pod_itself_win() -> None:
    spec = pod(container(requests={"cpu": "200m", "memory": "1Gi"}), resources={"requests": {"cpu": "1"}})["spec"]
    assert pods.requests(spec) == {"cpu": "1", "memory": "1Gi"}


def test_a_pod_counts_under_every_name_that_quotas_have_for_it() -> None:
    taken = pods.usage(pod(container(requests={"cpu": "1", "x.io/gpu": "2"}, limits={"memory": "1Gi"})), NOW)
    assert taken == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "1",
        "requests.cpu": "1",
        "requests.x.io/gpu": "2",
        "limits.memory": "1Gi",
    }


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_is_only_an_object(phase: str) -> None:
    finished = pod(container(requests={"cpu": "1"})) | {"status": {"phase": phase}}
    assert pods.usage(finished, NOW) == {"count/pods": "1"}


def test_a_pod_whose_grace_is_over_is_only_an_object() -> None:
    deleted = pod(container(requests={"cpu": "1"}))
    deleted["metadata"] |= {"deletionTimestamp": "2026-11-24T11:59:00Z", "deletionGracePeriodSeconds": 30}
    assert pods.usage(deleted, NOW) == {"count/pods": "1"}
    deleted["metadata"]["deletionGracePeriodSeconds"] = 300
    assert "pods" in pods.usage(deleted, NOW)


def test_containers_must_state_what_a_compute_quota_bounds() -> None:
    silent = pod(container("a", {"cpu": "1"}), container("b"), initContainers=[container("i", limits={"memory": "1"})])
    wanted = pods.unstated(silent, ["requests.cpu", "limits.memory", "requests.ephemeral-storage"])
    assert wanted == "must specify limits.memory for: a,b; requests.cpu for: b,i"


@pytest.mark.parametrize(
    ("spec", "taken"),
    [
        ({"type": "ClusterIP", "ports": [{"port": 1}]}, ("0", "0")),
        ({"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}, ("2", "0")),
        ({"type": "LoadBalancer", "ports": [{"port": 1}]}, ("1", "1")),
        (
            {
                "type": "LoadBalancer",
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"port": 1}, {"port": 2, "nodePort": 30000}],
            },
            ("1", "1"),
        ),
    ],
)
def test_services_count_their_node_ports_and_balancers(spec: Object, taken: tuple[str, str]) -> None:
    found = counting.usage("", "services", {"metadata": {"name": "s"}, "spec": spec}, NOW)
    assert (found["services.nodeports"], found["services.loadbalancers"]) == taken
    assert found["services"] == found["count/services"] == "1"


def test_a_claim_counts_for_its_class_too() -> None:
    spec = {"storageClassName": "gold", "resources": {"requests": {"storage": "5Gi"}}}
    claim = {"metadata": {"name": "c"}, "spec": spec}
    found = counting.usage("", "persistentvolumeclaims", claim, NOW)
    assert found["gold.storageclass.storage.k8s.io/requests.storage"] == found["requests.storage"] == "5Gi"
    assert found["gold.storageclass.storage.k8s.io/persistentvolumeclaims"] == "1"


def test_a_device_claim_counts_the_most_that_an_alternative_may_take() -> None:
    requests = [
        {"exactly": {"deviceClassName": "gpu", "count": 2}},
        {"firstAvailable": [{"deviceClassName": "gpu"}, {"deviceClassName": "fpga", "allocationMode": "All"}]},
    ]
    claim = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}}
    found = counting.usage("resource.k8s.io", "resourceclaims", claim, NOW)
    assert found == {
        "count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "3",
        "fpga.deviceclass.resource.k8s.io/devices": "32",
    }


@pytest.mark.parametrize(
    ("group", "plural", "name", "tracked"),
    [
        ("", "pods", "requests.nvidia.com/gpu", True),
        ("", "pods", "requests.storage", False),
        ("", "pods", "hugepages-2Mi", True),
        ("", "configmaps", "configmaps", True),
        ("apps", "deployments", "count/deployments.apps", True),
        ("apps", "deployments", "deployments", False),
        ("", "persistentvolumeclaims", "gold.storageclass.storage.k8s.io/requests.storage", True),
    ],
)
def test_every_name_belongs_to_its_kind(group: str, plural: str, name: str, tracked: bool) -> None:
    assert bool(counting.tracked(group, plural, [name])) is tracked


@pytest.mark.parametrize(
    ("bounds", "spec", "inside"),
    [
        (quota("BestEffort"), {}, True),
        (quota("NotBestEffort"), {}, False),
        (quota("Terminating"), {"activeDeadlineSeconds": 5}, True),
        (quota("NotTerminating"), {"activeDeadlineSeconds": 5}, False),
        (quota("NotTerminating", scopeName="BestEffort", operator="Exists"), {}, True),
        (quota("PriorityClass"), {"priorityClassName": "high"}, True),
        (quota(scopeName="PriorityClass", operator="In", values=["high"]), {"priorityClassName": "high"}, True),
        (quota(scopeName="PriorityClass", operator="In", values=["high"]), {"priorityClassName": "low"}, False),
        (quota(scopeName="PriorityClass", operator="NotIn", values=["high"]), {}, True),
        (quota(scopeName="PriorityClass", operator="DoesNotExist"), {}, True),
        (quota("CrossNamespacePodAffinity"), {}, False),
        (
            quota("CrossNamespacePodAffinity"),
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}},
            True,
        ),
    ],
)
def test_scopes_choose_pods(bounds: Object, spec: Object, inside: bool) -> None:
    assert scopes.match(bounds, "pods", pod({"name": "app"}, **spec)) is inside


def test_scopes_of_pods_never_hold_for_other_kinds() -> None:
    assert not scopes.match(quota("BestEffort"), "services", {"metadata": {}, "spec": {}})
    assert scopes.match(quota(), "services", {"metadata": {}, "spec": {}})
