"""Requests, limits and what becomes of them."""

import pytest

from services.nodeagent.pods import resources
from services.nodeagent.pods.admission import admit, request, secure
from tests.fakes.podlife import container, pod

POD = pod()


def needs(requests=None, limits=None):
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


def test_shares_come_from_the_request_and_quota_from_the_limit():
    asked = needs({"cpu": "250m"}, {"cpu": "1500m", "memory": "64Mi"})
    result = resources.container_resources(POD, container("c", **asked))
    assert (result.cpu_shares, result.cpu_quota_us, result.cpu_period_us) == (256, 150_000, 100_000)
    assert result.memory_bytes == 64 << 20


def test_a_container_without_a_request_gets_the_least_shares_and_no_limit():
    result = resources.container_resources(POD, container("c"))
    assert (result.cpu_shares, result.cpu_quota_us, result.memory_bytes) == (2, None, None)


def test_a_container_without_limits_sees_those_of_its_pod():
    whole = pod(**needs({}, {"cpu": "1", "memory": "64Mi"}))
    result = resources.container_resources(whole, container("c", **needs({}, {"memory": "10Mi"})))
    assert (result.cpu_quota_us, result.memory_bytes) == (100_000, 10 << 20)


def test_the_smallest_quota_is_a_millisecond():
    assert resources.container_resources(POD, container("c", **needs({}, {"cpu": "1m"}))).cpu_quota_us == 1000


def test_the_pod_s_limit_is_the_sum_if_every_container_has_one():
    a, b = container("a", **needs({}, {"memory": "10Mi"})), container("b", **needs({}, {"memory": "20Mi"}))
    assert resources.pod_resources(pod(a, b)).memory_bytes == 30 << 20
    assert resources.pod_resources(pod(a, b, container("c"))).memory_bytes is None


def test_a_large_init_container_raises_the_pod_s_limit():
    init = container("i", **needs({}, {"memory": "50Mi"}))
    app = container("a", **needs({}, {"memory": "10Mi"}))
    assert resources.pod_resources(pod(app, initContainers=[init])).memory_bytes == 50 << 20


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (needs(), 1000),
        (needs({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}), -997),
        (needs({"memory": "4Gi"}), 500),
        (needs({"cpu": "1"}), 999),
        (needs({"memory": "8Gi"}), 3),
    ],
)
def test_the_oom_score_follows_the_quality_of_service(fields, expected):
    spec = container("c", **fields)
    assert resources.oom_score_adjustment(pod(spec), spec, 8 << 30) == expected


def test_the_control_group_is_named_after_the_class_and_the_uid():
    assert resources.cgroup_path(pod(container("c"))) == "/pods/besteffort/podu1"


def test_a_sidecar_counts_beside_the_apps_and_an_init_container_before_them():
    side = container("s", restartPolicy="Always", **needs({"cpu": "1"}))
    init = container("i", **needs({"cpu": "3"}))
    app = container("a", **needs({"cpu": "1"}))
    assert request(pod(app, initContainers=[side, init]), "cpu") == 4000
    assert request(pod(app, initContainers=[init, side]), "cpu") == 3000


def test_a_pod_that_fits_is_admitted():
    room = {"cpu": "2", "memory": "1Gi", "pods": "2", "ephemeral-storage": "1Gi"}
    assert admit(pod(container("a", **needs({"cpu": "1"}))), [pod(container("b", **needs({"cpu": "1"})))], room) is None


def test_a_pod_that_does_not_fit_is_refused_with_the_numbers():
    room = {"cpu": "1", "memory": "1Gi", "pods": "110", "ephemeral-storage": "1Gi"}
    other = pod(container("b", **needs({"cpu": "600m"})))
    reason, message = admit(pod(container("a", **needs({"cpu": "500m"}))), [other], room)
    assert reason == "OutOfcpu"
    assert message.endswith("cpu, requested: 500, used: 600, capacity: 1000")


def test_the_number_of_pods_is_bounded():
    room = {"cpu": "1", "memory": "1Gi", "pods": "1", "ephemeral-storage": "1Gi"}
    reason, _ = admit(pod(container("a")), [pod(container("b"))], room)
    assert reason == "OutOfpods"


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ({"hostPort": 80}, False),
        ({"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, False),
        ({"hostPort": 81}, True),
    ],
)
def test_a_port_of_the_node_is_given_once(taken, free):
    room = {"cpu": "1", "memory": "1Gi", "pods": "110", "ephemeral-storage": "1Gi"}
    wanting = pod(container("a", ports=[{"containerPort": 80, "hostPort": 80}]))
    refused = admit(wanting, [pod(container("b", ports=[{"containerPort": 80, **taken}]))], room)
    assert (refused is None) == free
    assert free or refused[0] == "NodePorts"


def test_claims_for_devices_are_refused():
    reason, message = secure(pod(container("a"), resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu"}]))
    assert reason == "UnexpectedAdmissionError"
    assert "spec.resourceClaims is not supported" in message
