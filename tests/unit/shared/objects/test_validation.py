import base64
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.objects import decoding, defaults, meta, registry, schema, validation
from shared.objects.registry import Resource
from tests.unit.shared.objects.schema_objects import objects

APP: dict[str, Any] = {"name": "app", "image": "i:1"}
LABELS = {"a": "b"}
TEMPLATE: dict[str, Any] = {"metadata": {"labels": LABELS}, "spec": {"containers": [APP]}}


def served(api_version: str, kind: str) -> Resource:
    found = registry.by_kind(api_version, kind)
    assert found is not None
    return found


def prepared(api_version: str, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    resource = served(api_version, kind)
    made: dict[str, Any] = meta.copy({**obj, "metadata": {"name": "n", "namespace": "ns", **obj.get("metadata", {})}})
    if not resource.namespaced:
        del made["metadata"]["namespace"]
    decoding.prune(resource, made)
    defaults.apply_defaults(resource, made)
    return made


def created(api_version: str, kind: str, obj: dict[str, Any]) -> set[tuple[str, str]]:
    causes = validation.validate_create(served(api_version, kind), prepared(api_version, kind, obj))
    return {(one.reason.removeprefix("FieldValue"), one.field) for one in causes}


def updated(
    api_version: str, kind: str, old: dict[str, Any], new: dict[str, Any], subresource: str = ""
) -> set[tuple[str, str]]:
    before, after = prepared(api_version, kind, old), prepared(api_version, kind, new)
    causes = validation.validate_update(served(api_version, kind), after, before, subresource)
    return {(one.reason.removeprefix("FieldValue"), one.field) for one in causes}


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [APP], **spec}}


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[{**APP, **fields}])


C0 = "spec.containers[0]"


def test_a_plain_pod_is_valid() -> None:
    assert created("v1", "Pod", pod()) == set()


@pytest.mark.parametrize(
    ("kind", "metadata", "wanted"),
    [
        ("ConfigMap", {"name": "Upper_Case"}, {("Invalid", "metadata.name")}),
        ("ConfigMap", {"name": "with.dot"}, set()),
        ("ConfigMap", {"name": "a" * 254}, {("Invalid", "metadata.name")}),
        ("ConfigMap", {"name": ""}, {("Required", "metadata.name")}),
        ("ConfigMap", {"name": "", "generateName": "x-"}, set()),
        ("ConfigMap", {"name": "", "generateName": "X-"}, {("Invalid", "metadata.generateName")}),
        ("ConfigMap", {"namespace": ""}, {("Required", "metadata.namespace")}),
        ("Namespace", {"name": "with.dot"}, {("Invalid", "metadata.name")}),
        ("ConfigMap", {"labels": {"bad key": "v"}}, {("Invalid", "metadata.labels")}),
        ("ConfigMap", {"labels": {"k": "bad value!"}}, {("Invalid", "metadata.labels")}),
        ("ConfigMap", {"labels": {"k": "v" * 64}}, {("Invalid", "metadata.labels")}),
        ("ConfigMap", {"labels": {"a.b/C_d-1": "", "e": "F_1.x"}}, set()),
        ("ConfigMap", {"annotations": {"UP.er/case": "any\n"}}, set()),
        ("ConfigMap", {"annotations": {"bad key": ""}}, {("Invalid", "metadata.annotations")}),
        ("ConfigMap", {"annotations": {"big": "x" * 262145}}, {("TooLong", "metadata.annotations")}),
        ("ConfigMap", {"finalizers": ["example.com/f", "kubernetes"]}, set()),
        ("ConfigMap", {"finalizers": ["unqualified"]}, {("Invalid", "metadata.finalizers")}),
        (
            "ConfigMap",
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
            {("Invalid", "metadata.ownerReferences.uid")},
        ),
    ],
)
def test_metadata(kind: str, metadata: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    assert created("v1", kind, {"metadata": metadata}) == wanted


@pytest.mark.parametrize(
    ("obj", "wanted"),
    [
        ({"spec": {}}, {("Required", "spec.containers")}),
        (container(image=""), {("Required", f"{C0}.image")}),
        (container(image=" x "), {("Invalid", f"{C0}.image")}),
        (container(name=""), {("Required", f"{C0}.name")}),
        (container(name="A_b"), {("Invalid", f"{C0}.name")}),
        (pod(containers=[APP, APP]), {("Duplicate", "spec.containers[1].name")}),
        (pod(initContainers=[APP]), {("Duplicate", "spec.initContainers[0].name")}),
        (container(imagePullPolicy="Sometimes"), {("NotSupported", f"{C0}.imagePullPolicy")}),
        (container(terminationMessagePolicy="X"), {("NotSupported", f"{C0}.terminationMessagePolicy")}),
        (
            container(
                env=[
                    {"name": ""},
                    {"name": "a=b"},
                    {"name": "ok", "value": "v", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}},
                ]
            ),
            {
                ("Required", f"{C0}.env[0].name"),
                ("Invalid", f"{C0}.env[1].name"),
                ("Invalid", f"{C0}.env[2].valueFrom"),
                ("Invalid", f"{C0}.env[2].valueFrom.fieldRef.fieldPath"),
            },
        ),
        (container(env=[{"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]), set()),
        (
            container(envFrom=[{"prefix": "a=", "configMapRef": {"name": "x"}}, {}]),
            {("Invalid", f"{C0}.envFrom"), ("Invalid", f"{C0}.envFrom[0].prefix")},
        ),
        (container(lifecycle={"preStop": {}}), {("Required", f"{C0}.lifecycle.preStop")}),
        (
            container(securityContext={"privileged": True, "allowPrivilegeEscalation": False}),
            {("Invalid", f"{C0}.securityContext")},
        ),
        (container(securityContext={"runAsUser": -1}), {("Invalid", f"{C0}.securityContext.runAsUser")}),
        (
            container(ports=[{"containerPort": 0}, {"containerPort": 70000}, {"containerPort": 80, "hostPort": -1}]),
            {
                ("Required", f"{C0}.ports[0].containerPort"),
                ("Invalid", f"{C0}.ports[1].containerPort"),
                ("Invalid", f"{C0}.ports[2].hostPort"),
            },
        ),
        (container(ports=[{"containerPort": 80, "name": "9"}]), {("Invalid", f"{C0}.ports[0].name")}),
        (
            container(ports=[{"containerPort": 80, "name": "d"}, {"containerPort": 81, "name": "d"}]),
            {("Duplicate", f"{C0}.ports[1].name")},
        ),
        (container(ports=[{"containerPort": 80, "protocol": "ICMP"}]), {("NotSupported", f"{C0}.ports[0].protocol")}),
        (
            pod(
                hostUsers=False,
                hostNetwork=True,
                hostPID=True,
                hostIPC=True,
                containers=[{**APP, "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}],
                volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "v"}}],
            ),
            {
                ("Forbidden", "spec.hostNetwork"),
                ("Forbidden", "spec.hostPID"),
                ("Forbidden", "spec.hostIPC"),
                ("Forbidden", f"{C0}.volumeDevices"),
            },
        ),
        (
            pod(hostNetwork=True, containers=[{**APP, "ports": [{"containerPort": 80, "hostPort": 81}]}]),
            {("Invalid", f"{C0}.ports[0].hostPort")},
        ),
        (
            container(livenessProbe={"periodSeconds": -1, "httpGet": {"port": 99999}}),
            {("Invalid", f"{C0}.livenessProbe.httpGet.port"), ("Invalid", f"{C0}.livenessProbe.periodSeconds")},
        ),
        (
            container(livenessProbe={"successThreshold": 2, "exec": {"command": ["x"]}}),
            {("Invalid", f"{C0}.livenessProbe.successThreshold")},
        ),
        (container(readinessProbe={}), {("Required", f"{C0}.readinessProbe")}),
        (
            container(readinessProbe={"tcpSocket": {"port": 1}, "exec": {"command": []}}),
            {("Required", f"{C0}.readinessProbe.exec.command"), ("Forbidden", f"{C0}.readinessProbe.tcpSocket")},
        ),
        (container(resources={"requests": {"cpu": "-1"}}), {("Invalid", f"{C0}.resources.requests[cpu]")}),
        (
            container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            {("Invalid", f"{C0}.resources.requests")},
        ),
        (container(resources={"requests": {"example.com/gpu": "1"}}), {("Required", f"{C0}.resources.limits")}),
        (
            container(resources={"limits": {"unknown": "1"}}),
            {("Invalid", f"{C0}.resources.limits[unknown]"), ("Invalid", f"{C0}.resources.requests[unknown]")},
        ),
        (container(volumeMounts=[{"name": "v", "mountPath": "/m"}]), {("NotFound", f"{C0}.volumeMounts[0].name")}),
        (
            {
                "spec": {
                    "containers": [
                        {
                            **APP,
                            "volumeMounts": [
                                {"name": "v", "mountPath": "/m"},
                                {"name": "v", "mountPath": "/m", "subPath": "../x"},
                            ],
                        }
                    ],
                    "volumes": [{"name": "v"}],
                }
            },
            {("Invalid", f"{C0}.volumeMounts[1].mountPath"), ("Invalid", f"{C0}.volumeMounts[1].subPath")},
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/h"}}]),
            {("Forbidden", "spec.volumes[0].hostPath")},
        ),
        (pod(volumes=[{"name": "v"}, {"name": "v"}]), {("Duplicate", "spec.volumes[1].name")}),
        (
            pod(volumes=[{"name": "v", "configMap": {"items": [{"key": "k", "path": "/abs"}]}}]),
            {("Required", "spec.volumes[0].configMap.name"), ("Invalid", "spec.volumes[0].configMap.items[0].path")},
        ),
        (pod(restartPolicy="Perhaps"), {("NotSupported", "spec.restartPolicy")}),
        (pod(dnsPolicy="None"), {("Required", "spec.dnsConfig.nameservers")}),
        (pod(nodeSelector={"bad key": "v"}), {("Invalid", "spec.nodeSelector")}),
        (pod(activeDeadlineSeconds=0), {("Invalid", "spec.activeDeadlineSeconds")}),
        (pod(tolerations=[{"operator": "Equal"}]), {("Invalid", "spec.tolerations[0].operator")}),
        (
            pod(tolerations=[{"operator": "Exists", "effect": "Sometimes"}]),
            {("NotSupported", "spec.tolerations[0].effect")},
        ),
        (
            pod(
                topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
            ),
            {("Invalid", "spec.topologySpreadConstraints[0].maxSkew")},
        ),
        (pod(schedulingGates=[{"name": "x/y"}], nodeName="node"), {("Forbidden", "spec.nodeName")}),
        (
            pod(
                affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
            ),
            {
                (
                    "Required",
                    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
                )
            },
        ),
    ],
)
def test_pods(obj: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    assert created("v1", "Pod", obj) == wanted


def test_two_containers_cannot_have_the_same_host_port() -> None:
    port = {"ports": [{"containerPort": 80, "hostPort": 8000}]}
    obj = pod(containers=[{**APP, **port}, {**APP, "name": "b", **port}])
    assert created("v1", "Pod", obj) == {("Duplicate", "spec.containers[1].ports[0].hostPort")}


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({}, {"containers": [{**APP, "image": "new:1"}]}, set()),
        ({}, {"containers": [{**APP, "image": ""}]}, {("Required", f"{C0}.image")}),
        ({}, {"containers": [APP, {**APP, "name": "b"}]}, {("Forbidden", "spec.containers")}),
        ({}, {"containers": [{**APP, "env": [{"name": "A"}]}]}, {("Forbidden", "spec")}),
        ({}, {"nodeName": "x"}, {("Forbidden", "spec")}),
        ({}, {"activeDeadlineSeconds": 9}, set()),
        ({"activeDeadlineSeconds": 9}, {"activeDeadlineSeconds": 5}, set()),
        ({"activeDeadlineSeconds": 9}, {"activeDeadlineSeconds": 10}, {("Invalid", "spec.activeDeadlineSeconds")}),
        ({"activeDeadlineSeconds": 9}, {}, {("Invalid", "spec.activeDeadlineSeconds")}),
        ({}, {"tolerations": [{"key": "a", "operator": "Exists"}]}, set()),
        ({"tolerations": [{"key": "a", "operator": "Exists"}]}, {}, {("Forbidden", "spec.tolerations")}),
        ({"schedulingGates": [{"name": "x/y"}]}, {}, set()),
        (
            {"schedulingGates": [{"name": "x/y"}]},
            {"schedulingGates": [{"name": "x/y"}], "nodeSelector": {"a": "b"}},
            set(),
        ),
        ({}, {"schedulingGates": [{"name": "x/y"}]}, {("Forbidden", "spec.schedulingGates")}),
    ],
)
def test_what_may_change_in_a_pod(old: dict[str, Any], new: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    assert updated("v1", "Pod", pod(**old), pod(**new)) == wanted


def test_ephemeral_containers_are_only_added() -> None:
    debug = {"name": "dbg", "image": "tools", "targetContainerName": "app"}
    at = "spec.ephemeralContainers"

    def through(old: list[Any], new: list[Any]) -> set[tuple[str, str]]:
        return updated("v1", "Pod", pod(ephemeralContainers=old), pod(ephemeralContainers=new), "ephemeralcontainers")

    assert through([], [debug]) == set()
    assert through([debug], []) == {("Forbidden", at)}
    assert through([debug], [{**debug, "image": "other"}]) == {("Forbidden", at)}
    assert through([], [{**debug, "name": "app"}]) == {("Duplicate", f"{at}[0].name")}
    assert through([], [{**debug, "ports": [{"containerPort": 1}]}]) == {("Forbidden", f"{at}[0].ports")}
    assert through([], [{**debug, "targetContainerName": "x"}]) == {("NotFound", f"{at}[0].targetContainerName")}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"ports": [{"port": 80}]}, set()),
        ({}, {("Required", "spec.ports")}),
        ({"clusterIP": "None"}, set()),
        (
            {"ports": [{"port": 80}, {"port": 81}]},
            {("Required", "spec.ports[0].name"), ("Required", "spec.ports[1].name")},
        ),
        ({"ports": [{"port": 65536}]}, {("Invalid", "spec.ports[0].port"), ("Invalid", "spec.ports[0].targetPort")}),
        ({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]}, {("Duplicate", "spec.ports[1].name")}),
        ({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}, {("Duplicate", "spec.ports[1]")}),
        ({"ports": [{"port": 80, "nodePort": 30001}]}, {("Forbidden", "spec.ports[0].nodePort")}),
        ({"ports": [{"port": 80}], "type": "Odd"}, {("NotSupported", "spec.type")}),
        ({"ports": [{"port": 80}], "sessionAffinity": "Cookie"}, {("NotSupported", "spec.sessionAffinity")}),
        ({"ports": [{"port": 80}], "clusterIP": "300.0.0.1"}, {("Invalid", "spec.clusterIPs[0]")}),
        ({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}, {("Invalid", "spec.externalTrafficPolicy")}),
        ({"type": "ExternalName"}, {("Required", "spec.externalName")}),
        ({"type": "ExternalName", "externalName": "db.example.com"}, set()),
        ({"ports": [{"port": 80}], "selector": {"bad key": "x"}}, {("Invalid", "spec.selector")}),
    ],
)
def test_services(spec: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    assert created("v1", "Service", {"spec": spec}) == wanted


def test_an_allocated_address_stays() -> None:
    ports = [{"port": 80}]
    old, new = ({"spec": {"ports": ports, "clusterIP": ip, "clusterIPs": [ip]}} for ip in ("10.96.0.7", "10.96.0.8"))
    assert updated("v1", "Service", old, new) == {("Invalid", "spec.clusterIPs[0]")}


def test_a_health_check_port_stays() -> None:
    spec = {"ports": [{"port": 80}], "type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    old, new = ({"spec": {**spec, "healthCheckNodePort": port}} for port in (30000, 30001))
    assert updated("v1", "Service", old, new) == {("Invalid", "spec.healthCheckNodePort")}
    assert updated("v1", "Service", old, {"spec": {**spec, "externalTrafficPolicy": "Cluster"}}) == set()


@pytest.mark.parametrize(
    ("kind", "spec", "wanted"),
    [
        ("Deployment", {"selector": {"matchLabels": LABELS}}, set()),
        ("Deployment", {}, {("Required", "spec.selector"), ("Invalid", "spec.template.metadata.labels")}),
        ("Deployment", {"selector": {}}, {("Invalid", "spec.selector")}),
        ("Deployment", {"selector": {"matchLabels": {"a": "c"}}}, {("Invalid", "spec.template.metadata.labels")}),
        (
            "Deployment",
            {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "c", "operator": "Like"}]}},
            {
                ("Invalid", "spec.selector"),
                ("Required", "spec.selector.matchExpressions[0].values"),
                ("Invalid", "spec.selector.matchExpressions[1].operator"),
            },
        ),
        (
            "Deployment",
            {"selector": {"matchLabels": LABELS}, "strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
            {("Forbidden", "spec.strategy.rollingUpdate")},
        ),
        (
            "Deployment",
            {
                "selector": {"matchLabels": LABELS},
                "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}},
            },
            {("Invalid", "spec.strategy.rollingUpdate.maxUnavailable")},
        ),
        (
            "Deployment",
            {
                "selector": {"matchLabels": LABELS},
                "strategy": {"rollingUpdate": {"maxSurge": "ten", "maxUnavailable": "150%"}},
            },
            {
                ("Invalid", "spec.strategy.rollingUpdate.maxSurge"),
                ("Invalid", "spec.strategy.rollingUpdate.maxUnavailable"),
            },
        ),
        (
            "Deployment",
            {"selector": {"matchLabels": LABELS}, "minReadySeconds": 600, "revisionHistoryLimit": -1},
            {("Invalid", "spec.progressDeadlineSeconds"), ("Invalid", "spec.revisionHistoryLimit")},
        ),
        ("ReplicaSet", {"selector": {"matchLabels": LABELS}, "replicas": -1}, {("Invalid", "spec.replicas")}),
        (
            "DaemonSet",
            {"selector": {"matchLabels": LABELS}, "updateStrategy": {"type": "Odd"}},
            {("NotSupported", "spec.updateStrategy")},
        ),
        (
            "ReplicaSet",
            {
                "selector": {"matchLabels": LABELS},
                "template": {**TEMPLATE, "spec": {"containers": [APP], "restartPolicy": "Never"}},
            },
            {("NotSupported", "spec.template.spec.restartPolicy")},
        ),
    ],
)
def test_workloads(kind: str, spec: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    assert created("apps/v1", kind, {"spec": {"template": TEMPLATE, **spec}}) == wanted


def test_a_selector_cannot_change() -> None:
    old, new = (
        {"spec": {"selector": {"matchLabels": labels}, "template": {**TEMPLATE, "metadata": {"labels": labels}}}}
        for labels in (LABELS, {"c": "d"})
    )
    assert updated("apps/v1", "Deployment", old, new) == {("Invalid", "spec.selector")}


JOB_LABELS = {"batch.kubernetes.io/controller-uid": "u"}


def job(policy: str = "Never", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": JOB_LABELS}, "spec": {"containers": [APP], "restartPolicy": policy}}
    return {"metadata": {"uid": "u"}, "spec": {"selector": {"matchLabels": JOB_LABELS}, "template": template, **spec}}


@pytest.mark.parametrize(
    ("obj", "wanted"),
    [
        (job(), set()),
        (job("Always"), {("Required", "spec.template.spec.restartPolicy")}),
        (job(parallelism=-1, backoffLimit=-1), {("Invalid", "spec.parallelism"), ("Invalid", "spec.backoffLimit")}),
        (
            job(selector={"matchLabels": {"a": "b"}}),
            {("Invalid", "spec.selector"), ("Invalid", "spec.template.metadata.labels")},
        ),
        (job(completionMode="Indexed", parallelism=2), {("Required", "spec.completions")}),
        (
            job("OnFailure", podFailurePolicy={"rules": [{"action": "Explode"}]}),
            {
                ("Invalid", "spec.podFailurePolicy.rules[0]"),
                ("NotSupported", "spec.podFailurePolicy.rules[0].action"),
                ("Invalid", "spec.template.spec.restartPolicy"),
            },
        ),
        (
            job(completionMode="Indexed", completions=2, parallelism=200_000, maxFailedIndexes=3),
            {
                ("Invalid", "spec.parallelism"),
                ("Required", "spec.backoffLimitPerIndex"),
                ("Invalid", "spec.maxFailedIndexes"),
            },
        ),
        (job(successPolicy={"rules": [{"succeededCount": 1}]}), {("Invalid", "spec.successPolicy")}),
        (
            job(
                completionMode="Indexed",
                completions=2,
                successPolicy={"rules": [{"succeededIndexes": "0"}, {"succeededCount": 3}, {}]},
            ),
            {("Invalid", "spec.successPolicy.rules[1].succeededCount"), ("Required", "spec.successPolicy.rules[2]")},
        ),
        (
            job(
                completionMode="Indexed",
                completions=4,
                successPolicy={
                    "rules": [
                        {"succeededIndexes": "0,2-3", "succeededCount": 3},
                        {"succeededIndexes": "0,2-3", "succeededCount": 4},
                        {"succeededIndexes": "4"},
                        {"succeededIndexes": "2,1"},
                        {"succeededIndexes": "1-x"},
                        {"succeededIndexes": "1-2-3"},
                        {"succeededIndexes": "0-" + "9" * 5000},
                        {"succeededIndexes": "0" * 70_000},
                        {"succeededIndexes": "0" * 5_000, "succeededCount": 1},
                    ]
                },
            ),
            {
                ("Invalid", "spec.successPolicy.rules[1].succeededCount"),
                *(("Invalid", f"spec.successPolicy.rules[{number}].succeededIndexes") for number in range(2, 7)),
                ("TooLong", "spec.successPolicy.rules[7].succeededIndexes"),
            },
        ),
        (
            job(podFailurePolicy={"rules": [{"action": "FailIndex", "onPodConditions": [{"type": "Ready"}]}]}),
            {("Invalid", "spec.podFailurePolicy.rules[0].action")},
        ),
        (
            job(completionMode="Indexed", completions=100_001, parallelism=10_001, backoffLimitPerIndex=1),
            {("Required", "spec.maxFailedIndexes"), ("Invalid", "spec.parallelism")},
        ),
        (
            job(completionMode="Indexed", completions=100_001, backoffLimitPerIndex=1, maxFailedIndexes=10_001),
            {("Invalid", "spec.maxFailedIndexes")},
        ),
        (
            job(
                podReplacementPolicy="TerminatingOrFailed",
                podFailurePolicy={"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
            ),
            {("NotSupported", "spec.podReplacementPolicy")},
        ),
    ],
)
def test_jobs(obj: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    assert created("batch/v1", "Job", obj) == wanted


def test_labels_that_a_job_lacks_are_shown_as_none() -> None:
    obj = job(manualSelector=True)
    del obj["spec"]["template"]["metadata"]
    causes = validation.validate_create(served("batch/v1", "Job"), prepared("batch/v1", "Job", obj))
    assert [one.message for one in causes] == ["Invalid value: null: `selector` does not match template `labels`"]


def test_a_jobs_template_is_fixed_but_its_parallelism_is_not() -> None:
    assert updated("batch/v1", "Job", job(), job("OnFailure")) == {("Invalid", "spec.template")}
    assert updated("batch/v1", "Job", job(), job(completions=1, parallelism=4)) == set()
    assert updated("batch/v1", "Job", job(completions=2), job(completions=3)) == {("Invalid", "spec.completions")}


@pytest.mark.parametrize(
    ("kind", "obj", "wanted"),
    [
        ("ConfigMap", {"data": {"bad key": "x"}}, {("Invalid", "data[bad key]")}),
        ("ConfigMap", {"data": {"..": "x", "...": "y"}}, {("Invalid", "data[..]"), ("Invalid", "data[...]")}),
        ("ConfigMap", {"data": {"k": "x"}, "binaryData": {"k": "AAAA"}}, {("Invalid", "data[k]")}),
        ("ConfigMap", {"data": {"k": "y" * 1048577}}, {("TooLong", "[]")}),
        ("Secret", {"type": "kubernetes.io/tls"}, {("Required", "data[tls.crt]"), ("Required", "data[tls.key]")}),
        (
            "Secret",
            {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "no"}},
            {("Invalid", "data[.dockerconfigjson]")},
        ),
        (
            "Secret",
            {"type": "kubernetes.io/service-account-token"},
            {("Required", "metadata.annotations[kubernetes.io/service-account.name]")},
        ),
        ("Node", {"spec": {"taints": [{"key": "k"}]}}, {("Required", "spec.taints[0].effect")}),
        ("Event", {"involvedObject": {"namespace": "other"}}, {("Invalid", "involvedObject.namespace")}),
        (
            "Endpoints",
            {"subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80}]}]},
            {("Invalid", "subsets[0].addresses[0].ip")},
        ),
    ],
)
def test_configuration_and_cluster_kinds(kind: str, obj: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    assert created("v1", kind, obj) == wanted


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({"immutable": True, "data": {"a": "1"}}, {"immutable": True, "data": {"a": "2"}}, {("Forbidden", "data")}),
        ({"immutable": True}, {"immutable": False}, {("Forbidden", "immutable")}),
        ({"immutable": True}, {"immutable": True, "metadata": {"labels": {"ok": "yes"}}}, set()),
        ({"data": {"a": "1"}}, {"data": {"a": "2"}}, set()),
    ],
)
def test_frozen_configuration_stays(old: dict[str, Any], new: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    assert updated("v1", "ConfigMap", old, new) == wanted


def test_the_type_of_a_secret_and_a_uid_are_fixed() -> None:
    assert updated("v1", "Secret", {"type": "a/b"}, {"type": "c/d"}) == {("Invalid", "type")}
    uid = {("Invalid", "metadata.uid")}
    assert updated("v1", "Secret", {"metadata": {"uid": "1"}}, {"metadata": {"uid": "2"}}) == uid


def test_no_finalizer_is_added_to_a_deleted_object() -> None:
    deleted = {"deletionTimestamp": "2026-11-24T08:15:35Z", "finalizers": ["x/y"]}
    more = {**deleted, "finalizers": ["x/y", "x/z"]}
    assert updated("v1", "ConfigMap", {"metadata": deleted}, {"metadata": more}) == {
        ("Forbidden", "metadata.finalizers")
    }
    assert updated("v1", "ConfigMap", {"metadata": more}, {"metadata": deleted}) == set()


def test_endpoint_slices() -> None:
    slice_ = {"addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}, {"addresses": []}], "ports": [{}, {}]}
    assert created("discovery.k8s.io/v1", "EndpointSlice", slice_) == {
        ("Invalid", "endpoints[0].addresses[0]"),
        ("Required", "endpoints[1].addresses"),
        ("Duplicate", "ports[1].name"),
    }


def test_causes_are_worded_as_kubernetes_words_them() -> None:
    causes = validation.validate_create(
        served("v1", "Pod"), prepared("v1", "Pod", container(imagePullPolicy="Sometimes"))
    )
    assert causes[0]._asdict() == {
        "reason": "FieldValueNotSupported",
        "message": 'Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"',
        "field": "spec.containers[0].imagePullPolicy",
    }


@pytest.mark.parametrize(
    ("api_version", "kind", "obj", "fields"),
    [
        (
            "v1",
            "Pod",
            container(readinessProbe={"tcpSocket": {"port": 1}, "exec": {"command": []}}),
            ["readinessProbe.exec.command", "readinessProbe.tcpSocket"],
        ),
        (
            "v1",
            "Pod",
            container(env=[{"name": "e", "value": "v", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}}]),
            ["env[0].valueFrom.fieldRef.fieldPath", "env[0].valueFrom"],
        ),
        (
            "apps/v1",
            "Deployment",
            {
                "spec": {
                    "selector": {"matchLabels": LABELS},
                    "template": TEMPLATE,
                    "strategy": {"rollingUpdate": {"maxSurge": "ten", "maxUnavailable": "150%"}},
                }
            },
            ["rollingUpdate.maxSurge", "rollingUpdate.maxUnavailable"],
        ),
    ],
)
def test_several_causes_are_in_the_order_of_kubernetes(
    api_version: str, kind: str, obj: dict[str, Any], fields: list[str]
) -> None:
    causes = validation.validate_create(served(api_version, kind), prepared(api_version, kind, obj))
    assert [one.field.removeprefix("spec.containers[0].").removeprefix("spec.strategy.") for one in causes] == fields


def test_a_secret_of_registry_credentials_that_is_no_json_is_told_so_as_kubernetes_does() -> None:
    secret = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "bm90IGpzb24="}}
    causes = validation.validate_create(served("v1", "Secret"), prepared("v1", "Secret", secret))
    assert [one.message for one in causes] == [
        "Invalid value: \"<secret contents redacted>\": invalid character 'o' in literal null (expecting 'u')"
    ]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([one for one in registry.all_resources() if len(one.verbs) > 1]).flatmap(
        lambda one: st.tuples(st.just(one), objects(one.schema, depth=5), objects(one.schema, depth=5))
    )
)
def test_any_object_is_judged_without_an_accident(drawn: tuple[Resource, dict[str, Any], dict[str, Any]]) -> None:
    resource, old, new = drawn
    for obj in (old, new):
        decoding.conform(resource.schema, obj)
        defaults.apply_defaults(resource, obj)
        validation.validate_create(resource, obj)
    for subresource in ("", "status", *(["ephemeralcontainers"] if resource.kind == "Pod" else [])):
        validation.validate_update(resource, new, old, subresource)
    assert schema.kind(resource.api_version, resource.kind) is resource.schema


def _resized(**changes: str) -> dict[str, Any]:
    amounts = {"cpu": "1", "memory": "1Gi"}
    return pod(
        containers=[{**APP, "resources": {"limits": {**amounts, **changes}, "requests": {**amounts, **changes}}}]
    )


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (_resized(cpu="2", memory="2Gi"), set()),
        (_resized(**{"ephemeral-storage": "1Gi"}), {("Forbidden", f"{C0}.resources")}),
        (
            pod(containers=[{**APP, "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]),
            {("Invalid", "spec"), ("Forbidden", f"{C0}.resources.limits")},
        ),
    ],
)
def test_a_resize_changes_cpu_and_memory_within_the_qos_class(
    changed: dict[str, Any], found: set[tuple[str, str]]
) -> None:
    assert updated("v1", "Pod", _resized(), changed, "resize") == found


IN_42 = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
RULE = "spec.containers[0].restartPolicyRules[0]"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"restartPolicy": "Never", "restartPolicyRules": [IN_42]}, set()),
        ({"restartPolicyRules": [IN_42]}, {("Required", "spec.containers[0].restartPolicy")}),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{**IN_42, "action": "Explode"}]},
            {("NotSupported", f"{RULE}.action")},
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]},
            {("Required", f"{RULE}.exitCodes")},
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{**IN_42, "exitCodes": {"operator": "Near"}}]},
            {("NotSupported", f"{RULE}.exitCodes.operator"), ("Invalid", f"{RULE}.exitCodes.values")},
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [IN_42] * 21},
            {("TooMany", "spec.containers[0].restartPolicyRules")},
        ),
    ],
)
def test_restart_rules_are_checked(changes: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    assert created("v1", "Pod", {"spec": {"containers": [{**APP, **changes}]}}) == expected


def test_a_variable_from_a_file_names_volume_path_and_key() -> None:
    def from_file(**reference: str) -> dict[str, Any]:
        env = [{"name": "A", "valueFrom": {"fileKeyRef": reference}}]
        return {"spec": {"containers": [{**APP, "env": env}]}}

    at = "spec.containers[0].env[0].valueFrom.fileKeyRef"
    assert created("v1", "Pod", from_file(volumeName="v", path="a/b", key="K")) == set()
    assert created("v1", "Pod", from_file(volumeName="v", path="../b")) == {
        ("Required", f"{at}.key"),
        ("Invalid", f"{at}.path"),
    }


@pytest.mark.parametrize(
    ("scope", "hard", "fits"),
    [
        ("BestEffort", "pods", True),
        ("BestEffort", "requests.cpu", False),
        ("NotTerminating", "requests.cpu", True),
        ("Terminating", "services", False),
        ("PriorityClass", "ephemeral-storage", False),
        ("VolumeAttributesClass", "persistentvolumeclaims", True),
        ("NotBestEffort", "count/deployments.apps", True),
    ],
)
def test_a_scope_takes_the_resources_that_can_be_counted_in_it(scope: str, hard: str, fits: bool) -> None:
    plain = {"spec": {"hard": {hard: "1"}, "scopes": [scope]}}
    assert created("v1", "ResourceQuota", plain) == (set() if fits else {("Invalid", "spec.scopes")})
    selector = {"matchExpressions": [{"scopeName": scope, "operator": "Exists"}]}
    selecting = {"spec": {"hard": {hard: "1"}, "scopeSelector": selector}}
    assert created("v1", "ResourceQuota", selecting) == (set() if fits else {("Invalid", "spec.scopeSelector")})


@pytest.mark.parametrize(
    ("kind", "status", "fields"),
    [
        ("Deployment", {"replicas": 2, "readyReplicas": 2, "availableReplicas": 1, "updatedReplicas": 2}, set()),
        ("Deployment", {"replicas": 1, "unavailableReplicas": -1}, {"unavailableReplicas"}),
        ("Deployment", {"replicas": 1, "updatedReplicas": 2}, {"updatedReplicas"}),
        ("Deployment", {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2}, {"availableReplicas"}),
        ("ReplicaSet", {"replicas": 1, "fullyLabeledReplicas": 2}, {"fullyLabeledReplicas"}),
        ("StatefulSet", {"replicas": 1, "currentReplicas": 2}, {"currentReplicas"}),
        ("DaemonSet", {"numberReady": -1}, {"numberReady"}),
    ],
)
def test_the_counts_of_a_status_must_agree(kind: str, status: dict[str, Any], fields: set[str]) -> None:
    causes = updated("apps/v1", kind, {}, {"status": status}, "status")
    assert causes == {("Invalid", f"status.{one}") for one in fields}


@pytest.mark.parametrize(
    ("field", "value", "at"),
    [
        ("trafficDistribution", "Near", "spec.trafficDistribution"),
        ("ipFamilies", ["IPv5"], "spec.ipFamilies[0]"),
        ("ipFamilyPolicy", "Both", "spec.ipFamilyPolicy"),
    ],
)
def test_a_service_takes_known_families_and_distributions(field: str, value: Any, at: str) -> None:
    made = created("v1", "Service", {"spec": {"ports": [{"port": 80}], field: value}})
    assert made == {("NotSupported", at)}


def test_a_certificate_request_must_be_one() -> None:
    pem = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
    spec = {"signerName": "example.com/x", "usages": ["client auth"]}
    for text in (pem, "nonsense"):
        encoded = base64.b64encode(text.encode()).decode()
        made = created("certificates.k8s.io/v1", "CertificateSigningRequest", {"spec": {**spec, "request": encoded}})
        assert made == {("Invalid", "spec.request")}


def test_the_range_of_a_node_is_one() -> None:
    assert created("v1", "Node", {"spec": {"podCIDR": "bad"}}) == {("Invalid", "spec.podCIDRs[0]")}
