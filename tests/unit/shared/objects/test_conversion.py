from typing import Any

from hypothesis import given

from shared.objects import conversion, decoding, json, meta, schema
from tests.unit.shared.objects.schema_objects import objects

V2 = schema.struct("autoscaling/v2.HorizontalPodAutoscaler")
REFERENCE = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
QUEUE = {
    "type": "External",
    "external": {
        "metric": {"name": "queue", "selector": {"matchLabels": {"a": "b"}}},
        "target": {"type": "AverageValue", "averageValue": "30"},
    },
}
REQUESTS = {
    "type": "Object",
    "object": {
        "describedObject": {"kind": "Ingress", "name": "i"},
        "metric": {"name": "requests"},
        "target": {"type": "Value", "value": "2k"},
    },
}


def second(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "annotations": {"own": "kept"}},
        "spec": {"scaleTargetRef": REFERENCE, "maxReplicas": 5, **spec},
        "status": {"currentReplicas": 0, "desiredReplicas": 0},
    }


def test_the_share_of_cpu_becomes_a_metric_of_version_2() -> None:
    first = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}}
    made = conversion.autoscaler_v2(first)
    assert made["apiVersion"] == "autoscaling/v2"
    assert made["spec"] == {"maxReplicas": 3, "metrics": [CPU]}
    assert conversion.autoscaler_v1(made)["spec"] == first["spec"]


def test_version_1_carries_other_metrics_and_behavior_in_annotations() -> None:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 10}}
    made = conversion.autoscaler_v1(second(metrics=[QUEUE, CPU], behavior=behavior))
    assert made["spec"] == {"scaleTargetRef": REFERENCE, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}
    annotations = made["metadata"]["annotations"]
    assert annotations["own"] == "kept"
    assert json.decode(annotations[conversion.BEHAVIOR].encode(), "application/json").object == behavior
    flat = {"metricName": "queue", "metricSelector": {"matchLabels": {"a": "b"}}, "targetAverageValue": "30"}
    assert json.encode([{"type": "External", "external": flat}]).decode() == annotations[conversion.METRICS]


def test_nothing_is_lost_on_the_way_to_version_1_and_back() -> None:
    status = {
        "currentReplicas": 1,
        "desiredReplicas": 2,
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 9}}}],
        "conditions": [{"type": "AbleToScale", "status": "True"}],
    }
    whole = {**second(metrics=[QUEUE, REQUESTS, CPU], behavior={"scaleUp": {"selectPolicy": "Min"}}), "status": status}
    first = conversion.autoscaler_v1(whole)
    assert first["status"]["currentCPUUtilizationPercentage"] == 9
    assert conversion.autoscaler_v2(first) == whole


def test_inputs_are_left_alone() -> None:
    whole = second(metrics=[CPU, QUEUE])
    before = meta.copy(whole)
    first = conversion.autoscaler_v1(whole)
    kept = meta.copy(first)
    conversion.autoscaler_v2(first)
    assert (whole, first) == (before, kept)


def test_an_annotation_that_cannot_be_read_stays_what_it_is() -> None:
    first = {"metadata": {"name": "h", "annotations": {conversion.METRICS: "{"}}, "spec": {"maxReplicas": 1}}
    made = conversion.autoscaler_v2(first)
    assert made["metadata"]["annotations"] == {conversion.METRICS: "{"}
    assert "metrics" not in made["spec"]


@given(objects(V2, depth=5))
def test_any_autoscaler_has_a_first_version(obj: dict[str, Any]) -> None:
    decoding.conform(V2, obj)
    made = conversion.autoscaler_v1(obj)
    decoding.conform(schema.struct("autoscaling/v1.HorizontalPodAutoscaler"), meta.copy(made))
    conversion.autoscaler_v2(made)
