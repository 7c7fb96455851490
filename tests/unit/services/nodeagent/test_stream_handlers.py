"""exec, attach, logs and port-forward between a client on the bus and a fake container."""

import asyncio
import os
import socket

import pytest

from services.nodeagent.runtime.client import StartError
from services.nodeagent.runtime.sessions import AttachSession, ExecSession
from services.nodeagent.streams import Streams
from shared.bus.fake import FakeBroker
from shared.bus.streams import StreamServer, open_stream
from shared.errors import BadRequest, InternalError, NotFound
from tests.fakes.nodes import eventually, fake_node
from tests.fakes.podlife import container, pod

POD = {"namespace": "default", "pod": "p", "uid": "u1"}


class Process:
    """A session's other end: what a process inside the container would read and write."""

    def __init__(self, *, stdin=False, exec_=True):
        self.sent = []
        fds = {}
        self.stdout_fd = self._pipe(fds, "stdout")
        self.stderr_fd = self._pipe(fds, "stderr")
        self.stdin_fd = -1
        if stdin:
            self.stdin_fd, fds["stdin"] = os.pipe()
        if exec_:
            self.session = ExecSession(1, 2, fds, lambda call, args: self.sent.append(call))
        else:
            self.session = AttachSession(1, fds, lambda call, args: self.sent.append(call))

    @staticmethod
    def _pipe(fds, name):
        fds[name], write = os.pipe()
        return write

    def write(self, data, fd=None):
        os.write(self.stdout_fd if fd is None else fd, data)

    def exit(self, code):
        self.session.finish(code)

    def close(self):
        for fd in (self.stdout_fd, self.stderr_fd, self.stdin_fd):
            if fd >= 0:
                os.close(fd)


class Sessions:
    def __init__(self):
        self.process = None
        self.error = None
        self.calls = []

    async def exec(self, container_id, argv, *, tty=False, stdin=False):
        self.calls.append((argv, tty, stdin))
        if self.error:
            raise self.error
        self.process = Process(stdin=stdin)
        return self.process.session

    async def attach(self, container_id, *, stdin=True):
        self.process = Process(stdin=stdin, exec_=False)
        return self.process.session


class Rig:
    """A node with a running pod, and a client on the same bus."""

    def __init__(self, node, client, sessions):
        self.node, self.client, self.sessions = node, client, sessions

    async def open(self, op, **params):
        return await open_stream(self.client, "n1", op, {**POD, **params})


@pytest.fixture
async def rig(tmp_path):
    async with FakeBroker() as broker, fake_node(tmp_path) as node:
        node.create(pod(container("web"), container("other")))
        await node.wait_phase("Running")
        sessions = Sessions()
        streams = Streams(node.manager, sessions, "n1")
        agent, client = broker.connect("node-n1"), broker.connect("apiserver")
        server = asyncio.create_task(StreamServer(agent, "n1", streams.handlers()).run(), name="streams")
        await asyncio.sleep(0.01)
        try:
            yield Rig(node, client, sessions)
        finally:
            server.cancel()
            await asyncio.wait([server])
            if sessions.process:
                sessions.process.close()
            for bus in (agent, client):
                await bus.close()


async def drain(stream):
    out = {1: b"", 2: b""}
    async for channel, data in stream:
        out[channel] += data
    await stream.close()
    return out[1], out[2]


async def test_exec_carries_both_outputs_and_ends_with_success(rig):
    stream = await rig.open("exec", command=["ls"], stdout=True)
    process = await eventually(lambda: rig.sessions.process, "the process")
    process.write(b"out")
    process.write(b"err", process.stderr_fd)
    process.exit(0)
    assert await drain(stream) == (b"out", b"err")
    assert stream.status["status"] == "Success"
    assert rig.sessions.calls == [(["ls"], False, False)]


async def test_exec_tells_the_exit_code(rig):
    stream = await rig.open("exec", command=["false"], stdout=True)
    (await eventually(lambda: rig.sessions.process, "the process")).exit(3)
    await drain(stream)
    assert stream.status["reason"] == "NonZeroExitCode"
    assert stream.status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_a_child_that_keeps_the_pipes_does_not_hold_up_the_end(rig):
    stream = await rig.open("exec", command=["sh"], stdout=True)
    process = await eventually(lambda: rig.sessions.process, "the process")
    process.write(b"x" * 60_000)
    process.exit(0)
    assert await drain(stream) == (b"x" * 60_000, b"")


async def test_exec_passes_input_on_and_ends_it(rig):
    stream = await rig.open("exec", command=["cat"], stdin=True, stdout=True)
    process = await eventually(lambda: rig.sessions.process, "the process")
    await stream.send(0, b"hello")
    await stream.send(255, bytes([0]))
    read = asyncio.to_thread(lambda: (os.read(process.stdin_fd, 100), os.read(process.stdin_fd, 100)))
    assert await read == (b"hello", b"")
    process.exit(0)
    await drain(stream)


async def test_a_client_that_leaves_ends_the_process(rig):
    stream = await rig.open("exec", command=["sleep"], stdout=True)
    process = await eventually(lambda: rig.sessions.process, "the process")
    await stream.close()
    await eventually(lambda: "exec_signal" in process.sent, "the kill")
    process.exit(137)


async def test_a_program_that_cannot_start_is_an_error_on_the_stream(rig):
    rig.sessions.error = StartError('exec: "nope": executable file not found in $PATH', 127)
    stream = await rig.open("exec", command=["nope"], stdout=True)
    await drain(stream)
    assert stream.status["status"] == "Failure"
    assert "executable file not found" in stream.status["message"]


async def test_a_container_that_does_not_run_is_an_error_on_the_stream(rig):
    state = rig.node.runtime.running("web")
    rig.node.images.missing.add("web:1")
    rig.node.runtime.exit(state.id, 1)
    await eventually(lambda: not rig.node.manager.find("default", "p").record.container("web").running, "the end")
    stream = await rig.open("exec", command=["ls"], stdout=True)
    await drain(stream)
    assert 'container not found ("web")' in stream.status["message"]


async def test_unknown_pods_and_containers_are_refused(rig):
    with pytest.raises(NotFound):
        await open_stream(rig.client, "n1", "exec", {**POD, "uid": "u9", "command": ["ls"]})
    with pytest.raises(BadRequest, match="container nope is not valid for pod p"):
        await rig.open("exec", container="nope", command=["ls"])
    with pytest.raises(BadRequest, match="at least 1 command"):
        await rig.open("exec", command=[])


async def test_attach_follows_until_the_output_ends(rig):
    stream = await rig.open("attach", stdout=True)
    process = await eventually(lambda: rig.sessions.process, "the session")
    process.write(b"live")
    os.close(process.stdout_fd)
    os.close(process.stderr_fd)
    process.stdout_fd = process.stderr_fd = -1
    assert await drain(stream) == (b"live", b"")


def write_log(node, name, attempt, *texts):
    path = node.layout.pod("default", "p", "u1").log(name, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(f"2026-11-24T08:15:35.000000000Z stdout F {text}\n" for text in texts)


async def test_logs_are_those_of_the_container_asked_for(rig):
    write_log(rig.node, "web", 0, "one", "two")
    write_log(rig.node, "other", 0, "three")
    assert (await drain(await rig.open("logs", container="web")))[0] == b"one\ntwo\n"
    assert (await drain(await rig.open("logs", container="other", tailLines=1)))[0] == b"three\n"


async def test_followed_logs_end_with_the_container(rig):
    write_log(rig.node, "web", 0, "one")
    stream = await rig.open("logs", container="web", follow=True)
    first = await anext(stream)
    assert first == (1, b"one\n")
    write_log(rig.node, "web", 0, "last words")
    rig.node.runtime.exit(rig.node.runtime.running("web").id, 0)
    assert (await drain(stream))[0] == b"last words\n"


async def test_previous_logs_are_those_of_the_attempt_before(rig):
    with pytest.raises(BadRequest, match='previous terminated container "web"'):
        await rig.open("logs", container="web", previous=True)
    write_log(rig.node, "web", 0, "before")
    rig.node.runtime.exit(rig.node.runtime.running("web").id, 0)
    await eventually(lambda: rig.node.status()["containerStatuses"][0]["restartCount"] == 1, "a restart")
    write_log(rig.node, "web", 1, "now")
    assert (await drain(await rig.open("logs", container="web", previous=True)))[0] == b"before\n"
    assert (await drain(await rig.open("logs", container="web")))[0] == b"now\n"


async def test_logs_of_a_container_that_waits_say_so(rig):
    obj = pod(container("late"))
    obj["metadata"].update(name="q", uid="u2")
    rig.node.images.missing.add("late:1")
    rig.node.create(obj)
    await eventually(lambda: rig.node.manager.find("default", "q"), "the worker")
    with pytest.raises(BadRequest, match='container "late" in pod "q" is waiting to start'):
        await open_stream(rig.client, "n1", "logs", {"namespace": "default", "pod": "q", "uid": "u2"})


async def test_port_forward_connects_inside_the_pod_s_network(rig, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inside = socket.socket()
        inside.setblocking(False)
        monkeypatch.setattr("services.nodeagent.streams._socket_in", lambda path: inside)
        stream = await rig.open("portforward", port=listener.getsockname()[1])
        peer, _ = await asyncio.to_thread(listener.accept)
        with peer:
            await stream.send(0, b"ping")
            assert await asyncio.to_thread(peer.recv, 10) == b"ping"
            peer.sendall(b"pong")
            assert await anext(stream) == (1, b"pong")
            await stream.send(255, bytes([0]))
            assert await asyncio.to_thread(peer.recv, 10) == b""
    await drain(stream)
    assert stream.status["status"] == "Success"


async def test_a_port_on_which_nobody_listens_is_an_error(rig, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    inside = socket.socket()
    inside.setblocking(False)
    monkeypatch.setattr("services.nodeagent.streams._socket_in", lambda path: inside)
    with pytest.raises(InternalError, match=f"failed to connect to localhost:{port} .* connection refused"):
        await rig.open("portforward", port=port)
