"""The configuration of nats-server, and who may do what."""

from __future__ import annotations

import dataclasses
import stat
import subprocess
from pathlib import Path

import pytest

from shared.bus.permissions import permissions
from shared.bus.server import Routes, ServerConfig, binary, render, write_configuration
from shared.errors import SettingsError
from shared.identity.bus_users import ensure_users
from shared.identity.pki import ensure_pki

USERS = ["admin", "apiserver", "scheduler", "controllers", "registry", "node-a", "logcollector-a"]


def test_nats_server_accepts_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "nats.conf"
    config = ServerConfig(
        name="x",
        listen=("127.0.0.1:4222",),
        store=tmp_path,
        users=dict.fromkeys(USERS, 'pass"word\\'),
        monitor="127.0.0.1:8222",
        pid_file=tmp_path / "pid",
    )
    path.write_text(render(config))
    done = subprocess.run([str(binary()), "-t", "-c", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nats_server_accepts_the_configuration_of_one_of_three(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, addresses=["127.0.0.1"], names=["localhost"])
    peers = ("127.0.0.1:6222", "127.0.0.1:6223", "127.0.0.1:6224")
    path = tmp_path / "nats.conf"
    config = ServerConfig(
        name="x-1",
        listen=("127.0.0.1:4222",),
        store=tmp_path,
        users=dict.fromkeys(USERS, "password"),
        certificate=pki.nats_certificate,
        key=pki.nats_key,
        ca=pki.ca_certificate,
        routes=Routes("x", peers[0], peers, "password"),
    )
    path.write_text(render(config))
    done = subprocess.run([str(binary()), "-t", "-c", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert render(config).count("verify: true") == 1
    with pytest.raises(SettingsError, match="not host:port"):
        render(dataclasses.replace(config, routes=Routes("x", "127.0.0.1", peers, "password")))


def test_every_write_is_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    assert "sync_interval: always" in render(ServerConfig("x", ("127.0.0.1:1",), tmp_path, {}))


def test_several_addresses_need_one_port(tmp_path: Path) -> None:
    text = render(ServerConfig("x", ("127.0.0.1:4222", "10.0.0.1:4222"), tmp_path, {}))
    assert 'listen: "0.0.0.0:4222"' in text
    with pytest.raises(SettingsError, match="share one port"):
        render(ServerConfig("x", ("127.0.0.1:4222", "10.0.0.1:4223"), tmp_path, {}))
    with pytest.raises(SettingsError, match="not host:port"):
        render(ServerConfig("x", ("127.0.0.1",), tmp_path, {}))
    with pytest.raises(SettingsError, match="no address"):
        render(ServerConfig("x", (), tmp_path, {}))


def test_a_node_may_speak_for_itself_alone() -> None:
    row = permissions("node-a.b", USERS)
    assert row.publish == ("api.node.a%2Eb.>",)
    assert row.subscribe == ("_INBOX_node-a%2Eb.>", "agent.a%2Eb.>")


def test_only_admin_and_no_node_or_service_may_do_everything() -> None:
    assert [user for user in USERS if ">" in permissions(user, USERS).publish] == ["admin"]


@pytest.mark.parametrize("user", ["", "nobody", "node-", "logcollector-", "apiserver2"])
def test_a_user_of_no_known_kind_is_refused(user: str) -> None:
    with pytest.raises(SettingsError, match="no known kind"):
        permissions(user, USERS)


def test_the_configuration_is_private_and_written_when_it_changes(tmp_path: Path) -> None:
    def config(*users: str) -> ServerConfig:
        return ServerConfig("x", ("10.89.0.1:4222",), tmp_path / "bus", ensure_users(tmp_path, users))

    assert write_configuration(config(*USERS))
    assert not write_configuration(config(*USERS))
    path = tmp_path / "bus" / "nats.conf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert write_configuration(config(*USERS, "node-b"))
    assert "_INBOX_node-b.>" in path.read_text()


def test_passwords_stay_and_are_private(tmp_path: Path) -> None:
    first = ensure_users(tmp_path, ["admin", "node-a"])
    assert ensure_users(tmp_path, ["admin", "node-a"]) == first
    assert len(set(first.values())) == 2
    path = tmp_path / "bus" / "credentials" / "node-a.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("{")
    with pytest.raises(SettingsError, match=r"node-a\.json"):
        ensure_users(tmp_path, ["node-a"])


EXAMPLES = Path(__file__).parents[4] / "deploy" / "nats"


def single() -> ServerConfig:
    """The server of deploy/nats/example.conf."""
    return ServerConfig(
        name="wherry",
        listen=("10.89.0.1:4222",),
        store=Path("/var/lib/wherry/bus"),
        users={user: f"password-of-{user}" for user in USERS},
        certificate=Path("/var/lib/wherry/pki/nats.crt"),
        key=Path("/var/lib/wherry/pki/nats.key"),
        ca=Path("/var/lib/wherry/pki/ca.crt"),
    )


def three(number: int) -> ServerConfig:
    """The server of deploy/nats/three-<number>.conf."""
    peers = tuple(f"192.0.2.{each}:6222" for each in (1, 2, 3))
    return dataclasses.replace(
        single(),
        name=f"wherry-{number}",
        listen=(f"192.0.2.{number}:4222",),
        routes=Routes("wherry", peers[number - 1], peers, "password-of-routes"),
    )


@pytest.mark.parametrize(
    ("name", "config"), [("example", single()), *((f"three-{number}", three(number)) for number in (1, 2, 3))]
)
def test_the_examples_in_deploy_are_what_is_rendered(name: str, config: ServerConfig) -> None:
    text = (EXAMPLES / f"{name}.conf").read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert text == "\n".join(comments) + "\n" + render(config)
