"""The pod state machine: what is done, and in which order, for every turn a pod's life can take."""

import pytest

from services.nodeagent.pods.instructions import (
    BeginStop,
    CleanUp,
    ConfirmDeletion,
    CreateSandbox,
    EndPod,
    MarkInitialized,
    PrepareVolumes,
    PullImage,
    ResizeContainer,
    RunPostStart,
    RunPreStop,
    SignalContainer,
    StartContainer,
    Terminate,
)
from services.nodeagent.pods.records import Failure
from tests.fakes.podlife import START, PodLife, container, pod


def sidecar(name, **fields):
    return container(name, restartPolicy="Always", **fields)


def test_a_new_pod_gets_volumes_sandbox_image_and_container_in_that_order():
    life = PodLife(pod(container("web")))
    assert life.settle() == [
        PrepareVolumes(),
        CreateSandbox(0),
        MarkInitialized(),
        PullImage("web"),
        StartContainer("web", 0),
    ]
    assert life.wake_at is None


def test_a_running_pod_is_left_alone():
    life = PodLife(pod(container("web")))
    life.settle()
    assert life.advance(3600) == []


def test_app_containers_start_in_the_order_of_the_spec():
    life = PodLife(pod(container("a"), container("b"), container("c")))
    life.settle()
    assert life.started() == ["a", "b", "c"]


def test_a_job_under_way_is_not_begun_again():
    life = PodLife(pod(container("web")))
    life.held_jobs = {"pull/web"}
    assert life.settle()[-1] == PullImage("web")
    assert life.settle() == []
    life.finish_job("pull/web")
    assert life.running() == {"web"}


def test_volumes_that_fail_are_tried_again_at_their_time():
    life = PodLife(pod(container("web")))
    life.record.volumes_failure = Failure("FailedMount", "no such secret", START, START + 10)
    assert life.settle() == []
    assert life.wake_at == START + 10
    assert PrepareVolumes() in life.wake()


def test_a_sandbox_that_could_not_be_made_is_tried_again_under_the_same_number():
    life = PodLife(pod(container("web")))
    life.record.volumes_ready = True
    life.record.sandbox_attempt, life.record.sandbox_exists = 0, True
    life.record.sandbox_failure = Failure("FailedCreatePodSandBox", "no address", START, START + 2)
    assert life.settle() == []
    assert life.wake()[0] == CreateSandbox(0)


# restarts


def test_the_first_restart_comes_at_once_and_the_second_after_ten_seconds():
    life = PodLife(pod(container("web")))
    life.settle()
    assert StartContainer("web", 1) in life.exit("web", 1)
    assert life.exit("web", 1) == []
    assert life.wake_at == life.now + 10
    assert StartContainer("web", 2) in life.wake()


def test_the_back_off_doubles_up_to_five_minutes():
    life = PodLife(pod(container("web")))
    life.settle()
    life.exit("web", 1)
    delays = []
    for _ in range(8):
        life.exit("web", 1)
        delays.append(life.wake_at - life.now)
        life.wake()
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]


def test_ten_good_minutes_reset_the_back_off():
    life = PodLife(pod(container("web")))
    life.settle()
    for _ in range(4):
        life.exit("web", 1)
        if life.wake_at is not None:
            life.wake()
    life.now += 601
    assert StartContainer("web", 5) not in life.done
    assert any(isinstance(i, StartContainer) for i in life.exit("web", 1))


def test_restart_policy_never_ends_the_pod():
    life = PodLife(pod(container("web"), restartPolicy="Never"))
    life.settle()
    assert life.exit("web", 3) == [EndPod(), CleanUp()]
    assert life.status()["phase"] == "Failed"


def test_restart_policy_on_failure_restarts_only_failures():
    life = PodLife(pod(container("a"), container("b"), restartPolicy="OnFailure"))
    life.settle()
    assert life.exit("a", 0) == []
    assert StartContainer("b", 1) in life.exit("b", 2)
    assert life.exit("b", 0) == [EndPod(), CleanUp()]
    assert life.status()["phase"] == "Succeeded"


def test_restart_policy_always_restarts_successes_too():
    life = PodLife(pod(container("web")))
    life.settle()
    assert StartContainer("web", 1) in life.exit("web", 0)


def test_a_container_rule_restarts_a_listed_exit_code_although_the_pod_never_does():
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    life = PodLife(pod(container("web", restartPolicy="Never", restartPolicyRules=[rule]), restartPolicy="Never"))
    life.settle()
    assert StartContainer("web", 1) in life.exit("web", 42)
    assert EndPod() in life.exit("web", 1)


def test_each_restart_makes_sure_of_the_image_again():
    life = PodLife(pod(container("web")))
    life.settle()
    assert life.exit("web", 1)[0] == PullImage("web")


def test_a_changed_image_replaces_the_container():
    life = PodLife(pod(container("web")))
    life.settle()
    life.pod["spec"]["containers"][0]["image"] = "web:2"
    begun = life.settle()
    assert isinstance(begun[0], BeginStop)
    assert begun[1] == SignalContainer("web", kill=False)
    assert StartContainer("web", 1) in life.exit("web", 143)


def test_changed_limits_resize_without_a_restart():
    life = PodLife(pod(container("web", resources={"limits": {"cpu": "1"}})))
    life.settle()
    life.pod["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "2"}}
    assert life.settle() == [ResizeContainer("web")]


# images


def test_a_failed_pull_backs_off_and_does_not_start_anything():
    life = PodLife(pod(container("web")))
    life.pull_error = "ErrImagePull"
    life.settle()
    assert life.started() == []
    life.now = START + 5
    life.settle()
    assert life.wake_at == START + 10
    life.pull_error = ""
    life.wake()
    assert life.running() == {"web"}


def test_one_container_without_an_image_does_not_hold_up_the_others():
    life = PodLife(pod(container("a"), container("b")))
    life.held_jobs = {"pull/a"}
    life.settle()
    assert life.running() == {"b"}


# init containers


def test_init_containers_run_one_after_the_other_before_the_apps():
    life = PodLife(pod(container("web"), initContainers=[container("i1"), container("i2")]))
    life.settle()
    assert life.started() == ["i1"]
    life.exit("i1")
    assert life.started() == ["i1", "i2"]
    life.exit("i2")
    assert life.started() == ["i1", "i2", "web"]


def test_a_failed_init_container_is_repeated():
    life = PodLife(pod(container("web"), initContainers=[container("i1")]))
    life.settle()
    assert StartContainer("i1", 1) in life.exit("i1", 1)
    assert "web" not in life.started()


def test_a_failed_init_container_ends_a_pod_that_never_restarts():
    life = PodLife(pod(container("web"), initContainers=[container("i1")], restartPolicy="Never"))
    life.settle()
    assert life.exit("i1", 1) == [EndPod(), CleanUp()]
    assert life.status()["phase"] == "Failed"


def test_init_containers_are_not_run_again_when_an_app_restarts():
    life = PodLife(pod(container("web"), initContainers=[container("i1")]))
    life.settle()
    life.exit("i1")
    life.exit("web", 1)
    assert life.started() == ["i1", "web", "web"]


def test_a_lost_sandbox_brings_a_new_one_and_runs_init_containers_again():
    life = PodLife(pod(container("web"), initContainers=[container("i1")]))
    life.settle()
    life.exit("i1")
    life.record.sandbox_ready = life.record.sandbox_exists = False
    life.exit("web", 137)
    assert CreateSandbox(1) in life.done
    assert life.started() == ["i1", "web", "i1"]
    life.exit("i1")
    assert life.started()[-1] == "web"
    assert life.record.container("web").attempt == 1


def test_a_lost_sandbox_ends_a_pod_that_never_restarts():
    life = PodLife(pod(container("web"), restartPolicy="Never"))
    life.settle()
    life.record.sandbox_ready = life.record.sandbox_exists = False
    assert life.exit("web", 137)[0] == EndPod()
    assert life.status()["phase"] == "Failed"


def test_a_lost_sandbox_leaves_what_succeeded_alone():
    life = PodLife(pod(container("a"), container("b"), restartPolicy="OnFailure"))
    life.settle()
    life.exit("a", 0)
    life.record.sandbox_ready = life.record.sandbox_exists = False
    life.exit("b", 137)
    assert life.started() == ["a", "b", "b"]


# sidecars


def test_a_sidecar_runs_before_and_beside_the_apps():
    life = PodLife(pod(container("web"), initContainers=[sidecar("log"), container("i1")]))
    life.settle()
    assert life.started() == ["log", "i1"]
    life.exit("i1")
    assert life.running() == {"log", "web"}


def test_what_follows_a_sidecar_waits_for_its_startup_probe():
    probed = sidecar("log", startupProbe={"exec": {"command": ["true"]}})
    life = PodLife(pod(container("web"), initContainers=[probed]))
    life.settle()
    assert life.running() == {"log"}
    life.probe("log", startup=True)
    assert life.running() == {"log", "web"}


def test_a_sidecar_is_restarted_even_when_the_pod_never_is():
    life = PodLife(pod(container("web"), initContainers=[sidecar("log")], restartPolicy="Never"))
    life.settle()
    assert StartContainer("log", 1) in life.exit("log", 0)
    assert life.running() == {"log", "web"}


def test_a_sidecar_does_not_keep_a_finished_pod():
    life = PodLife(pod(container("web"), initContainers=[sidecar("log")], restartPolicy="Never"))
    life.settle()
    ended = life.exit("web", 0)
    assert ended[0] == EndPod()
    assert SignalContainer("log", kill=False) in ended
    assert CleanUp() in life.exit("log", 143)
    assert life.status()["phase"] == "Succeeded"


def test_sidecars_stop_after_the_apps_in_reverse_order():
    life = PodLife(pod(container("web"), initContainers=[sidecar("s1"), sidecar("s2")]))
    life.settle()
    life.delete()
    stopping = [i.container for i in life.done if isinstance(i, SignalContainer)]
    assert stopping == ["web"]
    life.exit("web", 0)
    life.exit("s2", 0)
    life.exit("s1", 0)
    stopping = [i.container for i in life.done if isinstance(i, SignalContainer)]
    assert stopping == ["web", "s2", "s1"]


def test_the_grace_period_of_the_pod_binds_sidecars_as_well():
    life = PodLife(pod(container("web"), initContainers=[sidecar("s1")]))
    life.settle()
    life.delete(grace=5)
    killed = life.advance(5)
    assert SignalContainer("web", kill=True) in killed
    assert any(isinstance(i, BeginStop) and i.container == "s1" for i in killed)


# ending


def test_deletion_stops_cleans_and_confirms():
    life = PodLife(pod(container("web")))
    life.settle()
    assert [type(i) for i in life.delete()] == [Terminate, BeginStop, SignalContainer]
    assert life.exit("web", 0) == [CleanUp(), ConfirmDeletion()]
    assert life.settle() == []


def test_a_container_that_ignores_the_stop_signal_is_killed_at_the_deadline():
    life = PodLife(pod(container("web")))
    life.settle()
    life.delete(grace=30)
    assert life.wake_at == START + 30
    assert life.wake() == [SignalContainer("web", kill=True)]
    assert life.advance(100) == []


def test_a_shorter_grace_period_moves_the_deadline_forward():
    life = PodLife(pod(container("web")))
    life.settle()
    life.delete(grace=600)
    life.now += 1
    life.delete(grace=4)
    assert life.wake_at == START + 5
    assert life.wake() == [SignalContainer("web", kill=True)]


def test_a_longer_grace_period_does_not_move_the_deadline_back():
    life = PodLife(pod(container("web")))
    life.settle()
    life.delete(grace=10)
    life.delete(grace=600)
    assert life.wake_at == START + 10


def test_even_a_forced_deletion_leaves_two_seconds():
    life = PodLife(pod(container("web")))
    life.settle()
    life.delete(grace=0)
    assert life.wake_at == START + 2


def test_a_pod_that_vanished_from_the_api_is_stopped_gracefully_and_not_confirmed():
    life = PodLife(pod(container("web")))
    life.settle()
    life.removed = True
    life.settle()
    assert life.wake_at == START + 30
    assert life.exit("web", 0) == [CleanUp()]


def test_a_deleted_pod_starts_nothing_more():
    life = PodLife(pod(container("a"), container("b")))
    life.held_jobs = {"pull/b"}
    life.settle()
    life.delete()
    life.jobs.clear()
    life.record.container("b").pulled = True
    life.settle()
    life.exit("a", 1)
    assert life.started() == ["a"]


def test_a_pod_deleted_before_it_had_anything_is_cleaned_and_confirmed():
    life = PodLife(pod(container("web")))
    life.held_jobs = {"volumes"}
    life.settle()
    assert [type(i) for i in life.delete()] == [Terminate, CleanUp, ConfirmDeletion]


def test_a_finished_pod_that_is_deleted_is_confirmed_without_more_ado():
    life = PodLife(pod(container("web"), restartPolicy="Never"))
    life.settle()
    life.exit("web", 0)
    assert [type(i) for i in life.delete()] == [Terminate, ConfirmDeletion]


def test_an_unconfirmed_deletion_is_repeated_at_its_time():
    life = PodLife(pod(container("web")))
    life.settle()
    life.delete()
    life.record.confirm_retry_at = life.now + 2
    assert life.exit("web", 0) == [CleanUp()]
    assert life.wake() == [ConfirmDeletion()]


def test_a_clean_up_that_failed_is_repeated_at_its_time():
    life = PodLife(pod(container("web")))
    life.settle()
    life.delete()
    life.record.clean_failure = Failure("FailedKillPod", "device busy", life.now, life.now + 2)
    assert life.exit("web", 0) == []
    assert life.wake()[0] == CleanUp()


def test_the_active_deadline_fails_the_pod():
    life = PodLife(pod(container("web"), activeDeadlineSeconds=60))
    life.settle()
    assert life.wake_at == START + 60
    ended = life.wake()
    assert isinstance(ended[0], EndPod)
    assert life.status()["phase"] == "Running"
    life.exit("web", 143)
    status = life.status()
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_phase_that_the_api_calls_final_ends_the_pod_here():
    life = PodLife(pod(container("web")))
    life.settle()
    life.pod["status"]["phase"] = "Failed"
    assert EndPod() in life.settle()
    life.exit("web", 0)
    assert life.status()["phase"] == "Failed"


# hooks and probes


def test_pre_stop_comes_before_the_signal():
    life = PodLife(pod(container("web", lifecycle={"preStop": {"exec": {"command": ["x"]}}})))
    life.settle()
    life.held_jobs = {"pre-stop/web"}
    stopped = life.delete()
    assert stopped[-1] == RunPreStop("web", 30.0)
    assert life.finish_job("pre-stop/web") == [SignalContainer("web", kill=False)]


def test_a_pre_stop_that_hangs_leaves_the_container_a_moment_after_the_grace_period():
    life = PodLife(pod(container("web", lifecycle={"preStop": {"exec": {"command": ["x"]}}})))
    life.settle()
    life.held_jobs = {"pre-stop/web"}
    life.delete(grace=3)
    assert life.wake() == [SignalContainer("web", kill=False)]
    assert (life.now, life.wake_at) == (START + 3, START + 5)
    assert life.wake() == [SignalContainer("web", kill=True)]


def test_sidecars_whose_pod_used_up_its_time_hear_their_signal_all_the_same():
    life = PodLife(pod(container("web"), initContainers=[container("side", restartPolicy="Always")]))
    life.settle()
    life.delete(grace=3)
    assert SignalContainer("web", kill=True) in life.wake()
    assert SignalContainer("side", kill=False) in life.done
    assert SignalContainer("side", kill=True) not in life.done
    life.exit("web", 137)
    assert life.wake() == [SignalContainer("side", kill=True)]


def test_containers_after_a_post_start_hook_wait_for_it():
    hooked = container("a", lifecycle={"postStart": {"exec": {"command": ["x"]}}})
    life = PodLife(pod(hooked, container("b")))
    life.held_jobs = {"post-start/a"}
    assert life.settle()[-1] == RunPostStart("a")
    assert life.running() == {"a"}
    assert life.container_status("a")["state"] == {"waiting": {"reason": "ContainerCreating"}}
    life.finish_job("post-start/a")
    assert life.running() == {"a", "b"}


def test_a_failed_post_start_hook_kills_the_container():
    life = PodLife(pod(container("web", lifecycle={"postStart": {"exec": {"command": ["x"]}}})))
    life.settle()
    life.record.container("web").kill_reason = "FailedPostStartHook"
    assert isinstance(life.settle()[0], BeginStop)


def test_a_failed_liveness_probe_restarts_the_container():
    life = PodLife(pod(container("web", livenessProbe={"tcpSocket": {"port": 80}})))
    life.settle()
    assert life.probe("web", liveness=True) == []
    stopped = life.probe("web", liveness=False)
    assert stopped[0] == BeginStop("web", "Container web failed liveness probe, will be restarted", START + 30)
    assert StartContainer("web", 1) in life.exit("web", 143)


def test_a_probe_may_have_its_own_grace_period():
    life = PodLife(pod(container("web", livenessProbe={"terminationGracePeriodSeconds": 5})))
    life.settle()
    life.probe("web", liveness=False)
    assert life.wake_at == START + 5


def test_a_failed_startup_probe_of_a_pod_that_never_restarts_ends_it():
    life = PodLife(pod(container("web", startupProbe={"tcpSocket": {"port": 80}}), restartPolicy="Never"))
    life.settle()
    stopped = life.probe("web", startup=False)
    assert stopped[0].reason == "Container web failed startup probe"
    assert EndPod() in life.exit("web", 137)


def test_readiness_never_restarts_anything():
    life = PodLife(pod(container("web", readinessProbe={"tcpSocket": {"port": 80}})))
    life.settle()
    assert life.probe("web", readiness=False) == []


def test_an_ephemeral_container_starts_once_and_is_not_restarted():
    life = PodLife(pod(container("web")))
    life.settle()
    life.pod["spec"]["ephemeralContainers"] = [container("debug")]
    life.settle()
    assert life.running() == {"web", "debug"}
    assert life.exit("debug", 1) == []


@pytest.mark.parametrize(("code", "again"), [(42, True), (1, False)])
def test_restart_rules_decide_over_the_policy_of_init_containers_too(code, again):
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    init = container("init", restartPolicy="Never", restartPolicyRules=rules)
    life = PodLife(pod(container("app"), initContainers=[init], restartPolicy="Never"))
    life.settle()
    life.exit("init", code)
    life.advance(60)
    assert life.started().count("init") == (2 if again else 1)
    assert (life.status()["phase"] == "Failed") != again
