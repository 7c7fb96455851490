"""Steps of a Deployment and what its status says about them."""

from __future__ import annotations

from typing import Any

from services.controllers import instants
from services.controllers.actions import Create, Delete, Failure, Note, Patch, Update
from services.controllers.deployments import revisions, shares
from services.controllers.deployments.rollout import Situation, decide
from services.controllers.deployments.status import Rollout
from shared.objects import meta
from tests.unit.services.controllers.objects import deployment

NOW = 1_800_000_000.0
Object = dict[str, Any]


def stored(**spec: Any) -> Object:
    found = deployment(progressDeadlineSeconds=600, **spec)
    found["metadata"] |= {"uid": "d", "generation": 1, "resourceVersion": "5"}
    return found


def made(obj: Object, number: int, replicas: int, available: int = 0, image: str = "web:1") -> Object:
    source = meta.copy(obj)
    source["spec"]["template"]["spec"]["containers"][0]["image"] = image
    found = revisions.build(source, number, replicas)
    found["metadata"] |= {"uid": found["metadata"]["name"], "creationTimestamp": instants.text(NOW - 1000 + number)}
    found["status"] = {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
    return found


def plan(obj: Object, newest: Object | None, *old: Object, **more: Any) -> Any:
    runs = more.pop("old_pods_run", False)
    return decide(Situation(Rollout(obj, newest, list(old)), runs, more.pop("occupant", None), NOW, **more))


def status(found: Any) -> Object:
    (update,) = [action for action in found.actions if isinstance(action, Update) and action.subresource == "status"]
    return update.obj["status"]


def sizes(found: Any) -> dict[str, int]:
    return {
        action.ref.name: action.body["spec"]["replicas"]
        for action in found.actions
        if isinstance(action, Patch) and "replicas" in action.body.get("spec", {})
    }


def test_the_first_revision_is_created_at_full_size_and_announced() -> None:
    found = plan(stored(), None)
    create = found.actions[0]
    assert isinstance(create, Create)
    assert create.obj["spec"]["replicas"] == 3
    assert create.obj["metadata"]["annotations"] == {
        shares.REVISION: "1",
        shares.DESIRED: "3",
        shares.MAXIMUM: "4",
    }
    assert create.obj["spec"]["selector"]["matchLabels"][revisions.HASH_LABEL] in create.ref.name
    (note,) = [action for action in found.actions if isinstance(action, Note)]
    assert note.message == f"Scaled up replica set {create.ref.name} from 0 to 3"
    assert meta.condition({"status": status(found)}, "Progressing")["reason"] == "NewReplicaSetCreated"


def test_a_foreign_replicaset_of_that_name_raises_the_collision_count() -> None:
    first = plan(stored(), None).actions[0].ref.name
    found = plan(stored(), None, occupant={"metadata": {"name": first}})
    assert status(found)["collisionCount"] == 1
    obj = stored()
    obj["status"] = status(found)
    assert plan(obj, None).actions[0].ref.name != first


def test_a_refused_replicaset_shows_as_stopped_progress() -> None:
    found = plan(stored(), None, failure=Failure("FailedCreate", "quota"))
    condition = meta.condition({"status": status(found)}, "Progressing")
    assert (condition["status"], condition["reason"]) == ("False", "ReplicaSetCreateError")
    assert "quota" in condition["message"]


def test_an_update_starts_within_the_surge() -> None:
    obj = stored(replicas=4)
    old = made(obj, 1, 4, 4, image="web:0")
    found = plan(obj, None, old)
    assert found.actions[0].obj["spec"]["replicas"] == 1
    assert found.actions[0].obj["metadata"]["annotations"][shares.REVISION] == "2"


def test_the_deployment_gets_the_revision_of_its_newest_replicaset() -> None:
    obj = stored()
    found = plan(obj, made(obj, 7, 3, 3))
    (patch,) = [
        action for action in found.actions if isinstance(action, Patch) and action.ref.resource == "deployments"
    ]
    assert patch.body["metadata"]["annotations"] == {shares.REVISION: "7"}


def test_old_pods_wait_for_new_ones() -> None:
    obj = stored(replicas=4, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    newest, old = made(obj, 2, 1, 0), made(obj, 1, 4, 4, image="web:0")
    assert sizes(plan(obj, newest, old)) == {}
    ready = made(obj, 2, 1, 1)
    assert sizes(plan(obj, ready, old)) == {old["metadata"]["name"]: 3}


def test_recreate_empties_old_revisions_first() -> None:
    obj = stored(strategy={"type": "Recreate"})
    old = made(obj, 1, 3, 3, image="web:0")
    assert sizes(plan(obj, None, old)) == {old["metadata"]["name"]: 0}
    empty = made(obj, 1, 0, 0, image="web:0")
    assert not any(isinstance(action, Create) for action in plan(obj, None, empty, old_pods_run=True).actions)
    assert isinstance(plan(obj, None, empty).actions[0], Create)


def test_scaling_touches_the_size_note_of_the_replicaset() -> None:
    obj = stored(replicas=3)
    newest = made(obj, 1, 3, 3)
    obj["spec"]["replicas"] = 5
    found = plan(obj, newest)
    (patch,) = [action for action in found.actions if isinstance(action, Patch)]
    assert patch.body["spec"] == {"replicas": 5}
    assert patch.body["metadata"]["annotations"] == {shares.DESIRED: "5", shares.MAXIMUM: "7"}


def test_a_complete_rollout_says_so_and_forgets_old_history() -> None:
    obj = stored(revisionHistoryLimit=1)
    obj["metadata"]["annotations"] = {shares.REVISION: "4"}
    newest = made(obj, 4, 3, 3)
    old = [made(obj, number, 0, 0, image=f"web:old{number}") for number in (1, 2, 3)]
    found = plan(obj, newest, *old)
    assert [action.ref.name for action in found.actions if isinstance(action, Delete)] == [
        one["metadata"]["name"] for one in old[:2]
    ]
    condition = meta.condition({"status": status(found)}, "Progressing")
    name = newest["metadata"]["name"]
    assert condition["reason"] == "NewReplicaSetAvailable"
    assert condition["message"] == f'ReplicaSet "{name}" has successfully progressed.'


def progressing(age: float, reason: str = "ReplicaSetUpdated") -> Object:
    stamp = instants.text(NOW - age)
    return {
        "type": "Progressing",
        "status": "True",
        "reason": reason,
        "message": "",
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
    }


def waiting(age: float) -> tuple[Object, Object]:
    """A Deployment whose newest pods do not become available, last progress `age` seconds ago."""
    obj = stored()
    newest = made(obj, 1, 3, 0)
    obj["metadata"]["annotations"] = {shares.REVISION: "1"}
    obj["status"] = {"replicas": 3, "updatedReplicas": 3, "conditions": [progressing(age)]}
    return obj, newest


def test_no_progress_for_the_deadline_is_reported() -> None:
    condition = meta.condition({"status": status(plan(*waiting(601)))}, "Progressing")
    assert (condition["status"], condition["reason"]) == ("False", "ProgressDeadlineExceeded")


def test_it_looks_again_when_the_deadline_is_due() -> None:
    obj, newest = waiting(100)
    assert plan(obj, newest).again_after == 501


def test_each_pod_that_becomes_available_starts_the_deadline_anew() -> None:
    obj, newest = waiting(500)
    newest["status"] |= {"readyReplicas": 1, "availableReplicas": 1}
    condition = meta.condition({"status": status(plan(obj, newest))}, "Progressing")
    assert condition["lastUpdateTime"] == instants.text(NOW)
    assert condition["lastTransitionTime"] == instants.text(NOW - 500)


def test_a_pause_is_marked_and_stops_the_clock() -> None:
    obj, newest = waiting(5000)
    obj["spec"]["paused"] = True
    condition = meta.condition({"status": status(plan(obj, newest))}, "Progressing")
    assert (condition["status"], condition["reason"]) == ("Unknown", "DeploymentPaused")


def test_availability_counts_against_max_unavailable() -> None:
    obj = stored(replicas=4, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})
    for available, expected in ((3, "True"), (2, "False")):
        found = status(plan(obj, made(obj, 1, 4, available)))
        assert meta.condition({"status": found}, "Available")["status"] == expected


def test_a_replicaset_failure_shows_on_the_deployment() -> None:
    obj = stored()
    newest = made(obj, 1, 3, 0)
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    newest["status"]["conditions"] = [failure]
    condition = meta.condition({"status": status(plan(obj, newest))}, "ReplicaFailure")
    assert (condition["reason"], condition["message"]) == ("FailedCreate", "quota")


def test_a_deployment_that_goes_only_reports() -> None:
    obj = stored()
    obj["metadata"]["deletionTimestamp"] = instants.text(NOW)
    assert all(isinstance(action, Update) for action in plan(obj, None).actions)


def test_the_hash_label_does_not_make_a_template_different() -> None:
    obj = stored()
    assert revisions.current(obj, [made(obj, 1, 3)]) is not None
    assert revisions.current(obj, [made(obj, 1, 3, image="web:0")]) is None


def test_annotations_of_the_deployment_reach_the_replicaset() -> None:
    obj = stored()
    obj["metadata"]["annotations"] = {"kubernetes.io/change-cause": "new logo", shares.REVISION: "1"}
    newest = made(obj, 1, 3)
    assert newest["metadata"]["annotations"]["kubernetes.io/change-cause"] == "new logo"
