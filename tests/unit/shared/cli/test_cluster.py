from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from shared.cli.cluster import Cluster, ClusterError, existing
from shared.cli.plan import bus_users, processes
from shared.cli.up import LATER, prepare_directories, wanted


def arguments(**given: Any) -> argparse.Namespace:
    names = ("name", "api_port", "underlay", "pod_cidr", "service_cidr", "nodes", "bus_replicas")
    return argparse.Namespace(**dict.fromkeys((*names, *LATER)) | given)


def test_a_saved_cluster_is_loaded_as_it_was(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, name="c", api_port=7443).with_nodes(2)
    cluster.save()
    assert Cluster.load(tmp_path) == cluster


def test_no_cluster_is_no_error_but_a_damaged_one_is(tmp_path: Path) -> None:
    assert Cluster.load(tmp_path) is None
    (tmp_path / "cluster.json").write_text('{"nodes": 3}')
    with pytest.raises(ClusterError, match=r"cluster\.json is damaged"):
        Cluster.load(tmp_path)


def test_commands_on_a_missing_cluster_say_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="start one with `wherry up`"):
        existing(str(tmp_path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Has-Dash"}, "cluster name 'Has-Dash'"),
        ({"underlay": "10.244.3.0/24"}, "underlay 10.244.3.0/24 overlaps pod_cidr"),
        ({"pod_cidr": "10.9.0.0/20"}, "pod_cidr 10.9.0.0/20 is too small"),
        ({"service_cidr": "10.96.0.7/16"}, "service_cidr '10.96.0.7/16' is no IPv4 network"),
        ({"api_port": 0}, "port 0 is outside"),
        ({"workers": 0}, "--workers 0 is outside"),
    ],
)
def test_values_that_cannot_work_are_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterError) as refused:
        Cluster(tmp_path, **fields).checked()
    assert message in str(refused.value)


def test_a_cluster_keeps_what_it_was_made_with(tmp_path: Path) -> None:
    made = wanted(Cluster(tmp_path), arguments(api_port=7443))
    assert (made.nodes, made.api_port) == (("node-1", "node-2", "node-3"), 7443)
    assert wanted(made, arguments()) == made
    assert wanted(made, arguments(nodes=5)).nodes[-1] == "node-5"
    with pytest.raises(ClusterError, match="api port 7443, which cannot become 8443"):
        wanted(made, arguments(api_port=8443))


def test_the_number_of_bus_servers_may_change_later(tmp_path: Path) -> None:
    made = wanted(Cluster(tmp_path), arguments(bus_replicas=3))
    assert wanted(made, arguments()).bus_replicas == 3
    assert wanted(made, arguments(bus_replicas=1)).bus_replicas == 1
    with pytest.raises(ClusterError, match="--bus-replicas 2 must be 1 or 3"):
        wanted(made, arguments(bus_replicas=2))


def test_every_process_knows_every_server_of_the_bus(tmp_path: Path) -> None:
    plan = processes(Cluster(tmp_path, name="c", underlay="10.1.2.0/24", bus_replicas=3).with_nodes(1))
    assert [spec.name for spec in plan][:4] == ["nats-server-1", "nats-server-2", "nats-server-3", "apiserver"]
    urls = {spec.env["WHERRY_BUS_URL"] for spec in plan if "WHERRY_BUS_URL" in spec.env}
    assert urls == {"tls://10.1.2.1:4222,tls://10.1.2.1:4223,tls://10.1.2.1:4224"}
    assert {spec.env["WHERRY_BUS_REPLICAS"] for spec in plan if "WHERRY_BUS_URL" in spec.env} == {"3"}


def test_nodes_are_never_taken_away_by_a_smaller_number(tmp_path: Path) -> None:
    assert len(Cluster(tmp_path).with_nodes(4).with_nodes(2).nodes) == 4


def test_addresses_follow_from_the_networks(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, underlay="10.1.2.0/24", service_cidr="10.3.0.0/16")
    assert (cluster.gateway, cluster.node_address("node-2")) == ("10.1.2.1", "10.1.2.12")
    assert (cluster.kubernetes_address, cluster.dns_address) == ("10.3.0.1", "10.3.0.10")


def test_every_process_has_a_bus_user_of_its_own_kind(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path).with_nodes(2)
    users = set(bus_users(cluster))
    plan = processes(cluster)
    for spec in plan:
        if credentials := spec.env.get("WHERRY_BUS_CREDENTIALS"):
            assert Path(credentials).stem in users, spec.name
    assert [spec.name for spec in plan][:2] == ["nats-server", "apiserver"]
    assert {spec.netns for spec in plan} == {"", "wherry-node-1", "wherry-node-2"}


def test_a_directory_with_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    with pytest.raises(ClusterError, match="is not empty and holds no cluster"):
        prepare_directories(Cluster(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterError, match="cannot be used"):
        prepare_directories(Cluster(tmp_path / "file" / "data"))


def test_the_audit_log_may_begin_and_end_later(tmp_path: Path) -> None:
    cluster = wanted(Cluster(tmp_path), arguments(nodes=1))
    plain = next(spec for spec in processes(cluster) if spec.name == "apiserver")
    assert not any("AUDIT" in name for name in plain.env)
    audited = wanted(cluster, arguments(audit_policy_file="/etc/policy.yaml", audit_log_maxsize=5))
    env = next(spec for spec in processes(audited) if spec.name == "apiserver").env
    assert env["WHERRY_AUDIT_POLICY_FILE"] == "/etc/policy.yaml"
    assert env["WHERRY_AUDIT_LOG_PATH"] == str(tmp_path / "log" / "audit.log")
    assert env["WHERRY_AUDIT_LOG_MAXSIZE"] == "5"
    assert not wanted(audited, arguments(audit_policy_file="")).audit_policy_file
    with pytest.raises(ClusterError, match="maxsize"):
        wanted(cluster, arguments(audit_log_maxsize=0))


def test_audit_events_may_be_sent_to_a_webhook(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, nodes=("node-1",), audit_policy_file="/etc/policy.yaml")
    sending = wanted(cluster, arguments(audit_webhook_config_file="/etc/hook.yaml", audit_webhook_batch_max_size=7))
    env = next(spec for spec in processes(sending) if spec.name == "apiserver").env
    assert env["WHERRY_AUDIT_WEBHOOK_CONFIG_FILE"] == "/etc/hook.yaml"
    assert env["WHERRY_AUDIT_WEBHOOK_BATCH_MAX_SIZE"] == "7"
    with pytest.raises(ClusterError, match="--audit-webhook-batch-buffer-size, -max-size and -max-wait"):
        wanted(cluster, arguments(audit_webhook_batch_max_wait=0))


def test_static_tokens_may_begin_and_end_later(tmp_path: Path) -> None:
    cluster = wanted(Cluster(tmp_path), arguments(nodes=1))
    known = wanted(cluster, arguments(token_auth_file="/etc/tokens.csv"))
    env = next(spec for spec in processes(known) if spec.name == "apiserver").env
    assert env["WHERRY_TOKEN_AUTH_FILE"] == "/etc/tokens.csv"
    ended = wanted(known, arguments(token_auth_file=""))
    assert "WHERRY_TOKEN_AUTH_FILE" not in next(spec for spec in processes(ended) if spec.name == "apiserver").env


def test_workers_share_the_port_and_have_metrics_of_their_own(tmp_path: Path) -> None:
    cluster = wanted(Cluster(tmp_path), arguments(workers=2, nodes=1))
    workers = [spec for spec in processes(cluster) if spec.name.startswith("apiserver")]
    assert [spec.name for spec in workers] == ["apiserver", "apiserver-2"]
    assert len({spec.env["WHERRY_API_ADDRESSES"] for spec in workers}) == 1
    assert len({spec.env["WHERRY_METRICS_ADDRESS"] for spec in workers}) == 2
    assert wanted(cluster, arguments(workers=1)).workers == 1
    assert wanted(cluster, arguments()).workers == 2
