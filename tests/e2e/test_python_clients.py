"""The Python clients that people write programs with: the official one and kr8s, with nothing but the kubeconfig."""

from __future__ import annotations

import gc
import urllib.request
from collections.abc import Iterator
from typing import Any

import kr8s
import kr8s.asyncio
import kr8s.asyncio.objects
import pytest
from kr8s.objects import ConfigMap, Deployment, Pod
from kubernetes import client, config, dynamic, watch
from kubernetes.stream import portforward, stream

from tests.e2e.harness import Kubectl, deployment, pod, until

SERVER = "echo started; exec httpd -f -p 8080 -h /srv"
# the two clients leave the closing of their connections to the garbage collector, and kr8s warns of new versions
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning"),
]


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a client left to the garbage collector goes within the test, where warnings of it are expected."""
    yield
    gc.collect()


@pytest.fixture
def api(kubectl: Kubectl) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(kubectl.kubeconfig)) as made:
        yield made


@pytest.fixture
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture
def server(kubectl: Kubectl) -> str:
    """The name of a pod that is ready and listens on 8080."""
    kubectl.apply(pod("server", SERVER))
    kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=60s")
    return "server"


@pytest.fixture
def small(kubectl: Kubectl) -> Any:
    """kr8s, synchronous."""
    return kr8s.api(kubeconfig=str(kubectl.kubeconfig), namespace=kubectl.namespace)


@pytest.fixture
async def small_async(kubectl: Kubectl) -> Any:
    """kr8s, asynchronous."""
    return await kr8s.asyncio.api(kubeconfig=str(kubectl.kubeconfig), namespace=kubectl.namespace)


def test_the_official_client_creates_reads_lists_patches_and_deletes(core: client.CoreV1Api, kubectl: Kubectl) -> None:
    place = kubectl.namespace
    made = core.create_namespaced_config_map(place, config_map("c", a="1"))
    assert core.read_namespaced_config_map("c", place).data == {"a": "1"}
    assert core.patch_namespaced_config_map("c", place, {"data": {"b": "2"}}).data == {"a": "1", "b": "2"}
    made.data = {"z": "26"}
    with pytest.raises(client.ApiException) as stale:
        core.replace_namespaced_config_map("c", place, made)
    assert stale.value.status == 409
    assert "c" in [one.metadata.name for one in core.list_namespaced_config_map(place).items]
    # what a deletion answers depends on the object, so this client hands it over as it is
    assert core.delete_namespaced_config_map("c", place)["status"] == "Success"
    with pytest.raises(client.ApiException) as gone:
        core.read_namespaced_config_map("c", place)
    assert gone.value.status == 404


def test_the_official_client_watches_from_a_version_on(core: client.CoreV1Api, kubectl: Kubectl) -> None:
    place = kubectl.namespace
    core.create_namespaced_config_map(place, config_map("before"))
    version = core.list_namespaced_config_map(place).metadata.resource_version
    core.create_namespaced_config_map(place, config_map("after"))
    core.delete_namespaced_config_map("after", place)
    watching = watch.Watch()
    seen = []
    for event in watching.stream(
        core.list_namespaced_config_map,
        place,
        resource_version=version,
        field_selector="metadata.name!=kube-root-ca.crt",
        timeout_seconds=30,
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            watching.stop()
    assert seen == [("ADDED", "after"), ("DELETED", "after")]


def test_the_dynamic_client_applies_and_watches(api: client.ApiClient, kubectl: Kubectl) -> None:
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    place = kubectl.namespace
    maps.server_side_apply(namespace=place, name="c", body=config_map("c", a="1"), field_manager="ours")
    read = maps.get(namespace=place, name="c")
    assert read.data.a == "1"
    assert [(one.manager, one.operation) for one in read.metadata.managedFields] == [("ours", "Apply")]
    with pytest.raises(dynamic.exceptions.ConflictError):
        maps.server_side_apply(namespace=place, name="c", body=config_map("c", a="2"), field_manager="theirs")
    events = maps.watch(namespace=place, name="c", timeout=10)
    assert next(iter(events))["object"].data.a == "1"


def test_the_official_client_reads_logs_and_runs_commands(
    core: client.CoreV1Api, kubectl: Kubectl, server: str
) -> None:
    assert core.read_namespaced_pod_log(server, kubectl.namespace) == "started\n"
    flags = {"stdin": True, "stdout": True, "stderr": True, "tty": False}
    script = "read line; echo got $line; echo bad >&2; exit 3"
    session = stream(
        core.connect_get_namespaced_pod_exec,
        server,
        kubectl.namespace,
        command=["sh", "-c", script],
        _preload_content=False,
        **flags,
    )
    # text goes out as frames of text, not of bytes
    session.write_stdin("this\n")
    session.run_forever(timeout=30)
    assert (session.read_stdout(), session.read_stderr(), session.returncode) == ("got this\n", "bad\n", 3)
    session.close()


def test_the_official_client_forwards_a_port(core: client.CoreV1Api, kubectl: Kubectl, server: str) -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, server, kubectl.namespace, ports="8080")
    socket = forward.socket(8080)
    socket.setblocking(True)
    socket.settimeout(30)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert socket.recv(4096).startswith(b"HTTP/1.")
    assert forward.error(8080) is None
    socket.close()
    forward.close()


def test_the_official_client_reaches_a_service_through_the_proxy(
    core: client.CoreV1Api, kubectl: Kubectl, server: str
) -> None:
    kubectl("exec", server, "--", "sh", "-c", "mkdir -p /srv; echo content > /srv/page.txt")
    kubectl("expose", "pod", server, "--name=web", "--port=80", "--target-port=8080")
    place, path = kubectl.namespace, "page.txt"
    assert core.connect_get_namespaced_pod_proxy_with_path(f"{server}:8080", place, path) == "content\n"

    def has_endpoint() -> bool:
        return any(one["endpoints"] for one in kubectl.json("get", "endpointslices", "-l", selector)["items"])

    selector = "kubernetes.io/service-name=web"
    until(has_endpoint, "the service to have an endpoint")
    assert core.connect_get_namespaced_service_proxy_with_path("http:web:80", place, path) == "content\n"


def test_kr8s_creates_scales_and_deletes(small: Any, kubectl: Kubectl) -> None:
    web = Deployment(deployment("web") | {"metadata": {"name": "web", "namespace": kubectl.namespace}}, api=small)
    web.create()
    assert [one.name for one in small.get("deployments", namespace=kubectl.namespace)] == ["web"]
    web.scale(2)
    web.refresh()
    assert web.replicas == 2
    web.delete()
    until(lambda: not web.exists(), "the deployment to be gone")


def test_kr8s_watches_what_it_is_given(small: Any, kubectl: Kubectl) -> None:
    made = ConfigMap(config_map("c", a="1") | {"metadata": {"name": "c", "namespace": kubectl.namespace}}, api=small)
    made.create()
    for kind, seen in small.watch("configmaps", namespace=kubectl.namespace):
        if seen.name == "c":
            assert (kind, seen.data.a) == ("ADDED", "1")
            break


def test_kr8s_runs_commands_and_forwards_ports(small: Any, kubectl: Kubectl, server: str) -> None:
    found = Pod.get(server, namespace=kubectl.namespace, api=small)
    assert found.ready()
    assert list(found.logs()) == ["started"]
    assert found.exec(["sh", "-c", "echo hello"]).stdout == b"hello\n"
    found.exec(["sh", "-c", "mkdir -p /srv; echo content > /srv/page.txt"])
    with (
        found.portforward(8080, local_port="auto") as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/page.txt", timeout=30) as page,
    ):
        assert page.read() == b"content\n"


async def test_kr8s_without_blocking(small_async: Any, kubectl: Kubectl, server: str) -> None:
    place = kubectl.namespace
    objects = kr8s.asyncio.objects
    body = config_map("c", a="1") | {"metadata": {"name": "c", "namespace": place}}
    made = await objects.ConfigMap(body, api=small_async)
    await made.create()
    await made.patch({"data": {"b": "2"}})
    assert made.data == {"a": "1", "b": "2"}
    async for kind, seen in small_async.watch("configmaps", namespace=place):
        if seen.name == "c":
            assert kind == "ADDED"
            break
    found = await objects.Pod.get(server, namespace=place, api=small_async)
    assert (await found.exec(["sh", "-c", "echo hello"])).stdout == b"hello\n"
    await made.delete()
    assert not await made.exists()
