"""Handlers: what is found, what the settings say, and how a pod's RuntimeClass is looked up."""

import json

import pytest

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.handlers import Handlers, discover
from shared.errors import NotFound, SettingsError


class Classes:
    """An API with one RuntimeClass."""

    def __init__(self, handler):
        self.handler = handler

    async def get(self, path, query=None):
        if not path.endswith("/runtimeclasses/c"):
            raise NotFound(path)
        return {"handler": self.handler}


def pod(**spec):
    return {"spec": spec}


def program(directory, name):
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


async def test_a_pod_without_a_class_has_the_built_in_runtime():
    handlers = Handlers({})
    assert await handlers.of(pod(), Classes("x")) == ""
    assert handlers.command("") == handlers.command("wherry") == []


async def test_a_class_names_the_handler():
    assert await Handlers({"runc": ["/runc"]}).of(pod(runtimeClassName="c"), Classes("runc")) == "runc"


async def test_a_class_that_does_not_exist_is_named():
    with pytest.raises(ConfigurationError, match='RuntimeClass "other" not found'):
        await Handlers({}).of(pod(runtimeClassName="other"), Classes("runc"))


async def test_an_unknown_handler_names_those_there_are():
    with pytest.raises(ConfigurationError, match='no runtime for "gvisor" is configured: this node has runc, wherry'):
        await Handlers({"runc": ["/runc"]}).of(pod(runtimeClassName="c"), Classes("gvisor"))


async def test_own_users_are_refused_with_another_runtime():
    with pytest.raises(ConfigurationError, match='handler "runc" does not support user namespaces'):
        await Handlers({"runc": ["/runc"]}).of(pod(runtimeClassName="c", hostUsers=False), Classes("runc"))


def test_installed_runtimes_are_found_on_the_path(tmp_path, monkeypatch):
    program(tmp_path, "crun")
    monkeypatch.setenv("PATH", str(tmp_path))
    handlers = discover(tmp_path / "none.json", tmp_path / "state")
    assert sorted(handlers.commands) == ["", "crun", "wherry"]
    assert handlers.command("crun") == [f"{tmp_path}/crun", "--root", f"{tmp_path}/state/crun"]


def test_settings_add_change_and_withdraw(tmp_path, monkeypatch):
    for name in ("crun", "runc", "kata"):
        program(tmp_path, name)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = tmp_path / "runtimes.json"
    settings.write_text(json.dumps({"kata": {"path": "kata", "options": ["--debug"]}, "crun": None}))
    handlers = discover(settings, tmp_path / "s")
    assert sorted(handlers.commands) == ["", "kata", "runc", "wherry"]
    assert handlers.command("kata") == [f"{tmp_path}/kata", "--root", f"{tmp_path}/s/kata", "--debug"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "runtimes.json: "),
        ("[]", "not an object of handlers"),
        ('{"x": {}}', "x.path is missing"),
        ('{"x": {"path": "nowhere-to-be-found"}}', "x.path 'nowhere-to-be-found' is not found on PATH"),
        ('{"x": {"path": "/x", "options": "a"}}', "x.options is not a list of strings"),
        ('{"wherry": {"path": "/x"}}', "the built-in runtime's own name"),
    ],
)
def test_malformed_settings_name_the_entry(tmp_path, text, message):
    settings = tmp_path / "runtimes.json"
    settings.write_text(text)
    with pytest.raises(SettingsError, match=message):
        discover(settings, tmp_path)


def test_the_nodes_status_tells_what_each_can_do():
    found = {entry["name"]: entry["features"] for entry in Handlers({"runc": ["/runc"]}).status()}
    assert set(found) == {"", "wherry", "runc"}
    assert found["runc"] == {"recursiveReadOnlyMounts": False, "userNamespaces": False}
    assert found["wherry"]["recursiveReadOnlyMounts"]
