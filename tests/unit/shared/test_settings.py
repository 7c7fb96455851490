"""The environment as settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import BusSettings, Settings, parse_address


def test_without_variables_the_defaults_hold() -> None:
    settings = Settings.from_environment({})
    assert settings.data == Path("/var/lib/wherry")
    assert settings.run == Path("/run/wherry")
    assert settings.bus_url == "tls://10.89.0.1:4222"
    assert settings.bus_ca == Path("/var/lib/wherry/pki/ca.crt")
    assert settings.metrics_address is None


def test_another_cluster_has_another_run_directory() -> None:
    assert Settings.from_environment({"WHERRY_CLUSTER": "edge2"}).run == Path("/run/wherry-edge2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WHERRY_CLUSTER", "Much-too-long"),
        ("WHERRY_LOG_LEVEL", "loud"),
        ("WHERRY_BUS_URL", "http://x"),
        ("WHERRY_METRICS_ADDRESS", "9090"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})


def test_credentials_are_read_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    settings = Settings.from_environment({"WHERRY_BUS_CREDENTIALS": str(path), "WHERRY_BUS_URL": "nats://h:1"})
    with pytest.raises(SettingsError, match=r"x\.json"):
        settings.bus()
    path.write_text('{"user": "u", "password": "p"}')
    bus = settings.bus()
    assert (bus.url, bus.user, bus.password, bus.ca) == ("nats://h:1", "u", "p", None)


def test_addresses_are_split_at_the_last_colon() -> None:
    assert parse_address("X", "[::1]:80") == ("::1", 80)
    with pytest.raises(SettingsError, match="X"):
        parse_address("X", "host:99999")


def test_a_replicated_bus_has_several_urls() -> None:
    env = {"WHERRY_BUS_URL": "tls://a:1,tls://b:2,tls://c:3", "WHERRY_BUS_REPLICAS": "3"}
    settings = Settings.from_environment(env)
    assert settings.bus_replicas == 3
    assert BusSettings(settings.bus_url, "u", "p").servers == ["tls://a:1", "tls://b:2", "tls://c:3"]


@pytest.mark.parametrize(
    "env",
    [{"WHERRY_BUS_URL": "tls://a:1,b:2"}, {"WHERRY_BUS_REPLICAS": "2"}, {"WHERRY_BUS_REPLICAS": "many"}],
)
def test_a_replicated_bus_that_cannot_work_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(env))):
        Settings.from_environment(env)
