"""When a node is under pressure, who has to go, and what is said about it."""

import pytest

from services.nodeagent.eviction import decide, limits
from services.nodeagent.eviction.decide import Amounts, Candidate, look, pressures, rank, refusal
from services.nodeagent.eviction.limits import DiskUse
from services.nodeagent.eviction.signals import DISK, MEMORY, PROCESSES, Level
from services.nodeagent.eviction.thresholds import EvictionSettings, Quantity, Threshold, Watch
from shared.errors import SettingsError
from tests.fakes.podlife import container, pod

MI = 1 << 20


def settings(**env):
    return EvictionSettings.from_environment(env)


def low(mib):
    return {MEMORY: Level(mib * MI, 1000 * MI)}


def one(name, used=0, requested=0, priority=0, critical=False, processes=0):
    amounts = Amounts(used, used, used, processes)
    return Candidate(name, priority, amounts, Amounts(requested, requested, requested), critical)


def names(candidates):
    return [candidate.uid for candidate in candidates]


def test_the_defaults_are_kubelets_and_one_for_processes():
    found = {threshold.signal: threshold for threshold in settings().thresholds}
    assert found[MEMORY].limit(Level(0, 1 << 40)) == 100 * MI
    assert found[DISK].limit(Level(0, 1000)) == 100
    assert found[PROCESSES].limit(Level(0, 1000)) == 100
    assert len(found) == 6


def test_soft_thresholds_need_a_grace_period():
    found = settings(
        WHERRY_EVICTION_HARD="",
        WHERRY_EVICTION_SOFT="memory.available<10%",
        WHERRY_EVICTION_SOFT_GRACE_PERIOD="memory.available=1m30s",
        WHERRY_EVICTION_MINIMUM_RECLAIM="memory.available=50Mi",
    )
    assert found.thresholds == (Threshold(MEMORY, Quantity(share=0.1), 90.0, Quantity(50 * MI)),)
    with pytest.raises(SettingsError, match=r"GRACE_PERIOD names no time for memory\.available"):
        settings(WHERRY_EVICTION_SOFT="memory.available<10%")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("WHERRY_EVICTION_HARD", "memory.free<1Gi"),
        ("WHERRY_EVICTION_HARD", "memory.available>1Gi"),
        ("WHERRY_EVICTION_HARD", "memory.available<120%"),
        ("WHERRY_EVICTION_HARD", "memory.available<much"),
        ("WHERRY_EVICTION_INTERVAL", "soon"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(variable, text):
    with pytest.raises(SettingsError, match=variable):
        settings(**{variable: text})


def test_a_hard_threshold_acts_at_once_and_a_soft_one_after_its_grace():
    found = settings(
        WHERRY_EVICTION_HARD="memory.available<100Mi",
        WHERRY_EVICTION_SOFT="memory.available<200Mi",
        WHERRY_EVICTION_SOFT_GRACE_PERIOD="memory.available=30s",
    )
    watch = Watch()
    assert look(watch, found, low(150), 0) == []
    assert pressures(watch, found, 0) == {"MemoryPressure"}
    assert [threshold.grace for threshold in look(watch, found, low(150), 30)] == [30.0]
    assert [threshold.grace for threshold in look(watch, found, low(50), 31)] == [0.0, 30.0]
    assert look(watch, found, low(300), 32) == []
    assert look(watch, found, low(150), 33) == []


def test_pressure_is_reported_for_a_while_after_it_has_passed():
    found = settings(WHERRY_EVICTION_PRESSURE_TRANSITION_PERIOD="5m")
    watch = Watch()
    look(watch, found, low(50), 0)
    look(watch, found, low(500), 10)
    assert pressures(watch, found, 200) == {"MemoryPressure"}
    assert pressures(watch, found, 301) == frozenset()


def test_once_it_acts_it_reclaims_more_than_the_threshold():
    found = settings(
        WHERRY_EVICTION_HARD="memory.available<100Mi", WHERRY_EVICTION_MINIMUM_RECLAIM="memory.available=50Mi"
    )
    watch = Watch()
    assert look(watch, found, low(120), 0) == []
    assert look(watch, found, low(90), 1)
    assert look(watch, found, low(120), 2)
    assert look(watch, found, low(160), 3) == []
    assert look(watch, found, low(120), 4) == []


def test_memory_is_acted_upon_before_disk_and_processes():
    found = settings()
    levels = {PROCESSES: Level(0, 100), DISK: Level(0, 100), MEMORY: Level(0, 100)}
    assert [threshold.signal for threshold in look(Watch(), found, levels, 0)] == [MEMORY, DISK, PROCESSES]


def test_pods_above_their_request_go_first_then_by_priority_then_by_excess():
    order = rank(
        MEMORY,
        [
            one("within", used=10, requested=20, priority=-5),
            one("important", used=100, requested=10, priority=5),
            one("little", used=20, requested=10),
            one("much", used=90, requested=10),
            one("system", used=999, critical=True),
        ],
    )
    assert names(order) == ["much", "little", "important", "within"]


def test_for_processes_priority_and_their_number_count():
    order = rank(PROCESSES, [one("few", processes=3), one("many", processes=90), one("high", priority=1, processes=99)])
    assert names(order) == ["many", "few", "high"]


def test_the_message_names_the_containers_that_exceed_their_request():
    used = {"a": (Amounts(memory=3 * MI), Amounts(memory=MI)), "b": (Amounts(memory=1), Amounts(memory=MI))}
    victim = Candidate("u", 0, Amounts(), Amounts(), containers=used)
    text = decide.message(Threshold(MEMORY, Quantity(100 * MI)), Level(50 * MI, 0), victim)
    assert text == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container a was using 3Mi, request is 1Mi, has larger consumption of memory. "
    )


@pytest.mark.parametrize(
    ("held", "best_effort", "critical", "tolerates", "refused"),
    [
        (set(), True, False, False, False),
        ({"MemoryPressure"}, True, False, False, True),
        ({"MemoryPressure"}, True, False, True, False),
        ({"MemoryPressure"}, False, False, False, False),
        ({"DiskPressure"}, False, False, True, True),
        ({"DiskPressure"}, True, True, False, False),
    ],
)
def test_who_is_let_in_under_pressure(held, best_effort, critical, tolerates, refused):
    why = refusal(frozenset(held), best_effort, critical, tolerates)
    assert bool(why) == refused
    assert why == "" or why == f"The node had condition: [{', '.join(held)}]. "


def limited(limit):
    return container("web", resources={"limits": {"ephemeral-storage": limit}})


def test_an_empty_dir_above_its_limit_ends_the_pod():
    obj = pod(container("web"), volumes=[{"name": "cache", "emptyDir": {"sizeLimit": "1Mi"}}])
    assert limits.is_limited(obj)
    assert limits.excess(obj, DiskUse({"cache": MI})) == ""
    text = limits.excess(obj, DiskUse({"cache": MI + 1}))
    assert text == 'Usage of EmptyDir volume "cache" exceeds the limit "1Mi". '


def test_a_container_above_its_limit_ends_the_pod():
    obj = pod(limited("1Mi"), container("other"))
    text = limits.excess(obj, DiskUse(containers={"web": 2 * MI}))
    assert text == 'Container web exceeded its local ephemeral storage limit "1Mi". '
    assert limits.excess(obj, DiskUse(containers={"other": 9 * MI})) == ""


def test_the_limits_of_all_containers_bound_the_whole_pod():
    obj = pod(limited("2Mi"), volumes=[{"name": "v", "emptyDir": {}}])
    text = limits.excess(obj, DiskUse({"v": 2 * MI}, {"web": MI}))
    assert text == "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    assert limits.excess(obj, DiskUse({"v": 2 * MI}, {"web": MI}, in_memory=frozenset({"v"}))) == ""


def test_pods_without_limits_are_not_measured():
    assert not limits.is_limited(pod(container("web"), volumes=[{"name": "v", "emptyDir": {}}]))
