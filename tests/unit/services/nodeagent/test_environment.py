"""Environment variables and downward fields of pods."""

import base64
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.nodeagent import envfiles
from services.nodeagent.environment import (
    ConfigurationError,
    NodeFacts,
    container_environment,
    expand,
    format_map,
    pod_field,
    resource_field,
    service_variables,
)
from tests.fakes.podlife import container, pod

NODE = NodeFacts("n1", ("10.0.0.1",), {"cpu": "4", "memory": "8Gi"})


class Objects:
    def __init__(self, **objects):
        self.objects = objects

    def get(self, kind, namespace, name):
        return self.objects.get(f"{kind}_{name}")


def service(name, namespace="default", ip="10.96.0.7", ports=({"port": 80},)):
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": list(ports)}}


def environment(spec, objects=None, services=(), links=True, volumes=None):
    obj = pod(spec, enableServiceLinks=links)
    files = partial(envfiles.read, volumes or {})
    return container_environment(obj, spec, objects or Objects(), services, NODE, ("10.244.0.5",), files)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y2z"),
        ("$(NOPE)", "$(NOPE)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("100%$", "100%$"),
    ],
)
def test_references_expand_as_kubernetes_does(text, expected):
    assert expand(text, {"A": "1", "B": "2"}) == expected


@given(st.text(alphabet="ab ()", max_size=30))
def test_text_without_a_dollar_is_left_alone(text):
    assert expand(text, {"a": "1"}) == text


def test_later_variables_see_earlier_ones_but_not_later_ones():
    variables = [{"name": "A", "value": "$(B)"}, {"name": "B", "value": "b"}, {"name": "C", "value": "$(B)"}]
    assert environment(container("c", env=variables)) == {"A": "$(B)", "B": "b", "C": "b"}


def test_own_variables_win_over_env_from_and_env_from_over_services():
    objects = Objects(configmaps_c={"data": {"WEB_SERVICE_HOST": "from-map", "X": "from-map"}})
    spec = container("c", envFrom=[{"configMapRef": {"name": "c"}}], env=[{"name": "X", "value": "own"}])
    variables = environment(spec, objects, [service("web")])
    assert variables["WEB_SERVICE_HOST"] == "from-map"
    assert variables["X"] == "own"
    assert variables["WEB_SERVICE_PORT"] == "80"


def test_a_prefix_is_put_before_every_key():
    secret = {"data": {"k": base64.b64encode(b"v").decode()}}
    spec = container("c", envFrom=[{"prefix": "P_", "secretRef": {"name": "s"}}])
    assert environment(spec, Objects(secrets_s=secret)) == {"P_k": "v"}


@pytest.mark.parametrize("field", ["configMapRef", "secretRef"])
def test_a_missing_source_is_an_error_unless_optional(field):
    with pytest.raises(ConfigurationError, match='"x" not found'):
        environment(container("c", envFrom=[{field: {"name": "x"}}]))
    assert environment(container("c", envFrom=[{field: {"name": "x", "optional": True}}])) == {}


def test_a_missing_key_is_named():
    source = {"configMapKeyRef": {"name": "c", "key": "nope"}}
    with pytest.raises(ConfigurationError, match="couldn't find key nope in ConfigMap default/c"):
        environment(container("c", env=[{"name": "A", "valueFrom": source}]), Objects(configmaps_c={"data": {}}))


def test_an_optional_key_that_is_missing_leaves_the_variable_out():
    source = {"secretKeyRef": {"name": "s", "key": "nope", "optional": True}}
    assert environment(container("c", env=[{"name": "A", "valueFrom": source}])) == {}


def test_services_become_docker_links():
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    assert service_variables([service("my-web", ports=ports)], "default", True) == {
        "MY_WEB_SERVICE_HOST": "10.96.0.7",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP": "80",
        "MY_WEB_SERVICE_PORT_DNS": "53",
        "MY_WEB_PORT": "tcp://10.96.0.7:80",
        "MY_WEB_PORT_80_TCP": "tcp://10.96.0.7:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "10.96.0.7",
        "MY_WEB_PORT_53_UDP": "udp://10.96.0.7:53",
        "MY_WEB_PORT_53_UDP_PROTO": "udp",
        "MY_WEB_PORT_53_UDP_PORT": "53",
        "MY_WEB_PORT_53_UDP_ADDR": "10.96.0.7",
    }


def test_without_links_only_the_api_server_is_shown():
    services = [service("kubernetes", ip="10.96.0.1"), service("web")]
    assert "WEB_SERVICE_HOST" not in service_variables(services, "default", False)
    assert service_variables(services, "other", False)["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"


def test_headless_services_and_those_of_other_namespaces_are_left_out():
    services = [service("headless", ip="None"), service("far", namespace="other")]
    assert service_variables(services, "default", True) == {}


def test_pod_fields_show_the_pod():
    obj = pod(container("c"), serviceAccountName="sa")
    obj["metadata"].update(labels={"a": "1"}, annotations={"x/y": 'q"'})
    shown = {
        "metadata.name": "p",
        "metadata.namespace": "default",
        "metadata.uid": "u1",
        "metadata.labels['a']": "1",
        "metadata.annotations['x/y']": 'q"',
        "metadata.labels": 'a="1"',
        "spec.nodeName": "n1",
        "spec.serviceAccountName": "sa",
        "status.hostIP": "10.0.0.1",
        "status.podIP": "10.244.0.5",
        "status.podIPs": "10.244.0.5",
    }
    assert {path: pod_field(obj, path, NODE, ("10.244.0.5",)) for path in shown} == shown


def test_an_unknown_field_is_named():
    with pytest.raises(ConfigurationError, match=r"unsupported fieldPath: spec\.containers"):
        pod_field(pod(container("c")), "spec.containers", NODE, ())


def test_maps_are_sorted_and_quoted():
    assert format_map({"b": 'say "hi"\n', "a": "1"}) == 'a="1"\nb="say \\"hi\\"\\n"'


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", None, "1"),
        ("limits.cpu", "1m", "500"),
        ("requests.cpu", "1m", "250"),
        ("limits.memory", "1Mi", "64"),
        ("limits.memory", None, "67108864"),
        ("requests.memory", None, "0"),
    ],
)
def test_resources_are_divided_and_rounded_up(resource, divisor, expected):
    limits = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}
    spec = container("c", resources=limits)
    reference = {"resource": resource, **({"divisor": divisor} if divisor else {})}
    assert resource_field(pod(spec), spec, reference, NODE) == expected


def test_a_limit_that_is_not_set_is_what_the_node_has():
    spec = container("c")
    assert resource_field(pod(spec), spec, {"resource": "limits.cpu"}, NODE) == "4"


def from_file(key="A", **fields):
    reference = {"volumeName": "v", "path": "d/env", "key": key, **fields}
    return container("web", env=[{"name": "X", "valueFrom": {"fileKeyRef": reference}}])


@pytest.fixture
def volume(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/env").write_text("# made by init\n\nA=one\nB='two words'\nC=\"x=y\"\n")
    return {"v": tmp_path}


@pytest.mark.parametrize(("key", "value"), [("A", "one"), ("B", "two words"), ("C", "x=y")])
def test_a_variable_comes_from_a_file_of_a_volume(volume, key, value):
    assert environment(from_file(key), volumes=volume)["X"] == value


def test_a_file_or_key_that_is_missing_is_named_unless_it_is_optional(volume):
    with pytest.raises(ConfigurationError, match="couldn't find key Z in file"):
        environment(from_file("Z"), volumes=volume)
    with pytest.raises(ConfigurationError, match="does not exist"):
        environment(from_file(path="none"), volumes=volume)
    assert "X" not in environment(from_file(path="none", optional=True), volumes=volume)


def test_a_file_is_never_reached_through_a_link(volume, tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "up").symlink_to("..")
    for path in ("link", "up/x", "../x"):
        with pytest.raises(ConfigurationError, match="it is a link, or outside the volume"):
            environment(from_file(path=path), volumes=volume)


@pytest.mark.parametrize("text", ["A", "1A=x", "A='open", "A='x'y'"])
def test_a_file_of_another_form_is_refused_with_the_line(volume, tmp_path, text):
    (tmp_path / "d/env").write_text(f"OK=1\n{text}\n")
    with pytest.raises(ConfigurationError, match="line 2"):
        environment(from_file(), volumes=volume)


def test_a_file_that_is_too_large_is_refused(volume, tmp_path):
    (tmp_path / "d/env").write_text("A=" + "x" * (128 << 10))
    with pytest.raises(ConfigurationError, match="larger than"):
        environment(from_file(), volumes=volume)


def test_an_absent_limit_is_that_of_the_pod_if_it_has_one():
    spec = container("c")
    whole = pod(spec, resources={"limits": {"cpu": "2"}})
    assert resource_field(whole, spec, {"resource": "limits.cpu"}, NODE) == "2"
    assert resource_field(whole, spec, {"resource": "limits.memory", "divisor": "1Gi"}, NODE) == "8"
