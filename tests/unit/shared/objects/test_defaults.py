from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.objects import decoding, defaults, meta, registry, schema
from tests.unit.shared.objects.schema_objects import objects

CONTAINER = {
    "imagePullPolicy": "IfNotPresent",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
POD_SPEC = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "terminationGracePeriodSeconds": 30,
}


def defaulted(api_version: str, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    resource = registry.by_kind(api_version, kind)
    assert resource is not None
    decoding.prune(resource, obj)
    defaults.apply_defaults(resource, obj)
    return obj


def pod(**spec: Any) -> dict[str, Any]:
    made: dict[str, Any] = defaulted("v1", "Pod", {"metadata": {"name": "p"}, "spec": {"containers": [], **spec}})[
        "spec"
    ]
    return made


def test_a_minimal_pod_gets_its_defaults() -> None:
    spec = pod(containers=[{"name": "a", "image": "x:1"}])
    assert spec == {"containers": [{"name": "a", "image": "x:1", **CONTAINER}], "enableServiceLinks": True, **POD_SPEC}


def test_a_deployment_gets_its_defaults_but_not_those_of_a_bare_pod() -> None:
    template = {"spec": {"containers": [{"name": "a", "image": "x:1"}]}}
    made = defaulted("apps/v1", "Deployment", {"spec": {"template": template}})["spec"]
    assert made == {
        "progressDeadlineSeconds": 600,
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": {"metadata": {}, "spec": {"containers": [{"name": "a", "image": "x:1", **CONTAINER}], **POD_SPEC}},
    }


def test_recreate_gets_no_rolling_update() -> None:
    made = defaulted("apps/v1", "Deployment", {"spec": {"strategy": {"type": "Recreate"}}})
    assert made["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("app:1.0", "IfNotPresent"),
        ("host:5000/app", "Always"),
        ("host:5000/app:1", "IfNotPresent"),
        ("app@sha256:abab", "IfNotPresent"),
        ("app:latest@sha256:abab", "Always"),
        ("", "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert defaults.pull_policy(image) == policy


def test_limits_become_requests_where_none_are_given() -> None:
    limits, requests = {"cpu": "2", "memory": "1Gi"}, {"memory": "512Mi"}
    spec = pod(containers=[{"name": "a", "resources": {"limits": limits, "requests": requests}}])
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "2", "memory": "512Mi"}


def test_a_pods_own_requests_come_from_its_containers_else_from_its_limits() -> None:
    container = {"name": "a", "resources": {"requests": {"cpu": "250m"}}}
    spec = pod(containers=[container, {**container, "name": "b"}], resources={"limits": {"cpu": "1", "memory": "1Gi"}})
    assert spec["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}


def test_host_network_pods_use_their_ports_on_the_host() -> None:
    spec = pod(hostNetwork=True, containers=[{"name": "a", "ports": [{"containerPort": 80}]}])
    assert spec["containers"][0]["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]


def test_probes_and_volumes_get_their_defaults() -> None:
    spec = pod(
        containers=[{"name": "a", "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 3}}],
        volumes=[{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}, {"name": "h", "hostPath": {"path": "/tmp"}}],
    )
    assert spec["containers"][0]["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "failureThreshold": 3,
        "periodSeconds": 3,
        "successThreshold": 1,
        "timeoutSeconds": 1,
    }
    assert spec["volumes"] == [
        {"name": "v", "emptyDir": {}},
        {"name": "c", "configMap": {"name": "c", "defaultMode": 420}},
        {"name": "h", "hostPath": {"path": "/tmp", "type": ""}},
    ]


def test_a_service_account_is_written_under_both_names() -> None:
    assert pod(serviceAccount="sa")["serviceAccountName"] == "sa"
    assert pod(serviceAccountName="sa")["serviceAccount"] == "sa"


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, {"internalTrafficPolicy": "Cluster", "sessionAffinity": "None", "type": "ClusterIP"}),
        ({"type": "ExternalName"}, {"sessionAffinity": "None", "type": "ExternalName"}),
        (
            {"type": "LoadBalancer"},
            {
                "allocateLoadBalancerNodePorts": True,
                "externalTrafficPolicy": "Cluster",
                "internalTrafficPolicy": "Cluster",
                "sessionAffinity": "None",
                "type": "LoadBalancer",
            },
        ),
        (
            {"sessionAffinity": "ClientIP"},
            {
                "internalTrafficPolicy": "Cluster",
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                "type": "ClusterIP",
            },
        ),
    ],
)
def test_services_get_defaults_by_type(spec: dict[str, Any], wanted: dict[str, Any]) -> None:
    ports = [{"port": 80, "targetPort": 80, "protocol": "TCP"}]
    assert defaulted("v1", "Service", {"spec": {**spec, "ports": [{"port": 80}]}})["spec"] == {**wanted, "ports": ports}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, {"completions": 1, "parallelism": 1, "backoffLimit": 6}),
        ({"completions": 4}, {"completions": 4, "parallelism": 1, "backoffLimit": 6}),
        ({"parallelism": 3}, {"parallelism": 3, "backoffLimit": 6}),
        ({"backoffLimitPerIndex": 1}, {"completions": 1, "parallelism": 1, "backoffLimit": 2147483647}),
    ],
)
def test_jobs_run_once_unless_told_otherwise(spec: dict[str, Any], wanted: dict[str, Any]) -> None:
    made = defaulted("batch/v1", "Job", {"spec": spec})["spec"]
    assert {key: made.get(key) for key in ("completions", "parallelism", "backoffLimit") if key in made} == wanted
    assert (made["completionMode"], made["suspend"], made["manualSelector"]) == ("NonIndexed", False, False)


def test_text_of_a_secret_becomes_data() -> None:
    made = defaulted("v1", "Secret", {"data": {"a": "eA=="}, "stringData": {"a": "wins", "b": "plain"}})
    assert made["data"] == {"a": "d2lucw==", "b": "cGxhaW4="}
    assert made["type"] == "Opaque"
    assert "stringData" not in made


def test_a_namespace_carries_its_name_as_a_label() -> None:
    made = defaulted("v1", "Namespace", {"metadata": {"name": "n"}})
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
    assert made["status"] == {"phase": "Active"}


def test_a_replication_controller_takes_selector_and_labels_from_its_template() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    made = defaulted("v1", "ReplicationController", {"metadata": {}, "spec": {"template": template}})
    assert (made["metadata"]["labels"], made["spec"]["selector"], made["spec"]["replicas"]) == (
        {"a": "b"},
        {"a": "b"},
        1,
    )


def test_the_claims_of_a_stateful_set_are_complete_objects() -> None:
    made = defaulted("apps/v1", "StatefulSet", {"spec": {"volumeClaimTemplates": [{"metadata": {"name": "d"}}]}})
    (claim,) = made["spec"]["volumeClaimTemplates"]
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert (claim["spec"]["volumeMode"], claim["status"]) == ("Filesystem", {"phase": "Pending"})
    assert made["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}


def test_an_autoscaler_aims_at_the_cpu_by_default() -> None:
    made = defaulted("autoscaling/v2", "HorizontalPodAutoscaler", {"spec": {"maxReplicas": 3}})
    assert made["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]
    assert "behavior" not in made["spec"]


def test_half_of_a_scaling_behavior_is_completed() -> None:
    down = {"stabilizationWindowSeconds": 10, "selectPolicy": "Min"}
    made = defaulted("autoscaling/v2", "HorizontalPodAutoscaler", {"spec": {"behavior": {"scaleDown": down}}})
    behavior = made["spec"]["behavior"]
    assert behavior["scaleDown"] == {**down, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0


def test_limits_default_to_the_maximum_and_requests_to_limits_or_the_minimum() -> None:
    container = {"type": "Container", "max": {"memory": "1Gi"}, "min": {"cpu": "1"}}
    claims = {"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}}
    made = defaulted("v1", "LimitRange", {"spec": {"limits": [container, claims]}})["spec"]["limits"]
    assert made[0]["default"] == {"memory": "1Gi"}
    assert made[0]["defaultRequest"] == {"cpu": "1", "memory": "1Gi"}
    assert made[1] == claims


def test_a_definition_gets_its_names_and_its_stored_version() -> None:
    versions = [{"name": "v2", "served": True, "storage": False}, {"name": "v1", "served": True, "storage": True}]
    spec = {"names": {"plural": "ads", "kind": "Ad"}, "versions": versions}
    made = defaulted("apiextensions.k8s.io/v1", "CustomResourceDefinition", {"spec": spec})
    assert made["spec"]["names"] == {"plural": "ads", "kind": "Ad", "singular": "ad", "listKind": "AdList"}
    assert made["spec"]["conversion"] == {"strategy": "None"}
    assert made["status"]["storedVersions"] == ["v1"]


def test_bindings_name_the_group_of_roles_users_and_groups() -> None:
    subjects = [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]
    binding = {"roleRef": {"kind": "Role", "name": "r", "apiGroup": ""}, "subjects": subjects}
    made = defaulted("rbac.authorization.k8s.io/v1", "RoleBinding", binding)
    group = "rbac.authorization.k8s.io"
    assert made["roleRef"]["apiGroup"] == group
    assert [one.get("apiGroup") for one in made["subjects"]] == [group, None]


def test_flow_control_has_its_queues() -> None:
    level = {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}
    limited = defaulted("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", level)["spec"]["limited"]
    assert limited["nominalConcurrencyShares"] == 30
    assert limited["limitResponse"]["queuing"] == {"queues": 64, "handSize": 8, "queueLengthLimit": 50}


@given(
    st.sampled_from([one.schema for one in registry.all_resources()]).flatmap(
        lambda kind: st.tuples(st.just(kind), objects(kind))
    )
)
def test_defaults_are_stable_and_conforming(drawn: tuple[schema.Struct, dict[str, Any]]) -> None:
    kind, obj = drawn
    decoding.conform(kind, obj)
    defaults.fill(kind, obj)
    once = meta.copy(obj)
    defaults.fill(kind, obj)
    decoding.conform(kind, obj)
    assert obj == once
