"""Limit ranges: defaults, and bounds in Kubernetes' words."""

import pytest

from tests.unit.services.apiserver.admission.objects import Object, limit_range, pod
from tests.unit.services.apiserver.memory_api import MemoryApi

RANGES = "/api/v1/namespaces/default/limitranges"
PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def claim(size: str) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "storageClassName": ""}
    return {"metadata": {"name": "c"}, "spec": spec}


async def test_containers_get_what_they_leave_unsaid_and_the_pod_says_so(api: MemoryApi) -> None:
    given = {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    await api.create(RANGES, limit_range(given))
    made = await api.create(PODS, pod(limits={"cpu": "300m"}, initContainers=[{"name": "i", "image": "i:1"}]))
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "300m", "memory": "1Gi"},
        "requests": {"cpu": "300m", "memory": "1Gi"},
    }
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: memory request for container app; memory limit for container app; "
        "cpu, memory request for init container i; cpu, memory limit for init container i"
    )
    assert made["status"]["qosClass"] == "Burstable"


@pytest.mark.parametrize(
    ("limit", "resources", "why"),
    [
        (
            {"min": {"cpu": "100m"}},
            {"requests": {"cpu": "10m"}},
            "minimum cpu usage per Container is 100m, but request is 10m",
        ),
        (
            {"max": {"cpu": "1"}},
            {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}},
            "maximum cpu usage per Container is 1, but limit is 2",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 5.000000",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {},
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
    ],
)
async def test_containers_out_of_bounds_are_refused(api: MemoryApi, limit: Object, resources: Object, why: str) -> None:
    await api.create(RANGES, limit_range({"type": "Container", **limit}))
    failure = await api.failure("POST", PODS, pod(**resources))
    assert failure.code == 403
    assert failure.message == f'pods "p" is forbidden: {why}'


async def test_several_complaints_are_listed(api: MemoryApi) -> None:
    await api.create(RANGES, limit_range({"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}}))
    failure = await api.failure("POST", PODS, pod(limits={"cpu": "2", "memory": "2Gi"}))
    assert failure.message.endswith(
        "[maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Container is 1Gi, "
        "but limit is 2Gi]"
    )


async def test_a_pod_is_bounded_as_a_whole(api: MemoryApi) -> None:
    await api.create(RANGES, limit_range({"type": "Pod", "max": {"cpu": "1"}}))
    failure = await api.failure("POST", PODS, pod())
    assert failure.message.endswith("maximum cpu usage per Pod is 1.  No limit is specified")
    two = pod(limits={"cpu": "600m"})
    two["spec"]["containers"].append({**two["spec"]["containers"][0], "name": "b"})
    failure = await api.failure("POST", PODS, two)
    assert failure.message.endswith("maximum cpu usage per Pod is 1, but limit is 1200m")


async def test_claims_are_bounded_by_their_size(api: MemoryApi) -> None:
    bounds = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}
    await api.create(RANGES, limit_range(bounds))
    small, large = await api.failure("POST", CLAIMS, claim("1Mi")), await api.failure("POST", CLAIMS, claim("3Gi"))
    assert small.message.endswith("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi")
    assert large.message.endswith("maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi")
    await api.create(CLAIMS, claim("2Gi"))
