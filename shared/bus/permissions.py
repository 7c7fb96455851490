"""Who may publish and subscribe what: the table behind the claim that the broker itself enforces which node speaks.

A reply goes to the asker's own inbox, and a wildcard cannot stand for a part of a token, so the inboxes that the API
server answers are spelled out one by one: the table is computed from the list of users and rendered again with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.errors import SettingsError
from shared.events.subjects import inbox_prefix, token

NODE_PREFIX = "node-"
LOGCOLLECTOR_PREFIX = "logcollector-"

# the registry keeps blobs in an object store bucket and names in a key-value bucket (NATS ADR-20, ADR-8)
REGISTRY_STREAMS = ("OBJ_registry", "KV_registry")


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects a user may publish and subscribe; everything else is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def permissions(user: str, users: Iterable[str]) -> Permissions:
    """The row of `user` in a cluster with `users`. SettingsError for a user of no known kind."""
    inbox = f"{inbox_prefix(user)}.>"
    if user == "admin":
        return Permissions((">",), (">",))
    if user == "apiserver":
        return Permissions(
            (
                "s.>",
                "b.*",
                "h.floor",
                "e.>",
                "agent.>",
                "l.>",
                "api.service.apiserver.>",
                *(f"{inbox_prefix(other)}.>" for other in users),
                *_streams("STATE", "EVENTS", "LEASE", "NODES", "LOGS"),
                *_readers("STATE", "EVENTS", "LEASE", "NODES", "LOGS"),
            ),
            (inbox, "api.node.>", "api.service.>"),
        )
    if user == "scheduler":
        return Permissions(
            ("s.>", "b.*", "api.service.scheduler.>", "l.leader.scheduler", *_readers("STATE", "LEASE")),
            (inbox,),
        )
    if user == "controllers":
        return Permissions(
            (
                "b.*",
                "api.service.controllers.>",
                "l.leader.controllers",
                *_readers("STATE", "LEASE", "NODES"),
            ),
            (inbox,),
        )
    if user == "registry":
        return Permissions(
            (
                "api.service.registry.>",
                "$O.registry.>",
                "$KV.registry.>",
                *_streams(*REGISTRY_STREAMS),
                *_readers(*REGISTRY_STREAMS),
            ),
            (inbox,),
        )
    if user.startswith(NODE_PREFIX) and user != NODE_PREFIX:
        node = token(user.removeprefix(NODE_PREFIX))
        return Permissions((f"api.node.{node}.>",), (inbox, f"agent.{node}.>"))
    if user.startswith(LOGCOLLECTOR_PREFIX) and user != LOGCOLLECTOR_PREFIX:
        node = token(user.removeprefix(LOGCOLLECTOR_PREFIX))
        return Permissions((f"logs.{node}.>",), (inbox,))
    raise SettingsError(f"bus user {user!r} is of no known kind")


def _readers(*streams: str) -> tuple[str, ...]:
    """What it takes to read a stream through a pull consumer or message by message."""
    return tuple(
        subject
        for stream in streams
        for subject in (
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.STREAM.MSG.GET.{stream}",
            f"$JS.API.DIRECT.GET.{stream}",
            f"$JS.API.DIRECT.GET.{stream}.>",
            f"$JS.API.CONSUMER.CREATE.{stream}",
            f"$JS.API.CONSUMER.CREATE.{stream}.>",
            f"$JS.API.CONSUMER.INFO.{stream}.*",
            f"$JS.API.CONSUMER.DELETE.{stream}.*",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
        )
    )


def _streams(*streams: str) -> tuple[str, ...]:
    """What it takes to declare a stream and to look after it."""
    return tuple(
        f"$JS.API.STREAM.{verb}.{stream}" for stream in streams for verb in ("CREATE", "UPDATE", "PURGE", "MSG.DELETE")
    )
