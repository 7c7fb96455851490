"""/etc/hosts, /etc/hostname and /etc/resolv.conf."""

from services.nodeagent.pods import files
from services.nodeagent.pods.files import Resolver
from tests.fakes.podlife import container, pod

HOST = files.parse_resolver("# comment\nnameserver 9.9.9.9\nsearch corp.example\noptions timeout:1\n")


def resolve(**spec):
    return files.resolver(pod(container("c"), **spec), HOST, "10.96.0.10", "cluster.local")


def test_the_node_s_own_file_is_read():
    assert Resolver(("9.9.9.9",), ("corp.example",), ("timeout:1",)) == HOST


def test_cluster_first_asks_the_cluster_and_searches_the_namespace():
    assert resolve(dnsPolicy="ClusterFirst").text() == (
        "search default.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
        "nameserver 10.96.0.10\n"
        "options ndots:5\n"
    )


def test_default_is_what_the_node_uses():
    assert resolve(dnsPolicy="Default") == HOST


def test_cluster_first_in_the_node_s_network_is_what_the_node_uses():
    assert resolve(dnsPolicy="ClusterFirst", hostNetwork=True) == HOST
    assert resolve(dnsPolicy="ClusterFirstWithHostNet", hostNetwork=True).nameservers == ("10.96.0.10",)


def test_none_is_only_what_the_pod_says():
    config = {"nameservers": ["1.1.1.1"], "searches": ["a.example"], "options": [{"name": "ndots", "value": "2"}]}
    assert resolve(dnsPolicy="None", dnsConfig=config) == Resolver(("1.1.1.1",), ("a.example",), ("ndots:2",))


def test_the_pod_s_options_replace_those_of_the_policy():
    config = {"options": [{"name": "ndots", "value": "1"}, {"name": "use-vc"}]}
    assert resolve(dnsConfig=config).options == ("ndots:1", "use-vc")


def test_at_most_three_nameservers_are_kept():
    config = {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3"]}
    assert resolve(dnsConfig=config).nameservers == ("10.96.0.10", "1.1.1.1", "2.2.2.2")


def test_the_host_name_is_the_pod_s_name():
    assert files.hostname(pod(container("c")), "n1", "cluster.local") == "p"


def test_a_pod_may_name_its_host():
    obj = pod(container("c"), hostname="h", subdomain="sub")
    assert files.hostname(obj, "n1", "cluster.local") == "h"
    assert files.full_name(obj, "cluster.local") == "h.sub.default.svc.cluster.local"
    obj["spec"]["setHostnameAsFQDN"] = True
    assert files.hostname(obj, "n1", "cluster.local") == "h.sub.default.svc.cluster.local"


def test_a_long_name_is_cut_to_what_a_host_name_may_have():
    obj = pod(container("c"))
    obj["metadata"]["name"] = "a" * 62 + "-" + "b" * 20
    assert files.hostname(obj, "n1", "cluster.local") == "a" * 62


def test_hosts_knows_the_pod_and_its_aliases():
    aliases = [{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}]
    text = files.hosts(pod(container("c"), hostAliases=aliases), ["10.244.0.5"], "cluster.local", "", "n1")
    assert "127.0.0.1\tlocalhost\n" in text
    assert "10.244.0.5\tp\n" in text
    assert text.endswith("1.2.3.4\tfoo\tbar\n")


def test_a_pod_in_the_node_s_network_sees_the_node_s_hosts():
    text = files.hosts(pod(container("c"), hostNetwork=True), ["10.0.0.1"], "cluster.local", "10.9.9.9 x\n", "n1")
    assert text == "# Kubernetes-managed hosts file (host network).\n10.9.9.9 x\n"
