"""The smaller plugins: storage, ingress and runtime classes, nodes, priorities, certificates."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.services.apiserver.admission.objects import Object, pod
from tests.unit.services.apiserver.memory_api import NODE, MemoryApi

PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


def claim(name: str = "c", **spec: object) -> Object:
    fixed = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": name}, "spec": fixed | spec}


def storage_class(name: str, *, default: bool = False, **more: object) -> Object:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": annotations}, "provisioner": "example.com/p", **more}


async def test_claims_and_volumes_are_protected_and_claims_get_the_default_class(api: MemoryApi) -> None:
    await api.create(CLASSES, storage_class("plain"))
    await api.create(CLASSES, storage_class("chosen", default=True))
    made = await api.create(CLAIMS, claim())
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert made["spec"]["storageClassName"] == "chosen"
    assert (await api.create(CLAIMS, claim("none", storageClassName="")))["spec"]["storageClassName"] == ""


@pytest.mark.parametrize(("grows", "code"), [(True, 200), (False, 403)])
async def test_a_bound_claim_grows_where_its_class_allows_it(api: MemoryApi, grows: bool, code: int) -> None:
    await api.create(CLASSES, storage_class("s", allowVolumeExpansion=grows))
    made = await api.create(CLAIMS, claim(storageClassName="s"))
    await api.update(f"{CLAIMS}/c/status", made | {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}})
    patch = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    headers = {"content-type": "application/merge-patch+json"}
    assert await api.code("PATCH", f"{CLAIMS}/c", patch, headers=headers) == code


async def test_an_ingress_gets_the_default_class(api: MemoryApi) -> None:
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
    body: Object = {"metadata": {"name": "web", "annotations": annotations}, "spec": {"controller": "example.com/c"}}
    await api.create("/apis/networking.k8s.io/v1/ingressclasses", body)
    backend = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    made = await api.create(
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses", {"metadata": {"name": "i"}, "spec": backend}
    )
    assert made["spec"]["ingressClassName"] == "web"


async def test_a_runtime_class_brings_overhead_and_place(api: MemoryApi) -> None:
    body: Object = {
        "metadata": {"name": "vm"},
        "handler": "vm",
        "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
    }
    await api.create("/apis/node.k8s.io/v1/runtimeclasses", body)
    made = await api.create(PODS, pod(runtimeClassName="vm"))
    assert made["spec"]["overhead"] == {"cpu": "250m"}
    assert made["spec"]["nodeSelector"] == {"vm": "yes"}
    assert {"key": "vm", "operator": "Exists"} in made["spec"]["tolerations"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"runtimeClassName": "none"}, 'pod rejected: RuntimeClass "none" not found'),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        ({"priority": 7}, "the integer value of priority (7) must not be provided in pod spec"),
    ],
)
async def test_a_pod_may_not_contradict_its_classes(api: MemoryApi, spec: Object, why: str) -> None:
    failure = await api.failure("POST", PODS, pod(**spec))
    assert failure.code == 403
    assert why in failure.message


async def test_there_is_one_default_priority_class(api: MemoryApi) -> None:
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await api.create(classes, {"metadata": {"name": "a"}, "value": 1, "globalDefault": True})
    failure = await api.failure("POST", classes, {"metadata": {"name": "b"}, "value": 2, "globalDefault": True})
    assert failure.message.endswith("PriorityClass a is already marked as default. Only one default can exist")
    await api.patch(f"{classes}/a", {"description": "still the default"})


async def test_a_new_node_is_tainted_until_it_is_ready(api: MemoryApi) -> None:
    made = await api.create("/api/v1/nodes", {"metadata": {"name": "n"}})
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


async def test_nobody_asks_for_a_certificate_of_an_administrator(api: MemoryApi) -> None:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "eve"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters"),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    encoded = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": encoded, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    failure = await api.failure(
        "POST",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        {"metadata": {"name": "eve"}, "spec": spec},
    )
    assert failure.code == 403
    assert "signer with system:masters group is not allowed" in failure.message


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({"metadata": {"labels": {"topology.kubernetes.io/zone": "a", "own": "x"}}}, 200),
        ({"metadata": {"labels": {"node.kubernetes.io/anything": "a"}}}, 200),
        ({"metadata": {"labels": {"node-restriction.kubernetes.io/secret": "yes"}}}, 403),
        ({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}, 403),
        ({"spec": {"taints": None}}, 403),
        ({"spec": {"unschedulable": True}}, 200),
    ],
)
async def test_a_node_changes_only_what_is_its_own(api: MemoryApi, patch: Object, code: int) -> None:
    await api.create("/api/v1/nodes", {"metadata": {"name": "node-1"}}, user=NODE)
    headers = {"content-type": "application/merge-patch+json"}
    assert await api.code("PATCH", "/api/v1/nodes/node-1", patch, headers=headers, user=NODE) == code


async def test_a_node_does_not_register_with_a_role(api: MemoryApi) -> None:
    labels = {"kubernetes.io/hostname": "node-1", "node-role.kubernetes.io/worker": ""}
    body = {"metadata": {"name": "node-1", "labels": labels}}
    failure = await api.failure("POST", "/api/v1/nodes", body, user=NODE)
    assert failure.code == 403
    assert failure.message.endswith("not allowed to set the following labels: node-role.kubernetes.io/worker")
