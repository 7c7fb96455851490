"""What a StatefulSet does next, decided from its pods alone."""

from __future__ import annotations

from typing import Any

import pytest

from services.controllers import history, instants
from services.controllers.statefulsets import identity, rollout, volumes
from services.controllers.statefulsets.rollout import Situation, Step
from services.controllers.statefulsets.status import status_of
from shared.objects import meta
from tests.unit.services.controllers.objects import statefulset

NOW = 1_800_000_000.0
Object = dict[str, Any]


def stored(**spec: Any) -> Object:
    found = statefulset(**spec)
    found["metadata"] |= {"uid": "set", "generation": 1}
    return found


def member(obj: Object, number: int, *, image: str = "db:1", up: bool = True, ready_for: float = 100) -> Object:
    template = stored(image=image)["spec"]["template"]
    revision = history.build(stored(image=image), 1)["metadata"]["name"]
    made = identity.build(obj, template, number, revision)
    made["metadata"] |= {"uid": f"uid-{number}", "creationTimestamp": instants.text(NOW - 1000)}
    condition = {"type": "Ready", "status": str(up), "lastTransitionTime": instants.text(NOW - ready_for)}
    made["status"] = {"phase": "Running", "conditions": [condition]}
    return made


def situation(obj: Object, *members: Object, update: str = "db:1", claims: tuple[Object, ...] = ()) -> Situation:
    numbered = {int(one["metadata"]["name"].rpartition("-")[2]): one for one in members}
    current, target = history.build(stored(), 1), history.build(stored(image=update), 2)
    present = {claim["metadata"]["name"]: claim for claim in claims}
    return Situation(obj, numbered, current, target, present, frozenset(), NOW)


def deleted(step: Step) -> list[str]:
    return [one["metadata"]["name"] for one in step.delete]


def created(step: Step) -> list[str]:
    return [one["metadata"]["name"] for one in step.create]


def test_the_next_pod_waits_until_the_one_before_was_ready_long_enough() -> None:
    obj = stored(minReadySeconds=30)
    early = situation(obj, member(obj, 0, ready_for=10))
    assert created(rollout.advance(early)) == []
    status, again_after = status_of(early)
    assert (status["readyReplicas"], status["availableReplicas"], again_after) == (1, 0, 20)
    assert created(rollout.advance(situation(obj, member(obj, 0, ready_for=30)))) == ["db-1"]


def test_scaling_down_waits_for_a_lower_pod_that_is_down() -> None:
    obj = stored(replicas=2)
    members = [member(obj, number, up=number != 1) for number in range(4)]
    assert deleted(rollout.advance(situation(obj, *members))) == []
    parallel = stored(replicas=2, podManagementPolicy="Parallel")
    assert deleted(rollout.advance(situation(parallel, *members))) == ["db-3", "db-2"]


def test_a_broken_surplus_pod_goes_when_it_is_the_first_that_is_down() -> None:
    obj = stored(replicas=1)
    assert deleted(rollout.advance(situation(obj, *(member(obj, n, up=n != 2) for n in range(3))))) == ["db-2"]
    assert deleted(rollout.advance(situation(obj, *(member(obj, n, up=n == 0) for n in range(3))))) == []


def test_pods_outside_moved_ordinals_go() -> None:
    obj = stored(replicas=2, ordinals={"start": 1})
    assert deleted(rollout.advance(situation(obj, *(member(obj, n) for n in range(3))))) == ["db-0"]


@pytest.mark.parametrize(
    ("value", "replicas", "expected"), [(2, 5, 2), ("50%", 5, 2), ("10%", 5, 1), (None, 5, 1), ("100%", 3, 3)]
)
def test_max_unavailable_is_rounded_down_to_at_least_one(value: int | str | None, replicas: int, expected: int) -> None:
    rolling = {"maxUnavailable": value} if value is not None else {}
    obj = stored(replicas=replicas, updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    assert rollout.max_unavailable(obj) == expected


def test_an_update_within_a_budget_counts_what_is_down_already() -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    obj = stored(replicas=4, updateStrategy=rolling, podManagementPolicy="Parallel")
    members = [member(obj, n) for n in range(3)]
    done = member(obj, 3, image="db:2", up=False)
    assert deleted(rollout.advance(situation(obj, *members, done, update="db:2"))) == ["db-2"]
    broken = member(obj, 3, up=False)
    assert deleted(rollout.advance(situation(obj, *members, broken, update="db:2"))) == ["db-3", "db-2"]


def test_an_outdated_pod_that_is_down_goes_before_those_that_work() -> None:
    obj = stored(podManagementPolicy="Parallel")
    members = [member(obj, n, up=n != 0) for n in range(3)]
    assert deleted(rollout.advance(situation(obj, *members, update="db:2"))) == ["db-0"]


def test_a_statefulset_that_goes_away_does_nothing() -> None:
    obj = stored()
    obj["metadata"]["deletionTimestamp"] = instants.text(NOW)
    assert rollout.advance(situation(obj, member(obj, 5))) == Step()


def test_a_pod_that_lost_its_labels_gets_them_back() -> None:
    obj = stored(replicas=1)
    bare = member(obj, 0)
    del bare["metadata"]["labels"][identity.INDEX_LABEL]
    (patch,) = rollout.advance(situation(obj, bare)).repairs
    assert patch.body["metadata"]["labels"][identity.INDEX_LABEL] == "0"


def test_claims_replace_volumes_of_the_same_name() -> None:
    obj = stored(claims=("data",))
    present = [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    assert volumes.mounted(obj, 2, present) == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-2"}},
        {"name": "tmp", "emptyDir": {}},
    ]


@pytest.mark.parametrize(
    ("scaled", "removed", "condemned", "heir"),
    [
        ("Retain", "Retain", False, None),
        ("Retain", "Delete", True, "set"),
        ("Delete", "Retain", False, None),
        ("Delete", "Retain", True, "uid-0"),
        ("Delete", "Delete", False, "set"),
        ("Delete", "Delete", True, "uid-0"),
    ],
)
def test_a_claim_belongs_to_whom_the_policy_says(scaled: str, removed: str, condemned: bool, heir: str | None) -> None:
    policy = {"whenScaled": scaled, "whenDeleted": removed}
    obj = stored(claims=("data",), persistentVolumeClaimRetentionPolicy=policy)
    claim = volumes.missing(stored(claims=("data",)), 0, {})[0]
    claim["metadata"]["uid"] = "claim"
    patch = volumes.handover(obj, member(obj, 0), claim, condemned=condemned)
    assert (patch and patch.body["metadata"]["ownerReferences"][0]["uid"]) == heir


def test_a_claim_that_others_manage_is_left_alone() -> None:
    policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
    obj = stored(claims=("data",), persistentVolumeClaimRetentionPolicy=policy)
    other = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x", "controller": True}
    claim = {"metadata": {"name": "data-db-0", "namespace": "shop", "uid": "claim", "ownerReferences": [other]}}
    assert volumes.handover(obj, member(obj, 0), claim, condemned=True) is None


def test_a_pod_is_not_made_while_its_claim_goes() -> None:
    obj = stored(claims=("data",), replicas=1)
    former = volumes.missing(obj, 0, {})[0]
    former["metadata"]["ownerReferences"] = [meta.owner_reference({**member(obj, 0)})]
    step = rollout.advance(situation(obj, claims=(former,)))
    assert (step.create, step.claims) == ([], [])


def test_names_tell_the_statefulset_and_the_ordinal() -> None:
    assert [identity.parent(name) for name in ("db-0", "my-db-12", "db", "db-01", "db-x")] == [
        "db",
        "my-db",
        "",
        "",
        "",
    ]
    assert volumes.owns_name(stored(claims=("data",)), "data-db-7")
    assert not volumes.owns_name(stored(claims=("data",)), "data-db-x")
