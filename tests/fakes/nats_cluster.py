"""Three nats-servers that replicate their streams, each of which can be killed and started again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Self

from shared.bus.server import Routes, ServerConfig, render
from shared.settings import BusSettings
from tests.fakes.nats import USERS, NatsServer, free_port


class NatsMember(NatsServer):
    """One server of several; all of them have one certificate."""

    def __init__(self, directory: Path, number: int, first: NatsMember | None) -> None:
        super().__init__(directory, tls=first is None)
        self.name = f"bus-{number}"
        self.route = f"127.0.0.1:{free_port()}"
        self.peers: tuple[str, ...] = ()
        if first is not None:
            self.certificate, self.key, self.ca = first.certificate, first.key, first.ca
            self.url = f"tls://127.0.0.1:{self.port}"

    def write_configuration(self) -> Path:
        path = self.directory / "nats.conf"
        config = ServerConfig(
            name=self.name,
            listen=(f"127.0.0.1:{self.port}",),
            store=self.directory,
            users=self.credentials,
            certificate=self.certificate,
            key=self.key,
            ca=self.ca,
            routes=Routes("test", self.route, self.peers, "password-of-routes"),
        )
        path.write_text(render(config))
        return path


class NatsCluster:
    """Started as a context manager; `settings(user)` names every server."""

    def __init__(self, directory: Path, size: int = 3) -> None:
        self.members: list[NatsMember] = []
        for number in range(1, size + 1):
            own = directory / f"server-{number}"
            own.mkdir(parents=True)
            self.members.append(NatsMember(own, number, self.members[0] if self.members else None))
        for member in self.members:
            member.peers = tuple(other.route for other in self.members)
        self.url = ",".join(member.url for member in self.members)
        self.credentials = {user: f"password-of-{user}" for user in USERS}
        self.ca = self.members[0].ca

    def settings(self, user: str = "admin") -> BusSettings:
        return BusSettings(self.url, user, self.credentials[user], self.ca)

    def environment(self, user: str = "admin") -> dict[str, str]:
        """The WHERRY_BUS_* variables for a process that connects as `user`."""
        return self.members[0].environment(user) | {
            "WHERRY_BUS_URL": self.url,
            "WHERRY_BUS_REPLICAS": str(len(self.members)),
        }

    def member(self, name: str) -> NatsMember:
        return next(member for member in self.members if member.name == name)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for member in self.members:
                stack.enter_context(member)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
