"""The short way of a get answers what the long way answers, in turn, and only to those who still may have it."""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.apiserver.http import HttpServer, gets
from services.apiserver.http.connection import Connection
from shared.identity import tokens
from shared.identity.users import MASTERS
from shared.state import barriers
from tests.unit.services.apiserver.memory_api import MemoryApi
from tests.unit.services.apiserver.test_connection import Pipe

MAPS = "/api/v1/namespaces/default/configmaps"
ANSWER = re.compile(rb"HTTP/1\.1 (\d+) .*?Content-Length: (\d+)(?:\r\n[^\r\n]+)*\r\n\r\n", re.DOTALL)


class CertifiedPipe(Pipe):
    """A connection whose client showed a certificate."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"peercert": {"subject": ((("commonName", "carol"),),)}, "ssl_object": self}
        return known.get(name, default)

    def getpeercert(self, binary_form: bool) -> bytes:
        """As `ssl.SSLObject` has it."""
        assert binary_form
        return b"DER"


class Client:
    def __init__(self, server: HttpServer, token: str, pipe: Pipe | None = None) -> None:
        self.pipe = pipe or Pipe()
        self.token = token
        self.connection = Connection(server)
        self.connection.connection_made(self.pipe)

    def request(self, path: str, headers: str = "") -> bytes:
        credentials = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return f"GET {path} HTTP/1.1\r\nHost: x\r\n{credentials}{headers}\r\n".encode()

    async def answers(self, count: int) -> list[tuple[int, bytes]]:
        """Code and body of the next answers."""
        found: list[tuple[int, bytes]] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                match = ANSWER.match(self.pipe.written)
                if match is None or len(self.pipe.written) < match.end() + int(match.group(2)):
                    self.pipe.changed.clear()
                    await self.pipe.changed.wait()
                    continue
                end = match.end() + int(match.group(2))
                found.append((int(match.group(1)), bytes(self.pipe.written[match.end() : end])))
                del self.pipe.written[:end]
        return found

    async def get(self, path: str, headers: str = "") -> tuple[int, bytes]:
        self.connection.data_received(self.request(path, headers))
        return (await self.answers(1))[0]


class Short:
    """Counts what was served the short way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.served = 0
        serve = gets.Gets.serve

        def counting(self_: gets.Gets, client: gets.Client, data: bytes) -> bool:
            served = serve(self_, client, data)
            self.served += served
            return served

        monkeypatch.setattr(gets.Gets, "serve", counting)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Short:
    return Short(monkeypatch)


@asynccontextmanager
async def serving(api: MemoryApi) -> AsyncIterator[HttpServer]:
    server = HttpServer(api.parts.pipeline, api.parts.authenticator)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run())
        await asyncio.sleep(0)
        yield server
        await server.close()
        task.cancel()


def admin(api: MemoryApi) -> str:
    return tokens.issue(api.key, "admin", [MASTERS], 3600)


async def test_the_second_get_goes_the_short_way_and_has_the_same_answer(api: MemoryApi, short: Short) -> None:
    await api.create(MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
    async with serving(api) as server:
        client = Client(server, admin(api))
        for query in ("", "?resourceVersion=0"):
            first = await client.get(MAPS + "/a" + query)
            before = short.served
            assert first[0] == 200
            assert await client.get(MAPS + "/a" + query) == first
            assert short.served == before + 1


async def test_a_get_shows_what_was_written_before_it(api: MemoryApi, short: Short) -> None:
    await api.create(MAPS, {"metadata": {"name": "a"}, "data": {"k": "0"}})
    async with serving(api) as server:
        client = Client(server, admin(api))
        for number in range(5):
            await api.patch(MAPS + "/a", {"data": {"k": f"value {number}"}})
            assert f"value {number}".encode() in (await client.get(MAPS + "/a"))[1]
    assert short.served == 4


UNUSUAL = [
    (MAPS + "/absent", ""),
    (MAPS + "/a?resourceVersion=x", ""),
    (MAPS + "/a", "Accept: application/yaml\r\n"),
    (MAPS + "/a", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n"),
    (MAPS + "/a/status", ""),
    ("/api/v1/namespaces/default/endpoints/a", ""),
    ("/api/v1/nothing/a", ""),
    ("/version", ""),
    (MAPS + "/%61", ""),
]


async def test_what_is_unusual_is_answered_alike_each_time(api: MemoryApi) -> None:
    await api.create(MAPS, {"metadata": {"name": "a"}})
    async with serving(api) as server:
        client = Client(server, admin(api))
        for path, headers in UNUSUAL:
            await client.get(MAPS + "/a", headers)
            (code, body), again = await client.get(path, headers), await client.get(path, headers)
            # the age of a row grows
            assert (code, re.sub(rb'"\d+s"', b'"s"', body)) == (again[0], re.sub(rb'"\d+s"', b'"s"', again[1]))


async def test_each_answer_has_an_id_and_a_chosen_one_is_kept(api: MemoryApi) -> None:
    await api.create(MAPS, {"metadata": {"name": "a"}})
    async with serving(api) as server:
        client = Client(server, admin(api))
        found = []
        for headers in ("", "", "Audit-Id: mine\r\n", "Audit-Id: mine\r\n"):
            client.connection.data_received(client.request(MAPS + "/a", headers))
            async with asyncio.timeout(10):
                while b"\r\n\r\n" not in client.pipe.written:
                    client.pipe.changed.clear()
                    await client.pipe.changed.wait()
            found.append(bytes(client.pipe.written).split(b"Audit-Id: ")[1].split(b"\r\n")[0])
            await client.answers(1)
        assert len(set(found)) == 3
        assert found[2:] == [b"mine", b"mine"]
        assert len(found[1]) == 36


async def test_requests_that_come_while_a_get_waits_are_answered_after_it(api: MemoryApi, short: Short) -> None:
    for name in ("a", "b"):
        await api.create(MAPS, {"metadata": {"name": name}})
    async with serving(api) as server:
        client = Client(server, admin(api))
        await client.get(MAPS + "/a")
        before = short.served
        wanted = ["a", "b", "absent", "a"]
        for name in wanted:
            client.connection.data_received(client.request(f"{MAPS}/{name}"))
        answers = await client.answers(4)
        assert [code for code, _ in answers] == [200, 200, 404, 200]
        assert all(f'"{name}"'.encode() in body for name, (_, body) in zip(wanted, answers, strict=True))
        assert short.served == before + 1
        assert (await client.get(MAPS + "/b"))[0] == 200


async def test_who_may_no_longer_read_is_refused(api: MemoryApi, short: Short) -> None:
    rules = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    await api.create(MAPS, {"metadata": {"name": "a"}})
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    await api.create(f"{rules}/roles", {"metadata": {"name": "reader"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    }
    await api.create(f"{rules}/rolebindings", binding)
    async with serving(api) as server:
        client = Client(server, tokens.issue(api.key, "bob", [], 3600))
        assert [(await client.get(MAPS + "/a"))[0] for _ in range(2)] == [200, 200]
        assert short.served == 1
        await api.delete(f"{rules}/rolebindings/reader")
        assert (await client.get(MAPS + "/a"))[0] == 403


async def test_a_token_is_not_good_for_longer_than_its_account_or_its_time(
    api: MemoryApi, short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.create(MAPS, {"metadata": {"name": "a"}})
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    account = await api.create(accounts, {"metadata": {"name": "robot"}})
    uid = account["metadata"]["uid"]
    token = tokens.issue_service_account(api.key, namespace="default", name="robot", uid=uid, ttl=3600)
    async with serving(api) as server:
        robot, human = Client(server, token), Client(server, admin(api))
        # it is known, and allowed nothing
        assert [(await robot.get(MAPS + "/a"))[0] for _ in range(2)] == [403, 403]
        await api.delete(f"{accounts}/robot")
        assert (await robot.get(MAPS + "/a"))[0] == 401
        assert [(await human.get(MAPS + "/a"))[0] for _ in range(2)] == [200, 200]
        assert short.served == 1
        present = time.time()
        monkeypatch.setattr(time, "time", lambda: present + 4000)
        await human.get(MAPS + "/a")
        assert short.served == 1


async def test_a_certificate_counts_before_what_is_known_of_a_head(api: MemoryApi) -> None:
    await api.create(MAPS, {"metadata": {"name": "a"}})
    async with serving(api) as server:
        other, certified = Client(server, admin(api)), Client(server, admin(api), CertifiedPipe())
        assert [(await other.get(MAPS + "/a"))[0] for _ in range(2)] == [200, 200]
        code, body = await certified.get(MAPS + "/a")
        assert code == 403
        assert b"carol" in body
        assert (await certified.get(MAPS + "/a"))[0] == 403


async def test_a_certificate_is_told_from_others_of_the_same_user(api: MemoryApi) -> None:
    async with serving(api) as server:
        certified = Client(server, admin(api), CertifiedPipe())
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        certified.connection.data_received(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        ((code, body),) = await certified.answers(1)
        assert code == 201
        user = json.loads(body)["status"]["userInfo"]
        digest = hashlib.sha256(b"DER").hexdigest()
        assert user["extra"] == {"authentication.kubernetes.io/credential-id": [f"X509SHA256={digest}"]}


async def test_a_get_whose_barrier_is_lost_goes_the_long_way(
    api: MemoryApi, short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barriers, "LIMIT_S", 0.05)
    await api.create(MAPS, {"metadata": {"name": "a"}})
    async with serving(api) as server:
        client = Client(server, admin(api))
        await client.get(MAPS + "/a")
        api.parts.store.state.cache.barriers = barriers.Barriers(lambda data: None)
        before = short.served
        assert (await client.get(MAPS + "/a"))[0] == 200
        assert short.served == before + 1
        assert (await client.get(MAPS + "/a"))[0] == 200
        assert short.served == before + 1
