"""Certificate signing requests: who made them, and who may decide on them."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import Forbidden
from tests.unit.services.apiserver.memory_api import ALICE, MemoryApi

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
SIGNER = "example.com/custom"
APPROVED = {"type": "Approved", "status": "True", "reason": "Ok", "message": "fine"}


def signers(verb: str, name: str) -> dict[str, list[str]]:
    return {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [name], "verbs": [verb]}


async def requested(api: MemoryApi, **more: Any) -> Any:
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    encoded = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": encoded, "signerName": SIGNER, "usages": ["client auth"], **more}
    return await api.create(CSRS, {"metadata": {"name": "r"}, "spec": spec}, user=ALICE)


async def allow(api: MemoryApi, name: str, *rules: Any) -> None:
    await api.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": list(rules)})
    subject, role = {"kind": "User", "name": "alice"}, {"kind": "ClusterRole", "name": name}
    binding = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
    await api.create(f"{RBAC}/clusterrolebindings", binding)


async def allow_requests(api: MemoryApi) -> None:
    resources = ["certificatesigningrequests", "certificatesigningrequests/approval"]
    resources.append("certificatesigningrequests/status")
    await allow(api, "requests", {"apiGroups": ["certificates.k8s.io"], "resources": resources, "verbs": ["*"]})


async def test_a_request_tells_who_made_it_whatever_it_says(api: MemoryApi) -> None:
    await allow_requests(api)
    made = await requested(api, username="admin", groups=["system:masters"], uid="1")
    assert made["spec"]["username"] == "alice"
    assert made["spec"]["groups"] == ["system:authenticated"]
    assert "uid" not in made["spec"]
    changed = await api.patch(f"{CSRS}/r", {"spec": {"username": "admin"}}, user=ALICE)
    assert changed["spec"]["username"] == "alice"


@pytest.mark.parametrize("name", [SIGNER, "example.com/*"])
async def test_approval_takes_a_right_on_the_signer(api: MemoryApi, name: str) -> None:
    await allow_requests(api)
    await requested(api)
    approval = {"status": {"conditions": [APPROVED]}}
    with pytest.raises(Forbidden, match="user not permitted to approve requests with"):
        await api.patch(f"{CSRS}/r/approval", approval, user=ALICE)
    await allow(api, "approver", signers("approve", name))
    approved = await api.patch(f"{CSRS}/r/approval", approval, user=ALICE)
    (condition,) = approved["status"]["conditions"]
    assert condition["type"] == "Approved"
    assert condition["lastUpdateTime"] == condition["lastTransitionTime"]


async def test_a_certificate_takes_the_right_to_sign_and_decides_nothing(api: MemoryApi) -> None:
    await allow_requests(api)
    await requested(api)
    failed = APPROVED | {"type": "Failed"}
    status = {"status": {"conditions": [APPROVED, failed]}}
    with pytest.raises(Forbidden, match="user not permitted to sign requests"):
        await api.patch(f"{CSRS}/r/status", status, user=ALICE)
    await allow(api, "signer", signers("sign", SIGNER))
    written = await api.patch(f"{CSRS}/r/status", status, user=ALICE)
    assert [one["type"] for one in written["status"]["conditions"]] == ["Failed"]
