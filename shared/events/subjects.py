"""Subject names, in one place, because they are the address of an object, the unit of compare-and-set and, through the
broker's permissions, the proof of who is speaking."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple
from urllib.parse import unquote

_UNSAFE = re.compile(r"[^A-Za-z0-9._:-]")
# NATS has no empty tokens, while a Kubernetes path-segment name (RBAC) may hold a dot anywhere
_EMPTY_TOKEN = re.compile(r"^\.|\.$|(?<=\.)\.")

OBJECTS = "s.>"
BARRIERS = "b.*"
FLOOR = "h.floor"
EVENTS = "e.>"
EVENT_OBJECTS = "e.core.events.>"
EVENT_BARRIERS = "e.barrier.*"
LOGS = "logs.>"
SERVICE_LEASES = "l.>"
NODE_LEASES = "api.node.*.lease"


class Ref(NamedTuple):
    """Identity of an object: `group` "" for core, `namespace` "" if cluster-scoped, `resource` is the plural."""

    group: str
    resource: str
    namespace: str
    name: str


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())


def encode_name(name: str) -> str:
    """`name` as the tail of a subject: percent-encoded outside [A-Za-z0-9._:-], dots kept where tokens stay whole."""
    return _EMPTY_TOKEN.sub("%2E", _UNSAFE.sub(_escape, name))


def decode_name(text: str) -> str:
    """The inverse of encode_name."""
    return unquote(text)


def token(name: str) -> str:
    """`name` as exactly one token, for node names and the like."""
    return _UNSAFE.sub(_escape, name).replace(".", "%2E")


def resource_filter(group: str, resource: str, namespace: str = "") -> str:
    """The subject filter of every object of a resource, or of one namespace of it."""
    base = f"s.{group.replace('.', '_') or 'core'}.{resource}"
    return f"{base}.{namespace}.>" if namespace else f"{base}.>"


def subject_of(ref: Ref) -> str:
    """The STATE subject of an object."""
    group, resource, namespace, name = ref
    return f"s.{group.replace('.', '_') or 'core'}.{resource}.{namespace or '_'}.{encode_name(name)}"


def event_subject_of(ref: Ref) -> str:
    """The EVENTS subject of an Event object; both event APIs share the core address, as they share the storage."""
    return f"e.core.events.{ref.namespace or '_'}.{encode_name(ref.name)}"


def ref_of(subject: str) -> Ref:
    """The identity behind a STATE or EVENTS subject. ValueError if it is not one."""
    parts = subject.split(".", 4)
    if len(parts) != 5 or parts[0] not in ("s", "e"):
        raise ValueError(f"not the subject of an object: {subject}")
    _, group, resource, namespace, name = parts
    return Ref(
        "" if group == "core" else sys.intern(group.replace("_", ".")),
        sys.intern(resource),
        # one string for all objects of a namespace: a cache holds very many of them
        "" if namespace == "_" else sys.intern(namespace),
        decode_name(name) if "%" in name else name,
    )


def log_subject(node: str, namespace: str, pod: str, container: str) -> str:
    """The LOGS subject of a container."""
    return f"logs.{token(node)}.{token(namespace)}.{token(pod)}.{token(container)}"


def leader_subject(service: str) -> str:
    """The LEASE subject of the leadership of a service."""
    return f"l.leader.{token(service)}"


def node_subject(node: str, tail: str) -> str:
    """A subject only this node may publish, for example `api.node.node-1.request`."""
    return f"api.node.{token(node)}.{tail}"


def service_subject(service: str, tail: str) -> str:
    """A subject only this service may publish."""
    return f"api.service.{token(service)}.{tail}"


def agent_subject(node: str, tail: str) -> str:
    """A subject only this node's agent may subscribe."""
    return f"agent.{token(node)}.{tail}"


def inbox_prefix(user: str) -> str:
    """The only inbox prefix `user` may subscribe."""
    return f"_INBOX_{token(user)}"
