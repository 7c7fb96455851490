"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a pod, as texts.

Source: Kubernetes "DNS for services and pods" (policies, dnsConfig, subdomain), "Adding entries to /etc/hosts".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.nodeagent.pods import specs

# resolv.conf(5) since glibc 2.26 has no such limits, but musl and Kubernetes keep three servers.
MOST_NAMESERVERS = 3
LONGEST_HOSTNAME = 63


@dataclass(frozen=True, slots=True)
class Resolver:
    """The contents of a resolv.conf(5)."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = field(default=())

    def text(self) -> str:
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {address}" for address in self.nameservers]
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "".join(f"{line}\n" for line in lines)


def parse_resolver(text: str) -> Resolver:
    """A resolv.conf(5) as values; the last search line wins, as in the C library."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return Resolver(tuple(servers), searches, tuple(options))


def resolver(pod: Mapping[str, Any], host: Resolver, dns_address: str, domain: str) -> Resolver:
    """What a pod resolves with, by its dnsPolicy and dnsConfig."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and specs.is_host_network(pod):
        policy = "Default"
    if policy == "None":
        base = Resolver()
    elif policy == "Default" or not dns_address:
        base = host
    else:
        namespace = pod["metadata"]["namespace"]
        own = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
        base = Resolver((dns_address,), (*own, *host.searches), ("ndots:5",))
    return _configured(base, pod["spec"].get("dnsConfig") or {})


def _configured(base: Resolver, config: Mapping[str, Any]) -> Resolver:
    servers = tuple(dict.fromkeys((*base.nameservers, *(config.get("nameservers") or ()))))
    searches = tuple(dict.fromkeys((*base.searches, *(config.get("searches") or ()))))
    options = {option.partition(":")[0]: option for option in base.options}
    for option in config.get("options") or ():
        value = option.get("value")
        options[option["name"]] = option["name"] if value in (None, "") else f"{option['name']}:{value}"
    return Resolver(servers[:MOST_NAMESERVERS], searches, tuple(options.values()))


def hostname(pod: Mapping[str, Any], node_name: str, domain: str) -> str:
    """The host name inside the pod."""
    spec = pod["spec"]
    if specs.is_host_network(pod):
        return node_name
    short = str(spec.get("hostname") or pod["metadata"]["name"])[:LONGEST_HOSTNAME].rstrip("-.")
    full = full_name(pod, domain)
    return full if spec.get("setHostnameAsFQDN") and full else str(spec.get("hostnameOverride") or short)


def full_name(pod: Mapping[str, Any], domain: str) -> str:
    """Fully qualified name of a pod with a subdomain, else ""."""
    spec = pod["spec"]
    if not spec.get("subdomain"):
        return ""
    short = str(spec.get("hostname") or pod["metadata"]["name"])[:LONGEST_HOSTNAME].rstrip("-.")
    return f"{short}.{spec['subdomain']}.{pod['metadata']['namespace']}.svc.{domain}"


def hosts(pod: Mapping[str, Any], addresses: Sequence[str], domain: str, node_hosts: str, node_name: str) -> str:
    """/etc/hosts; `node_hosts` is the node's own file, which a pod in the node's network sees."""
    if specs.is_host_network(pod):
        text = "# Kubernetes-managed hosts file (host network).\n" + node_hosts
    else:
        text = _HOSTS
        short = hostname(pod, node_name, domain).partition(".")[0]
        full = full_name(pod, domain)
        names = f"{full}\t{short}" if full else short
        text += "".join(f"{address}\t{names}\n" for address in addresses)
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        entries = (f"{a['ip']}\t" + "\t".join(a.get("hostnames") or ()) + "\n" for a in aliases)
        text += "\n# Entries added by HostAliases.\n" + "".join(entries)
    return text


_HOSTS = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
