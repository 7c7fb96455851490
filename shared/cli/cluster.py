"""One cluster on this machine: its name, addresses, ports and directories.

Everything that `wherry up` decided is kept in `DATA/cluster.json`, so that every later command, and a second `up`,
finds the same cluster again. The processes get it through their environment and never read this file.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from shared.errors import WherryError

DEFAULT_DATA = Path("/var/lib/wherry")
# The highest node index for which both the underlay address .(10+i) and the pod network 10.244.i.0/24 exist.
MOST_NODES = 200
# each has a port of its own for metrics and health, from this one on
MOST_WORKERS = 32
FIRST_WORKER_PORT = 10261


class ClusterError(WherryError):
    """The cluster cannot be used as asked; the text is one sentence that says what to do."""


@dataclass(frozen=True)
class Cluster:
    """The settings of one cluster. Networks are CIDR texts; `nodes` are node names, in the order they were made;
    `workers` is how many processes the API server has; `token_auth_file` and the audit options are
    kube-apiserver's (MiB, files, days; events, seconds)."""

    data: Path
    name: str = "wherry"
    nodes: tuple[str, ...] = ()
    api_port: int = 6443
    underlay: str = "10.89.0.0/24"
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    bus_replicas: int = 1
    workers: int = 1
    token_auth_file: str = ""
    audit_policy_file: str = ""
    audit_log_path: str = ""
    audit_log_maxsize: int = 100
    audit_log_maxbackup: int = 10
    audit_log_maxage: int = 30
    audit_webhook_config_file: str = ""
    audit_webhook_batch_buffer_size: int = 10_000
    audit_webhook_batch_max_size: int = 400
    audit_webhook_batch_max_wait: int = 30

    @classmethod
    def load(cls, data: Path) -> Cluster | None:
        """Read `DATA/cluster.json`; None if there is no cluster yet.

        Raises:
            ClusterError: the file is there but cannot be read as a cluster.
        """
        path = data / "cluster.json"
        try:
            values = json.loads(path.read_text())
            return cls(data=data, nodes=tuple(values.pop("nodes")), **values)
        except FileNotFoundError:
            return None
        except (NotADirectoryError, PermissionError) as exc:
            raise ClusterError(
                f"{data} is no usable data directory ({exc.strerror}); name another with --data"
            ) from exc
        except (ValueError, TypeError, KeyError) as exc:
            raise ClusterError(f"{path} is damaged ({exc}); restore it or start anew with another --data") from exc

    def save(self) -> None:
        """Write `DATA/cluster.json` atomically."""
        values = dataclasses.asdict(self)
        del values["data"]
        partial = self.data / "cluster.json.partial"
        partial.write_text(json.dumps(values, indent=2) + "\n")
        partial.replace(self.data / "cluster.json")

    def checked(self) -> Cluster:
        """Return the cluster if its values can work together.

        Raises:
            ClusterError: naming the value at fault.
        """
        if not re.fullmatch(r"[a-z][a-z0-9]{0,7}", self.name):
            raise ClusterError(f"cluster name {self.name!r} must be 1 to 8 lowercase letters and digits")
        networks = []
        for field, longest in (("underlay", 24), ("pod_cidr", 16), ("service_cidr", 24)):
            text = getattr(self, field)
            try:
                network = ipaddress.IPv4Network(text)
            except ValueError as exc:
                raise ClusterError(f"{field} {text!r} is no IPv4 network: {exc}") from exc
            if network.prefixlen > longest:
                raise ClusterError(f"{field} {text} is too small, it needs at least a /{longest}")
            networks.append((field, network))
        for i, (field, network) in enumerate(networks):
            for other_field, other in networks[i + 1 :]:
                if network.overlaps(other):
                    raise ClusterError(f"{field} {network} overlaps {other_field} {other}")
        if not 1 <= self.api_port <= 65535:
            raise ClusterError(f"port {self.api_port} is outside 1..65535")
        if self.bus_replicas not in (1, 3):
            raise ClusterError(f"--bus-replicas {self.bus_replicas} must be 1 or 3")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise ClusterError(f"--workers {self.workers} is outside 1..{MOST_WORKERS}")
        if self.audit_log_maxsize < 1 or self.audit_log_maxbackup < 0 or self.audit_log_maxage < 0:
            raise ClusterError("--audit-log-maxsize must be at least 1, --audit-log-maxbackup and -maxage at least 0")
        batch = (
            self.audit_webhook_batch_buffer_size,
            self.audit_webhook_batch_max_size,
            self.audit_webhook_batch_max_wait,
        )
        if min(batch) < 1:
            raise ClusterError("--audit-webhook-batch-buffer-size, -max-size and -max-wait must be at least 1")
        return self

    def with_nodes(self, count: int) -> Cluster:
        """The same cluster with nodes `node-1` .. `node-<count>`; nodes are never taken away by this."""
        if not 1 <= count <= MOST_NODES:
            raise ClusterError(f"--nodes {count} is outside 1..{MOST_NODES}")
        names = [f"node-{i}" for i in range(1, max(count, len(self.nodes)) + 1)]
        return dataclasses.replace(self, nodes=tuple(names))

    @property
    def run(self) -> Path:
        """The directory for sockets and pid files; gone after a reboot."""
        return Path("/run/wherry" if self.name == "wherry" else f"/run/wherry-{self.name}")

    @property
    def cgroup_record(self) -> Path:
        """The file that names the group below which the cluster's groups are, for commands that run elsewhere."""
        return self.run / "cgroup"

    @property
    def gateway(self) -> str:
        """The host's address on the underlay: bus, registry and API server listen there."""
        return str(ipaddress.IPv4Network(self.underlay)[1])

    @property
    def kubernetes_address(self) -> str:
        """ClusterIP of the `kubernetes` Service."""
        return str(ipaddress.IPv4Network(self.service_cidr)[1])

    @property
    def dns_address(self) -> str:
        """ClusterIP of `kube-dns`, where every node's own DNS server answers."""
        return str(ipaddress.IPv4Network(self.service_cidr)[10])

    def node_address(self, node: str) -> str:
        """The underlay address of a node, `.11` for `node-1`."""
        return str(ipaddress.IPv4Network(self.underlay)[10 + int(node.removeprefix("node-"))])

    def worker_metrics_address(self, number: int) -> str:
        """Where a process of the API server, the first being 1, serves its own /metrics, /healthz and /readyz."""
        return f"{self.gateway}:{FIRST_WORKER_PORT + number - 1}"

    @property
    def registry_address(self) -> str:
        return f"{self.gateway}:5000"

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    @property
    def credentials(self) -> Path:
        return self.data / "bus" / "credentials"

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    @property
    def logs(self) -> Path:
        """What the cluster's own processes print."""
        return self.data / "log"


def data_directory(text: str | None) -> Path:
    """The data directory that a command means: `--data`, else WHERRY_DATA, else /var/lib/wherry."""
    return Path(text or os.environ.get("WHERRY_DATA") or DEFAULT_DATA).absolute()


def existing(text: str | None) -> Cluster:
    """The cluster of the data directory.

    Raises:
        ClusterError: there is none.
    """
    data = data_directory(text)
    cluster = Cluster.load(data)
    if cluster is None:
        raise ClusterError(
            f"there is no cluster in {data}; start one with `wherry up`, or name its directory with --data"
        )
    return cluster
