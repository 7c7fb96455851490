"""Where the files of a cluster's identity lie, apart from how they are made: who only reads them needs no X.509."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pki:
    """The files of one cluster's identity; every property is a path that exists."""

    directory: Path

    @property
    def ca_certificate(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def apiserver_certificate(self) -> Path:
        return self.directory / "apiserver.crt"

    @property
    def apiserver_key(self) -> Path:
        return self.directory / "apiserver.key"

    @property
    def nats_certificate(self) -> Path:
        return self.directory / "nats.crt"

    @property
    def nats_key(self) -> Path:
        return self.directory / "nats.key"

    @property
    def service_account_key(self) -> Path:
        return self.directory / "sa.key"


def pki_directory(data: Path) -> Path:
    """Where the files of a data directory live."""
    return data / "pki"
