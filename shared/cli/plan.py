"""Which processes a cluster consists of: pure, so that `up`, `status` and the tests agree.

Each process gets the same few variables; what one service alone needs stands beside it here.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field

from shared.bus.server import ENVIRONMENT, binary
from shared.cli.bus import bus_url, servers
from shared.cli.cluster import Cluster
from shared.kernel.underlay import Underlay


@dataclass(frozen=True)
class ProcessSpec:
    """One supervised process.

    `netns` is a name below /run/netns or "" for the host's own. `gate` is `host:port` that must accept a connection
    before the processes after it are started for the first time; "" does not wait. `store` is the directory of a
    nats-server, which is started again when a full disk has stopped its writes and there is space again.
    """

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    netns: str = ""
    gate: str = ""
    store: str = ""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def processes(cluster: Cluster, parent_group: str = "") -> list[ProcessSpec]:
    """All processes of the cluster in the order in which they start; containers are below the cgroup `parent_group`."""
    specs = [
        *(
            ProcessSpec(
                server.process,
                [str(binary()), "-c", str(server.configuration)],
                dict(ENVIRONMENT),
                gate=server.address,
                store=str(server.store),
            )
            for server in servers(cluster)
        ),
        *(_apiserver(cluster, number) for number in range(1, cluster.workers + 1)),
        ProcessSpec(
            "controllers",
            _module("services.controllers"),
            _environment(cluster, "controllers", f"{cluster.gateway}:10257")
            | {"WHERRY_POD_CIDR": cluster.pod_cidr, "WHERRY_CA": str(cluster.pki / "ca.crt")},
        ),
        ProcessSpec(
            "scheduler",
            _module("services.scheduler"),
            _environment(cluster, "scheduler", f"{cluster.gateway}:10259"),
        ),
        ProcessSpec(
            "registry",
            _module("services.registry"),
            _environment(cluster, "registry") | {"WHERRY_REGISTRY_ADDRESS": cluster.registry_address},
        ),
    ]
    for node in cluster.nodes:
        specs.extend(node_processes(cluster, node, parent_group))
    return specs


def _apiserver(cluster: Cluster, number: int) -> ProcessSpec:
    """One of the API server's processes. They share the port (SO_REUSEPORT); metrics and health have one each."""
    return ProcessSpec(
        "apiserver" if number == 1 else f"apiserver-{number}",
        _module("services.apiserver"),
        _environment(cluster, "apiserver", cluster.worker_metrics_address(number))
        | {
            "WHERRY_API_ADDRESSES": f"127.0.0.1:{cluster.api_port},{cluster.gateway}:{cluster.api_port}",
            "WHERRY_API_ADVERTISE": f"{cluster.gateway}:{cluster.api_port}",
            "WHERRY_SERVICE_CIDR": cluster.service_cidr,
        }
        | ({"WHERRY_TOKEN_AUTH_FILE": cluster.token_auth_file} if cluster.token_auth_file else {})
        | _audit(cluster),
        gate=f"127.0.0.1:{cluster.api_port}",
    )


def _audit(cluster: Cluster) -> dict[str, str]:
    if not cluster.audit_policy_file:
        return {}
    return {
        "WHERRY_AUDIT_POLICY_FILE": cluster.audit_policy_file,
        "WHERRY_AUDIT_LOG_PATH": cluster.audit_log_path or str(cluster.logs / "audit.log"),
        "WHERRY_AUDIT_LOG_MAXSIZE": str(cluster.audit_log_maxsize),
        "WHERRY_AUDIT_LOG_MAXBACKUP": str(cluster.audit_log_maxbackup),
        "WHERRY_AUDIT_LOG_MAXAGE": str(cluster.audit_log_maxage),
        "WHERRY_AUDIT_WEBHOOK_CONFIG_FILE": cluster.audit_webhook_config_file,
        "WHERRY_AUDIT_WEBHOOK_BATCH_BUFFER_SIZE": str(cluster.audit_webhook_batch_buffer_size),
        "WHERRY_AUDIT_WEBHOOK_BATCH_MAX_SIZE": str(cluster.audit_webhook_batch_max_size),
        "WHERRY_AUDIT_WEBHOOK_BATCH_MAX_WAIT": str(cluster.audit_webhook_batch_max_wait),
    }


def node_processes(cluster: Cluster, node: str, parent_group: str = "") -> list[ProcessSpec]:
    """The three processes of one node, all inside its network namespace."""
    netns = f"{cluster.name}-{node}"
    address = cluster.node_address(node)
    own = {
        "WHERRY_NODE_NAME": node,
        "WHERRY_NODE_ADDRESS": address,
        "WHERRY_REGISTRY": cluster.registry_address,
        "WHERRY_CLUSTER_DNS": cluster.dns_address,
        "WHERRY_SERVICE_CIDR": cluster.service_cidr,
        "WHERRY_POD_CIDR": cluster.pod_cidr,
    }
    agent = _environment(cluster, f"node-{node}", f"{address}:10250") | own
    keeper = agent | {"WHERRY_CGROUP_PARENT": parent_group}
    collector = _environment(cluster, f"logcollector-{node}", f"{address}:24231") | own
    return [
        ProcessSpec(f"{node}.keeper", _module("services.nodeagent.keeper"), keeper, netns),
        ProcessSpec(f"{node}.agent", _module("services.nodeagent"), agent, netns),
        ProcessSpec(f"{node}.logcollector", _module("services.logcollector"), collector, netns),
    ]


def bus_users(cluster: Cluster) -> list[str]:
    """Every user of the bus: one for the command line, one per service and two per node."""
    users = ["admin", "apiserver", "controllers", "scheduler", "registry"]
    for node in cluster.nodes:
        users += [f"node-{node}", f"logcollector-{node}"]
    return users


def underlay(cluster: Cluster) -> Underlay:
    """The network that joins the cluster's nodes on this machine."""
    return Underlay(
        cluster.name,
        cluster.underlay,
        pod_cidr=cluster.pod_cidr,
        service_cidr=cluster.service_cidr,
        remember=cluster.run / "ip_forward",
    )


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def _environment(cluster: Cluster, user: str, metrics: str = "") -> dict[str, str]:
    env = {
        "WHERRY_DATA": str(cluster.data),
        "WHERRY_RUN": str(cluster.run),
        "WHERRY_CLUSTER": cluster.name,
        "WHERRY_BUS_URL": bus_url(cluster),
        "WHERRY_BUS_REPLICAS": str(cluster.bus_replicas),
        "WHERRY_BUS_CA": str(cluster.pki / "ca.crt"),
        "WHERRY_BUS_CREDENTIALS": str(cluster.credentials / f"{user}.json"),
    }
    if metrics:
        env["WHERRY_METRICS_ADDRESS"] = metrics
    return env
