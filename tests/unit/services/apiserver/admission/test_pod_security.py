"""Pod security: levels and versions of namespaces, the controls, and how complaints are worded."""

from typing import Any

import pytest

from services.apiserver.admission.podsecurity.evaluation import violations
from services.apiserver.admission.podsecurity.levels import Demand, policy_of, problems
from tests.unit.services.apiserver.admission.objects import Object, pod
from tests.unit.services.apiserver.memory_api import MemoryApi

PREFIX = "pod-security.kubernetes.io/"
HARDENED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def told(level: str, spec: Object, version: str = "latest", **annotations: str) -> list[str]:
    return [str(one) for one in violations(Demand(level, version), {"annotations": annotations}, spec)]


def spec_with(context: Object | None = None, **container: Any) -> Object:
    return {"containers": [{"name": "a", "image": "a:1", "securityContext": context or {}, **container}]}


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (
            {**spec_with(), "hostNetwork": True, "hostPID": True},
            "host namespaces (hostNetwork=true, hostPID=true)",
        ),
        (
            spec_with({"privileged": True}),
            'privileged (container "a" must not set securityContext.privileged=true)',
        ),
        (
            spec_with({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}),
            'non-default capabilities (container "a" must not include "NET_ADMIN" in securityContext.capabilities.add)',
        ),
        ({**spec_with(), "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
        (spec_with(ports=[{"hostPort": 80}, {"hostPort": 81}]), 'hostPort (container "a" uses hostPorts 80, 81)'),
        (
            spec_with(livenessProbe={"httpGet": {"host": "1.2.3.4", "port": 1}}),
            'probe or lifecycle host (container "a" uses probe or lifecycle host "1.2.3.4")',
        ),
        (
            spec_with({"procMount": "Unmasked"}),
            'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
        ),
        (
            {**spec_with({"seLinuxOptions": {"type": "spc_t"}}), "securityContext": {"seLinuxOptions": {"user": "u"}}},
            'seLinuxOptions (pod and container "a" set forbidden securityContext.seLinuxOptions: type "spc_t"; '
            "user may not be set)",
        ),
        (
            spec_with({"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            {**spec_with(), "securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}},
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            {**spec_with(), "securityContext": {"windowsOptions": {"hostProcess": True}}},
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            spec_with({"appArmorProfile": {"type": "Unconfined"}}),
            'forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")',
        ),
    ],
)
def test_the_baseline_refuses_what_leads_out_of_a_container(spec: Object, complaint: str) -> None:
    assert told("baseline", spec) == [complaint]
    assert told("privileged", spec) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, ""),
        (
            {"allowPrivilegeEscalation": None},
            'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false)',
        ),
        (
            {"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}},
            'unrestricted capabilities (container "a" must not include "SYS_TIME" in securityContext.capabilities.add)',
        ),
        (
            {"runAsNonRoot": False},
            'runAsNonRoot != true (container "a" must not set securityContext.runAsNonRoot=false)',
        ),
        ({"runAsUser": 0}, 'runAsUser=0 (container "a" must not set runAsUser=0)'),
        (
            {"seccompProfile": None},
            'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
            '"Localhost")',
        ),
    ],
)
def test_the_restricted_standard_wants_hardened_containers(change: Object, complaint: str) -> None:
    assert told("restricted", spec_with(HARDENED | change)) == ([complaint] if complaint else [])


def test_restricted_names_a_host_path_once_and_as_a_restricted_volume() -> None:
    spec = {
        **spec_with(HARDENED),
        "volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "c", "configMap": {}}],
    }
    assert told("restricted", spec) == ['restricted volume types (volume "v" uses restricted volume type "hostPath")']


def test_a_pod_may_settle_for_its_containers_what_it_sets_itself() -> None:
    whole = {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}
    own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert told("restricted", {**spec_with(own), "securityContext": whole}) == []


@pytest.mark.parametrize(
    ("spec", "version", "count"),
    [
        ({**spec_with(), "securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}}, "v1.31", 1),
        ({**spec_with(), "securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}}, "v1.32", 0),
        (spec_with(livenessProbe={"tcpSocket": {"host": "x", "port": 1}}), "v1.33", 0),
        ({**spec_with({"procMount": "Unmasked"}), "hostUsers": False}, "v1.34", 1),
        ({**spec_with({"procMount": "Unmasked"}), "hostUsers": False}, "latest", 0),
    ],
)
def test_an_older_version_of_the_standards_means_what_it_meant(spec: Object, version: str, count: int) -> None:
    assert len(told("baseline", spec, version)) == count


def test_before_profiles_were_fields_they_were_annotations() -> None:
    annotation = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    told_of = 'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    assert told("baseline", spec_with(), "v1.18", **annotation) == [told_of]
    assert told("baseline", spec_with(), "latest", **annotation) == []


def test_windows_pods_are_spared_what_windows_does_not_have() -> None:
    spec = {**spec_with({"runAsNonRoot": True}), "os": {"name": "windows"}}
    assert told("restricted", spec) == []
    assert len(told("restricted", spec, "v1.24")) == 3


def test_a_level_that_cannot_be_read_is_enforced_as_the_strictest() -> None:
    policy = policy_of({f"{PREFIX}enforce": "strange", f"{PREFIX}warn": "odd", f"{PREFIX}enforce-version": "v1.20"})
    assert (str(policy.enforce), policy.warn.level) == ("restricted:v1.20", "privileged")
    assert [one.field for one in problems({f"{PREFIX}audit-version": "1.2"})] == [
        f"metadata.labels[{PREFIX}audit-version]"
    ]


async def namespace(api: MemoryApi, **labels: str) -> None:
    named = {PREFIX + mode: level for mode, level in labels.items()}
    await api.create("/api/v1/namespaces", {"metadata": {"name": "safe", "labels": named}})


async def test_an_enforced_level_refuses_pods(api: MemoryApi) -> None:
    await namespace(api, enforce="baseline")
    failure = await api.failure("POST", "/api/v1/namespaces/safe/pods", pod(hostIPC=True))
    assert failure.code == 403
    assert failure.message == (
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostIPC=true)'
    )


async def test_templates_are_warned_about_with_what_their_pods_will_be_refused_for(api: MemoryApi) -> None:
    await namespace(api, enforce="baseline")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod(hostPID=True)["spec"]}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    await api.create("/apis/apps/v1/namespaces/safe/deployments", body)
    assert api.warnings == ['would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)']
    job = {
        "metadata": {"name": "j"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}},
    }
    template["spec"]["restartPolicy"] = "Never"
    await api.create("/apis/batch/v1/namespaces/safe/cronjobs", job)
    assert api.warnings == ['would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)']


async def test_only_changes_of_what_runs_are_judged_again(api: MemoryApi) -> None:
    await namespace(api, warn="privileged")
    pods = "/api/v1/namespaces/safe/pods"
    await api.create(pods, pod(hostPID=True))
    await api.patch("/api/v1/namespaces/safe", {"metadata": {"labels": {f"{PREFIX}enforce": "baseline"}}})
    assert api.warnings == [
        'existing pods in namespace "safe" violate the new PodSecurity enforce level "baseline:latest"',
        "p: host namespaces",
    ]
    await api.patch(f"{pods}/p", {"metadata": {"labels": {"a": "b"}}})
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "app:2"}]
    assert await api.code("PATCH", f"{pods}/p", image, headers={"content-type": "application/json-patch+json"}) == 403


async def test_a_relaxed_level_warns_about_nothing(api: MemoryApi) -> None:
    await namespace(api, enforce="restricted")
    await api.patch("/api/v1/namespaces/safe", {"metadata": {"labels": {f"{PREFIX}enforce": "baseline"}}})
    assert api.warnings == []
