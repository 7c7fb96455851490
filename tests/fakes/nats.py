"""A nats-server of one's own: real, on random loopback ports, its files in a directory that vanishes."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.bus.server import ENVIRONMENT, ServerConfig, binary, render
from shared.settings import BusSettings
from tests.slowness import LIMIT_S

USERS = (
    "admin",
    "apiserver",
    "scheduler",
    "controllers",
    "registry",
    "node-node-1",
    "node-node-2",
    "logcollector-node-1",
)

PORTS = (20_000, 30_000)


def free_port() -> int:
    """A loopback port that nobody listens on.

    Not one that the kernel gives to whoever asks for any (ip(7), ip_local_port_range): some other process could have it
    before the server that it is meant for starts.
    """
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key; the certificate is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wherry test broker")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = directory / "nats.crt", directory / "nats.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


class NatsServer:
    """Started by `start` or as a context manager; `settings(user)` is what `shared.bus.connection.connect` takes."""

    def __init__(self, directory: Path, users: Iterable[str] = USERS, *, tls: bool = True) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"{'tls' if tls else 'nats'}://127.0.0.1:{self.port}"
        self.certificate, self.key = write_certificate(directory) if tls else (None, None)
        self.ca = self.certificate
        self.credentials = {user: f"password-of-{user}" for user in users}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def settings(self, user: str = "admin") -> BusSettings:
        return BusSettings(self.url, user, self.credentials[user], self.ca)

    def environment(self, user: str = "admin") -> dict[str, str]:
        """The WHERRY_BUS_* variables for a process that connects as `user`."""
        path = self.directory / f"{user}.json"
        path.write_text(f'{{"user": "{user}", "password": "{self.credentials[user]}"}}')
        env = {"WHERRY_BUS_URL": self.url, "WHERRY_BUS_CREDENTIALS": str(path)}
        return env | ({"WHERRY_BUS_CA": str(self.ca)} if self.ca else {})

    def write_configuration(self) -> Path:
        path = self.directory / "nats.conf"
        path.write_text(
            render(
                ServerConfig(
                    name="test",
                    listen=(f"127.0.0.1:{self.port}",),
                    store=self.directory,
                    users=self.credentials,
                    certificate=self.certificate,
                    key=self.key,
                    ca=self.ca,
                    ports=True,
                )
            )
        )
        return path

    def start(self) -> None:
        """Start, and wait until the port answers."""
        path = self.write_configuration()
        with (self.directory / "nats.log").open("ab") as output:
            command, environment = [str(binary()), "-c", str(path)], os.environ | ENVIRONMENT
            self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.directory / "nats.log").read_text()) from None
                time.sleep(0.02)

    def add_user(self, user: str) -> None:
        """Render the configuration with one more user and have it read again, as adding a node does."""
        self.credentials[user] = f"password-of-{user}"
        self.write_configuration()
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop it in the middle of whatever it does; connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
