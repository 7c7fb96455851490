"""What kubectl shows of a pod."""

from services.nodeagent.pods.records import Failure
from services.nodeagent.pods.status import pod_status, status_patch
from tests.fakes.podlife import START, PodLife, container, pod


def test_a_pod_without_a_container_yet_is_pending():
    life = PodLife(pod(container("web")))
    life.held_jobs = {"volumes"}
    life.settle()
    status = life.status()
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert life.condition("PodReadyToStartContainers")["status"] == "False"
    assert life.condition("Ready")["message"] == "containers with unready status: [web]"


def test_a_running_pod_is_ready_and_has_its_addresses():
    life = PodLife(pod(container("web")))
    life.settle()
    status = life.status()
    assert status["phase"] == "Running"
    assert status["podIP"] == "10.244.0.5"
    assert status["podIPs"] == [{"ip": "10.244.0.5"}]
    assert status["hostIP"] == "10.0.0.1"
    assert status["qosClass"] == "BestEffort"
    assert status["observedGeneration"] == 1
    for kind in ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"):
        assert life.condition(kind)["status"] == "True"
    web = life.container_status("web")
    assert web["ready"]
    assert web["started"]
    assert web["containerID"].startswith("wherry://")


def test_a_container_with_a_readiness_probe_is_not_ready_before_its_first_success():
    life = PodLife(pod(container("web", readinessProbe={"tcpSocket": {"port": 80}})))
    life.settle()
    assert not life.container_status("web")["ready"]
    life.probe("web", readiness=True)
    assert life.container_status("web")["ready"]
    assert life.condition("Ready")["status"] == "True"


def test_readiness_known_before_a_restart_of_the_agent_counts_until_a_new_result():
    life = PodLife(pod(container("web", readinessProbe={"tcpSocket": {"port": 80}})))
    life.settle()
    life.record.container("web").ready = True
    assert life.container_status("web")["ready"]
    life.probe("web", readiness=False)
    assert not life.container_status("web")["ready"]


def test_a_container_that_keeps_failing_shows_crash_loop_back_off():
    life = PodLife(pod(container("web")))
    life.settle()
    life.exit("web", 1)
    life.exit("web", 1)
    web = life.container_status("web")
    assert web["state"]["waiting"] == {
        "reason": "CrashLoopBackOff",
        "message": "back-off 10s restarting failed container=web pod=p_default(u1)",
    }
    assert web["lastState"]["terminated"]["exitCode"] == 1
    assert web["restartCount"] == 1
    assert life.status()["phase"] == "Running"


def test_a_restarted_container_remembers_how_it_ended_before():
    life = PodLife(pod(container("web")))
    life.settle()
    life.exit("web", 137, reason="OOMKilled")
    web = life.container_status("web")
    assert "running" in web["state"]
    assert web["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert web["restartCount"] == 1


def test_a_pull_error_is_shown_first_and_its_back_off_afterwards():
    life = PodLife(pod(container("web")))
    life.pull_error = "ErrImagePull"
    life.settle()
    assert life.container_status("web")["state"]["waiting"]["reason"] == "ErrImagePull"
    life.wake()
    waiting = life.container_status("web")["state"]["waiting"]
    assert waiting["reason"] == "ImagePullBackOff"
    assert waiting["message"] == 'Back-off pulling image "web:1": ErrImagePull: no such image'


def test_an_invalid_image_name_keeps_its_own_reason():
    life = PodLife(pod(container("web")))
    life.pull_error = "InvalidImageName"
    life.settle()
    life.advance(7)
    assert life.container_status("web")["state"]["waiting"]["reason"] == "InvalidImageName"


def test_a_container_that_cannot_be_configured_says_why():
    life = PodLife(pod(container("web")))
    life.held_jobs = {"pull/web"}
    life.settle()
    failure = Failure("CreateContainerConfigError", 'secret "x" not found', START, START + 10)
    life.record.container("web").start_failure = failure
    waiting = life.container_status("web")["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}


def test_apps_wait_as_pod_initializing_while_init_containers_run():
    life = PodLife(pod(container("web"), initContainers=[container("i1")]))
    life.settle()
    assert life.status()["phase"] == "Pending"
    assert life.container_status("web")["state"] == {"waiting": {"reason": "PodInitializing"}}
    condition = life.condition("Initialized")
    assert condition["status"] == "False"
    assert condition["message"] == "containers with incomplete status: [i1]"


def test_a_completed_init_container_is_ready():
    life = PodLife(pod(container("web"), initContainers=[container("i1")]))
    life.settle()
    life.exit("i1")
    assert life.container_status("i1")["ready"]
    assert life.condition("Initialized")["status"] == "True"


def test_a_restarting_sidecar_does_not_make_a_running_pod_pending():
    side = container("log", restartPolicy="Always")
    life = PodLife(pod(container("web"), initContainers=[side]))
    life.settle()
    life.exit("log", 1)
    life.exit("log", 1)
    assert life.status()["phase"] == "Running"
    assert life.condition("Ready")["message"] == "containers with unready status: [log]"


def test_a_completed_pod_says_so_in_its_conditions():
    life = PodLife(pod(container("web"), restartPolicy="Never"))
    life.settle()
    life.exit("web", 0)
    assert life.status()["phase"] == "Succeeded"
    assert life.condition("Ready")["reason"] == "PodCompleted"
    assert life.condition("Initialized")["status"] == "True"
    assert life.container_status("web")["state"]["terminated"]["reason"] == "Completed"


def test_a_finished_pod_keeps_its_address_in_the_status():
    life = PodLife(pod(container("web"), restartPolicy="Never"))
    life.settle()
    life.status()
    life.exit("web", 0)
    life.record.addresses = ()
    assert life.status()["podIP"] == "10.244.0.5"


def test_a_readiness_gate_holds_back_ready_but_not_containers_ready():
    life = PodLife(pod(container("web"), readinessGates=[{"conditionType": "example.com/up"}]))
    life.settle()
    ready = life.condition("Ready")
    assert ready["reason"] == "ReadinessGatesNotReady"
    assert 'readiness gate "example.com/up" does not exist' in ready["message"]
    assert life.condition("ContainersReady")["status"] == "True"
    life.pod["status"]["conditions"] = [{"type": "example.com/up", "status": "True"}]
    assert life.condition("Ready")["status"] == "True"


def test_transition_times_move_only_with_the_status():
    life = PodLife(pod(container("web")))
    life.settle()
    before = life.condition("Ready")["lastTransitionTime"]
    life.advance(100)
    assert life.condition("Ready")["lastTransitionTime"] == before
    life.delete()
    life.exit("web", 0)
    assert life.condition("Ready")["lastTransitionTime"] != before


def test_a_deleted_pod_ends_as_its_containers_did():
    life = PodLife(pod(container("web")))
    life.settle()
    life.delete()
    assert life.status()["phase"] == "Running"
    life.exit("web", 137)
    assert life.status()["phase"] == "Failed"


def test_the_quality_of_service_follows_requests_and_limits():
    same = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    assert PodLife(pod(container("a", resources=same))).status()["qosClass"] == "Guaranteed"
    some = {"requests": {"cpu": "1"}}
    assert PodLife(pod(container("a", resources=some))).status()["qosClass"] == "Burstable"
    mixed = pod(container("a", resources=same), container("b"))
    assert PodLife(mixed).status()["qosClass"] == "Burstable"


def test_no_patch_is_made_when_nothing_changed():
    life = PodLife(pod(container("web")))
    life.settle()
    first = life.status()
    again = pod_status(life.pod, life.record, {}, ["10.0.0.1"], first, life.now + 60)
    assert status_patch(first, again) == {}


def test_a_patch_holds_only_what_changed():
    life = PodLife(pod(container("web", readinessProbe={"tcpSocket": {"port": 80}})))
    life.settle()
    before = life.status()
    life.probe("web", readiness=True)
    patch = status_patch(before, life.status())
    assert set(patch) == {"conditions", "containerStatuses"}
    assert {c["type"] for c in patch["conditions"]} == {"Ready", "ContainersReady"}


def test_a_patch_removes_a_condition_s_old_reason():
    old = {"conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]}
    new = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert status_patch(old, new)["conditions"] == [{"type": "Ready", "status": "True", "reason": None}]


def test_a_patch_leaves_conditions_of_others_alone():
    old = {"conditions": [{"type": "example.com/up", "status": "True"}]}
    new = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert [c["type"] for c in status_patch(old, new)["conditions"]] == ["Ready"]


def test_a_new_address_replaces_the_old_one():
    patch = status_patch({"podIPs": [{"ip": "10.0.0.1"}]}, {"podIPs": [{"ip": "10.0.0.2"}]})
    assert patch == {"podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}]}


def test_a_container_whose_program_cannot_be_run_says_so_before_its_back_off():
    life = PodLife(pod(container("web")))
    life.settle()
    life.exit("web", 128, reason="StartError")
    life.exit("web", 128, reason="StartError")
    life.record.container("web").trouble = Failure("RunContainerError", "exec: no such file", life.now)
    life.settle()
    assert life.container_status("web")["state"]["waiting"] == {
        "reason": "RunContainerError",
        "message": "exec: no such file",
    }
    life.wake()
    assert life.container_status("web")["state"]["waiting"]["reason"] == "CrashLoopBackOff"


def test_a_container_that_restarts_by_its_own_policy_keeps_its_pod_running():
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    once, ruled = {"restartPolicy": "OnFailure"}, {"restartPolicy": "Never", "restartPolicyRules": [rule]}
    for fields, code in ((once, 1), (ruled, 42)):
        life = PodLife(pod(container("web", **fields), restartPolicy="Never"))
        life.settle()
        life.exit("web", code)
        life.exit("web", code)
        assert life.status()["phase"] == "Running"
        life.wake()
        life.exit("web", 0)
        assert life.status()["phase"] == "Succeeded"


def test_a_container_for_debugging_is_never_ready():
    life = PodLife(pod(container("web")))
    life.pod["spec"]["ephemeralContainers"] = [container("debug")]
    life.settle()
    (debug,) = life.status()["ephemeralContainerStatuses"]
    assert "running" in debug["state"]
    assert not debug["ready"]


def test_the_image_of_a_volume_that_cannot_be_had_is_waited_for_like_a_container_s():
    mounting = container("web", volumeMounts=[{"name": "files", "mountPath": "/files"}])
    volume = {"name": "files", "image": {"reference": "files:1"}}
    life = PodLife(pod(mounting, container("other"), volumes=[volume]))
    life.record.volumes_failure = Failure("ErrImagePull", "no such tag", life.now, life.now + 60)
    life.settle()
    assert life.container_status("web")["state"]["waiting"] == {"reason": "ErrImagePull", "message": "no such tag"}
    assert life.container_status("other")["state"]["waiting"]["reason"] == "ContainerCreating"
    life.wake()
    assert life.container_status("web")["state"]["waiting"] == {
        "reason": "ImagePullBackOff",
        "message": 'Back-off pulling image "files:1": ErrImagePull: no such tag',
    }


def test_a_pod_that_was_refused_has_no_containers_to_tell_of():
    life = PodLife(pod(container("web"), initContainers=[container("init")]))
    life.held_jobs = {"volumes"}
    life.settle()
    before = life.status()
    life.record.finished, life.record.end_reason = True, "NodeAffinity"
    after = life.status()
    assert (after["phase"], after["reason"]) == ("Failed", "NodeAffinity")
    patch = status_patch(before, after)
    assert (patch["containerStatuses"], patch["initContainerStatuses"]) == (None, None)


def test_a_condition_of_the_scheduler_is_never_told_anew():
    life = PodLife(pod(container("web")))
    life.pod["status"] = {"conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "earlier"}]}
    life.settle()
    for _ in range(2):
        assert "PodScheduled" not in [condition["type"] for condition in life.status()["conditions"]]
