"""Single checks against real sockets, and how outcomes become results."""

import asyncio
import struct

import pytest

from services.nodeagent.probes import grpc, http
from services.nodeagent.probes.prober import Outcome, Prober, Target, container_ports
from services.nodeagent.probes.schedule import ContainerProbes
from services.nodeagent.probes.streak import Streak, Timing
from tests.fakes.nodes import eventually


class Server:
    """A TCP server that answers every connection with the same bytes, and keeps what it was sent."""

    def __init__(self, answer, *, until=b"\r\n\r\n"):
        self.answer, self.until, self.heard = answer, until, b""

    async def __aenter__(self):
        self.conversations = set()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info):
        self.server.close()
        await self.server.wait_closed()
        await eventually(lambda: not self.conversations, "the end of every connection")

    async def _serve(self, reader, writer):
        self.conversations.add(writer)
        try:
            self.heard = await reader.readuntil(self.until)
            if self.answer is not None:
                writer.write(self.answer)
                await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort()
            self.conversations.discard(writer)
            # the transport closes its socket in the next turn of the loop
            await asyncio.sleep(0)


def prober():
    return Prober(runtime=None)


def target(port=0):
    return Target("id", "127.0.0.1", {"http": port})


async def check(action, port, timeout=5.0):
    return await prober().check(action, target(port), timeout)


async def test_any_code_from_200_to_399_is_success():
    for code, expected in ((200, True), (204, True), (399, True), (400, False), (503, False)):
        async with Server(f"HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n".encode()) as server:
            outcome = await check({"httpGet": {"port": "http", "path": "/x"}}, server.port)
        assert outcome.success is expected
        if not expected:
            assert outcome.message == f"HTTP probe failed with statuscode: {code}"


async def test_the_request_is_kubelet_s():
    async with Server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as server:
        headers = [{"name": "X-A", "value": "1"}, {"name": "Host", "value": "named.example"}]
        await check({"httpGet": {"port": server.port, "path": "/p?q=1", "httpHeaders": headers}}, server.port)
    text = server.heard.decode()
    assert text.startswith("GET /p?q=1 HTTP/1.1\r\n")
    assert "Host: named.example\r\n" in text
    assert text.count("Host:") == 1
    assert "X-A: 1\r\n" in text
    assert "User-Agent: kube-probe/" in text
    assert "Connection: close\r\n" in text


async def test_a_header_cannot_smuggle_another():
    async with Server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as server:
        await http.get(f"http://127.0.0.1:{server.port}/", [("X", "a\r\nEvil: 1")])
    assert b"Evil" not in server.heard


async def test_chunked_bodies_are_read():
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with Server(answer) as server:
        assert (await http.get(f"http://127.0.0.1:{server.port}/")).body == b"abcde"


async def test_a_long_body_is_cut():
    async with Server(b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000) as server:
        assert len((await http.get(f"http://127.0.0.1:{server.port}/")).body) == http.BODY_LIMIT


async def test_a_redirect_to_the_same_host_is_followed_and_another_is_not():
    async with Server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as end:
        location = f"Location: http://127.0.0.1:{end.port}/\r\n"
        async with Server(f"HTTP/1.1 302 X\r\n{location}Content-Length: 0\r\n\r\n".encode()) as server:
            assert (await http.get(f"http://127.0.0.1:{server.port}/")).body == b"ok"
    answer = b"HTTP/1.1 302 X\r\nLocation: http://other.example/\r\nContent-Length: 0\r\n\r\n"
    async with Server(answer) as server:
        assert (await http.get(f"http://127.0.0.1:{server.port}/")).code == 302


async def test_a_refused_connection_reads_as_in_go(unused_port):
    outcome = await check({"httpGet": {"port": unused_port, "path": "/"}}, unused_port)
    assert outcome.message == (
        f'Get "http://127.0.0.1:{unused_port}/": dial tcp 127.0.0.1:{unused_port}: connect: connection refused'
    )


async def test_a_silent_server_runs_into_the_time_limit():
    async with Server(None) as server:
        outcome = await check({"httpGet": {"port": server.port}}, server.port, timeout=0.05)
    assert not outcome.success
    assert "context deadline exceeded" in outcome.message


async def test_garbage_is_no_http():
    async with Server(b"SSH-2.0-x\r\n\r\n") as server:
        assert "malformed HTTP response" in (await check({"httpGet": {"port": server.port}}, server.port)).message


async def test_an_open_port_is_success_and_a_closed_one_is_not(unused_port):
    async with Server(None) as server:
        assert (await check({"tcpSocket": {"port": server.port}}, 0)).success
    outcome = await check({"tcpSocket": {"port": unused_port}}, 0)
    assert outcome.message == f"dial tcp 127.0.0.1:{unused_port}: connect: connection refused"


async def test_an_unknown_port_name_says_nothing_about_the_container():
    outcome = await check({"tcpSocket": {"port": "nope"}}, 0)
    assert outcome == Outcome(False, 'strconv.Atoi: parsing "nope": invalid syntax', unknown=True)


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def grpc_answer(status):
    message = b"\x08" + bytes([status])
    body = b"\0" + struct.pack(">I", len(message)) + message
    return frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678") + frame(1, 4, 1, b"\x88") + frame(0, 0, 1, body)


async def test_a_serving_grpc_service_is_success():
    end = frame(0, 1, 1, b"\0\0\0\0\x06\x0a\x04live")
    async with Server(grpc_answer(1), until=end) as server:
        assert (await check({"grpc": {"port": server.port, "service": "live"}}, 0)).success
    assert server.heard.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert b"/grpc.health.v1.Health/Check" in server.heard


async def test_a_grpc_service_that_is_not_serving_is_a_failure():
    async with Server(grpc_answer(2), until=frame(0, 1, 1, b"\0\0\0\0\0")) as server:
        outcome = await check({"grpc": {"port": server.port}}, 0)
    assert outcome == Outcome(False, 'service unhealthy (responded with "NOT_SERVING")')


async def test_a_server_without_the_health_service_is_a_failure():
    answer = frame(4, 0, 0, b"") + frame(1, 5, 1, b"\x88")
    async with Server(answer, until=frame(0, 1, 1, b"\0\0\0\0\0")) as server:
        with pytest.raises(grpc.GrpcFailure, match="does not implement"):
            await grpc.check("127.0.0.1", server.port, "", "1s")


def test_named_ports_are_found():
    assert container_ports({"ports": [{"name": "http", "containerPort": 80}, {"containerPort": 81}]}) == {"http": 80}


# results


def streak(success=1, failure=3):
    return Streak(Timing(0, 10, 1, success, failure))


def test_failures_count_only_in_a_row():
    counted = streak()
    outcomes = [False, False, True, False, False, False]
    assert [counted.observe(o) for o in outcomes] == [None, None, True, None, None, False]


def test_successes_may_have_to_repeat():
    counted = streak(success=2)
    assert [counted.observe(o) for o in (True, False, True, True)] == [None, None, None, True]


def test_a_probe_s_defaults_are_the_api_s():
    assert Timing.of({}) == Timing(0, 10, 1, 1, 3)


class Checks:
    """A prober that is told its outcomes."""

    def __init__(self, **outcomes):
        self.outcomes = outcomes
        self.seen = []

    async def check(self, action, target, timeout_s):
        self.seen.append(action["kind"])
        outcome = self.outcomes.get(action["kind"], True)
        return Outcome(bool(outcome), unknown=outcome is None)


async def probes(checks, *, started=False, **kinds):
    spec = {"name": "c", **{f"{kind}Probe": {"kind": kind, **fields} for kind, fields in kinds.items()}}
    sleeps = []

    async def sleep(seconds):
        sleeps.append(seconds)
        await asyncio.sleep(0)

    changed = []
    probed = ContainerProbes(
        checks, spec, target(), lambda: changed.append(1), lambda kind, outcome: None, started=started, sleep=sleep
    )
    return probed, sleeps, changed


async def test_liveness_and_readiness_wait_for_startup():
    checks = Checks(startup=False)
    probed, _, _ = await probes(checks, startup={"failureThreshold": 10**9}, liveness={}, readiness={})
    async with asyncio.TaskGroup() as group:
        probed.start(group)
        await eventually(lambda: len(checks.seen) > 20, "checks")
        assert set(checks.seen) == {"startup"}
        checks.outcomes["startup"] = True
        await eventually(lambda: probed.result.readiness and probed.result.liveness, "results")
        probed.stop()


async def test_a_failed_startup_probe_settles_and_stops():
    probed, _, changed = await probes(Checks(startup=False), startup={"failureThreshold": 2})
    async with asyncio.TaskGroup() as group:
        probed.start(group)
    assert probed.result.startup is False
    assert changed == [1]


async def test_a_check_that_could_not_be_carried_out_is_not_counted():
    checks = Checks(liveness=None)
    probed, _, _ = await probes(checks, liveness={"failureThreshold": 1})
    async with asyncio.TaskGroup() as group:
        probed.start(group)
        await eventually(lambda: len(checks.seen) > 5, "checks")
        assert probed.result.liveness is None
        checks.outcomes["liveness"] = False
    assert probed.result.liveness is False


async def test_the_initial_delay_and_the_period_are_kept():
    checks = Checks(liveness=False)
    probed, sleeps, _ = await probes(
        checks, liveness={"initialDelaySeconds": 7, "periodSeconds": 5, "failureThreshold": 3}
    )
    async with asyncio.TaskGroup() as group:
        probed.start(group)
    assert sleeps == [7, 5, 5]
    assert probed.result.liveness is False


async def test_a_container_that_had_started_before_is_not_asked_again():
    checks = Checks()
    probed, _, _ = await probes(checks, started=True, startup={}, readiness={})
    assert probed.result.startup is True
    async with asyncio.TaskGroup() as group:
        probed.start(group)
        await eventually(lambda: probed.result.readiness, "readiness")
        probed.stop()
    assert "startup" not in checks.seen


async def test_a_pod_that_ends_is_only_asked_for_readiness():
    checks = Checks()
    probed, _, _ = await probes(checks, liveness={}, readiness={})
    probed.end_restarts()
    async with asyncio.TaskGroup() as group:
        probed.start(group)
        await eventually(lambda: len(checks.seen) > 5, "checks")
        probed.stop()
    assert set(checks.seen) == {"readiness"}
