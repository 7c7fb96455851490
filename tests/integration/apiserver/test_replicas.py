"""Several API servers at once: whoever answers, a client reads what it wrote, and nothing is given out twice."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess
from tests.integration.apiserver.test_apiserver_process import client
from tests.slowness import LIMIT_S

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"
ROUNDS = 4


@pytest.fixture
def pair(nats_server: NatsServer, tmp_path: Path) -> Iterator[tuple[ApiServerProcess, ApiServerProcess]]:
    """Two servers on addresses of their own."""
    with ApiServerProcess(nats_server, tmp_path) as one, ApiServerProcess(nats_server, tmp_path) as two:
        yield one, two


async def call(
    session: aiohttp.ClientSession, method: str, url: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    async with session.request(method, url, json=body, headers=headers) as response:
        return response.status, await response.json()


class Checker:
    """Changes one ConfigMap and reads it after each change, on a new connection each time. A write whose answer was
    lost may have happened or not; everything that was answered must be seen."""

    def __init__(self, name: str, sessions: list[aiohttp.ClientSession]) -> None:
        self.url = f"{CONFIGMAPS}/{name}"
        self.name = name
        self.sessions = sessions
        self.possible = {"0"}
        self.reads = 0

    async def run(self, stop: asyncio.Event) -> None:
        first = {"metadata": {"name": self.name}, "data": {"n": "0"}}
        while await self.attempt("POST", CONFIGMAPS, first) is None:
            await asyncio.sleep(0.02)
        number = 0
        while not stop.is_set():
            number += 1
            patch = {"data": {"n": str(number)}}
            answer = await self.attempt("PATCH", self.url, patch, media="application/merge-patch+json")
            self.possible = {str(number)} if answer is not None else {*self.possible, str(number)}
            answer = await self.attempt("GET", self.url)
            if answer is not None:
                seen = answer["data"]["n"]
                assert seen in self.possible, (self.name, seen, self.possible)
                self.possible = {seen}
                self.reads += 1

    async def attempt(self, method: str, url: str, body: Any = None, media: str = "application/json") -> Any:
        """The answer, or None if the server went away over it."""
        try:
            status, answer = await call(random.choice(self.sessions), method, url, body, **{"Content-Type": media})
        except (aiohttp.ClientError, TimeoutError):
            return None
        if status in (500, 503, 504):
            return None
        assert status < 300 or (method == "POST" and status == 409), answer
        return answer


@pytest.mark.parametrize("one_port", [True, False], ids=["workers on one port", "servers on two addresses"])
async def test_whoever_is_killed_a_client_reads_what_it_wrote(
    nats_server: NatsServer, tmp_path: Path, one_port: bool
) -> None:
    with ApiServerProcess(nats_server, tmp_path) as first:
        port = first.port if one_port else None
        with ApiServerProcess(nats_server, tmp_path, port) as second:
            stop = asyncio.Event()
            async with client(first) as one, client(second) as two:
                checkers = [Checker(f"c{number}", [one, two]) for number in range(6)]
                async with asyncio.TaskGroup() as group:
                    for checker in checkers:
                        group.create_task(checker.run(stop))
                    for round_ in range(ROUNDS):
                        victim = (first, second)[round_ % 2]
                        before = [checker.reads for checker in checkers]
                        victim.kill()
                        await asyncio.to_thread(victim.start)
                        async with asyncio.timeout(LIMIT_S):
                            while any(one.reads <= reads for one, reads in zip(checkers, before, strict=True)):
                                await asyncio.sleep(0.02)
                    stop.set()
            assert all(checker.reads >= ROUNDS for checker in checkers)


async def test_no_address_or_port_is_given_out_twice(pair: tuple[ApiServerProcess, ApiServerProcess]) -> None:
    made: list[dict[str, Any]] = []
    async with client(pair[0]) as one, client(pair[1]) as two:

        async def create(number: int) -> None:
            spec = {"type": "NodePort", "ports": [{"port": 80}]}
            session = (one, two)[number % 2]
            status, answer = await call(session, "POST", SERVICES, {"metadata": {"name": f"s{number}"}, "spec": spec})
            assert status == 201, answer
            made.append(answer)

        async def claim(session: aiohttp.ClientSession, name: str) -> int:
            spec = {"clusterIP": "10.96.0.77", "ports": [{"port": 80, "nodePort": 31777}], "type": "NodePort"}
            return (await call(session, "POST", SERVICES, {"metadata": {"name": name}, "spec": spec}))[0]

        codes = await asyncio.gather(*(claim((one, two)[n % 2], f"wanted{n}") for n in range(10)))
        async with asyncio.TaskGroup() as group:
            for number in range(150):
                group.create_task(create(number))
    for field in (
        [one["spec"]["clusterIP"] for one in made],
        [one["spec"]["ports"][0]["nodePort"] for one in made],
    ):
        assert Counter(field).most_common(1)[0][1] == 1
    assert sorted(codes) == [201] + [422] * 9


async def test_what_another_server_changed_is_not_taken_for_the_present(
    pair: tuple[ApiServerProcess, ApiServerProcess],
) -> None:
    async with client(pair[0]) as one, client(pair[1]) as two:
        for number in range(30):
            name = f"again{number}"
            url = f"{CONFIGMAPS}/{name}"
            merge = {"Content-Type": "application/merge-patch+json"}
            await call(one, "POST", CONFIGMAPS, {"metadata": {"name": name}, "data": {"a": "1"}})
            await call(two, "PATCH", url, {"data": {"a": "2"}}, **merge)
            # nothing changes by this, unless one looks at the object as it was before
            assert (await call(one, "PATCH", url, {"data": {"a": "1"}}, **merge))[1]["data"] == {"a": "1"}
            assert (await call(two, "GET", url))[1]["data"] == {"a": "1"}
            await call(two, "DELETE", url)
            assert (await call(one, "POST", CONFIGMAPS, {"metadata": {"name": name}}))[0] == 201
            service = {"metadata": {"name": name}, "spec": {"clusterIP": "10.96.0.99", "ports": [{"port": 80}]}}
            assert (await call(one, "POST", SERVICES, service))[0] == 201
            await call(two, "DELETE", f"{SERVICES}/{name}")


async def test_a_name_is_given_to_one_of_many_that_want_it(pair: tuple[ApiServerProcess, ApiServerProcess]) -> None:
    async with client(pair[0]) as one, client(pair[1]) as two:
        for number in range(10):
            body = {"metadata": {"name": f"only{number}"}}
            answers = await asyncio.gather(
                *(call((one, two)[attempt % 2], "POST", CONFIGMAPS, body) for attempt in range(8))
            )
            assert sorted(status for status, _ in answers) == [201] + [409] * 7


async def test_servers_that_start_together_make_the_same_beginning(nats_server: NatsServer, tmp_path: Path) -> None:
    servers = [ApiServerProcess(nats_server, tmp_path) for _ in range(3)]
    with contextlib.ExitStack() as stack:
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
        for server in servers:
            stack.callback(server.stop)
        async with client(servers[0]) as session:
            _, roles = await call(session, "GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles")
            names = [one["metadata"]["name"] for one in roles["items"]]
            assert "cluster-admin" in names
            assert len(names) == len(set(names))
            status, service = await call(session, "GET", f"{SERVICES}/kubernetes")
            assert (status, service["spec"]["clusterIP"]) == (200, "10.96.0.1")
