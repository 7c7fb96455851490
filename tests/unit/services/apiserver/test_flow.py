"""Seats and queues under overload."""

import asyncio
from collections import Counter

import pytest

from services.apiserver.flow import Flow, Seats, is_exempt
from services.apiserver.protocol import Query, Request
from shared.errors import TooManyRequests
from shared.identity.users import AUTHENTICATED, NODES, User

NODE = User("system:node:node-1", (NODES, AUTHENTICATED))
ALICE = User("alice", (AUTHENTICATED,))


def asked(user: User, method: str = "GET", path: str = "/api/v1/pods") -> Request:
    return Request(user, method, path, Query({}), {}, b"")


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_user_with_one_request_waits_for_one_turn_of_a_user_with_many() -> None:
    seats = Seats("test", 2)
    order: list[str] = []

    async def work(user: str) -> None:
        await seats.enter(user)
        order.append(user)
        await asyncio.sleep(0)
        seats.leave()

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(work("many"))
        await asyncio.sleep(0)
        for _ in range(3):
            group.create_task(work("few"))
    assert order[:2] == ["many", "many"]
    assert [index for index, user in enumerate(order) if user == "few"][-1] < 12
    assert Counter(order) == {"many": 100, "few": 3}


async def test_a_full_queue_is_refused_and_the_others_are_not() -> None:
    seats = Seats("test", 1, queue=2)
    await seats.enter("holder")
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(seats.enter("many")) for _ in range(2)]
        await settle()
        with pytest.raises(TooManyRequests) as refused:
            await seats.enter("many")
        assert refused.value.details == {"retryAfterSeconds": 1}
        other = group.create_task(seats.enter("few"))
        await settle()
        for _ in range(3):
            seats.leave()
    assert all(task.done() for task in (*waiting, other))


async def test_who_gives_up_leaves_the_queue_and_no_seat_is_lost() -> None:
    seats = Seats("test", 1)
    await seats.enter("holder")
    waiting = asyncio.create_task(seats.enter("gone"))
    await settle()
    waiting.cancel()
    await asyncio.wait((waiting,))
    # given and given up in the same moment
    late = asyncio.create_task(seats.enter("late"))
    await settle()
    seats.leave()
    late.cancel()
    await asyncio.wait((late,))
    async with asyncio.timeout(1):
        await seats.enter("next")


async def test_reading_and_changing_do_not_wait_for_each_other() -> None:
    flow = Flow(reading=1, changing=1, queue=0)
    reading, changing = flow.seats(asked(ALICE)), flow.seats(asked(ALICE, "POST"))
    assert reading is not None
    assert changing is not None
    await reading.enter("alice")
    await changing.enter("alice")
    with pytest.raises(TooManyRequests):
        await reading.enter("alice")


@pytest.mark.parametrize(
    ("user", "path", "exempt"),
    [
        (ALICE, "/healthz", True),
        (ALICE, "/metrics", True),
        (ALICE, "/api/v1/pods", False),
        (NODE, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1", True),
        (ALICE, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1", False),
        (NODE, "/apis/coordination.k8s.io/v1/namespaces/default/leases/node-1", False),
        (User("system:kube-scheduler"), "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x", True),
        (NODE, "/api/v1/pods", False),
    ],
)
def test_what_shows_that_the_system_lives_is_exempt(user: User, path: str, exempt: bool) -> None:
    assert is_exempt(asked(user, path=path)) is exempt
