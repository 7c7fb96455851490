"""A real API server process on a real broker, with credentials for its clients."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from http.client import HTTPSConnection
from pathlib import Path
from ssl import create_default_context
from typing import Self

from shared.identity import tokens
from shared.identity.kubeconfig import admin_kubeconfig
from shared.identity.pki import ensure_pki
from tests.fakes.nats import NatsServer, free_port
from tests.slowness import LIMIT_S

# the collections that tests fill, and what the server itself keeps in them
MADE_BY_TESTS = {
    "/api/v1/nodes": "none",
    "/api/v1/namespaces/default/configmaps": "kube-root-ca.crt",
    "/api/v1/namespaces/default/pods": "none",
    "/api/v1/namespaces/default/services": "kubernetes",
    "/apis/apps/v1/namespaces/default/deployments": "none",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices": "kubernetes",
}


class ApiServerProcess:
    """Started as a context manager; `url`, `token`, `kubeconfig`. A second one may share port and data directory."""

    def __init__(self, nats: NatsServer, directory: Path, port: int | None = None) -> None:
        self.nats = nats
        self.directory = directory
        self.port = port or free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.pki = ensure_pki(directory, addresses=["127.0.0.1", "10.96.0.1"], names=["localhost", "kubernetes"])
        key = tokens.load_key(self.pki.service_account_key)
        self.token = tokens.issue(key, "tester", ["system:masters"], 3600)
        self.kubeconfig = directory / f"kubeconfig-{self.port}"
        self.kubeconfig.write_text(json.dumps(admin_kubeconfig(self.pki, self.url)))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it is ready."""
        environment = os.environ | self.nats.environment("apiserver")
        environment |= {
            "WHERRY_DATA": str(self.directory),
            "WHERRY_RUN": str(self.directory / "run"),
            "WHERRY_API_ADDRESSES": f"127.0.0.1:{self.port}",
            "WHERRY_API_ADVERTISE": f"10.89.0.1:{self.port}",
        }
        with (self.directory / "apiserver.log").open("ab") as output:
            command = [sys.executable, "-m", "services.apiserver"]
            self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        deadline = time.monotonic() + LIMIT_S
        context = create_default_context(cafile=str(self.pki.ca_certificate))
        while True:
            probe = HTTPSConnection("127.0.0.1", self.port, context=context, timeout=2)
            with contextlib.closing(probe), contextlib.suppress(OSError):
                probe.request("GET", "/readyz")
                if probe.getresponse().status == 200:
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.directory / "apiserver.log").read_text())
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it without warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> int:
        """End it the polite way; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=LIMIT_S)
        self._process = None
        return code

    def restore(self) -> None:
        """Be as after the first start: running, and without the objects that a test made in `default`."""
        if self._process is None:
            self.start()
        context = create_default_context(cafile=str(self.pki.ca_certificate))
        connection = HTTPSConnection("127.0.0.1", self.port, context=context, timeout=LIMIT_S)
        headers = {"Authorization": f"Bearer {self.token}"}
        with contextlib.closing(connection):
            for collection, kept in MADE_BY_TESTS.items():
                query = f"?gracePeriodSeconds=0&fieldSelector=metadata.name!={kept}"
                connection.request("DELETE", collection + query, headers=headers)
                answer = connection.getresponse()
                if answer.read() and answer.status != 200:
                    raise RuntimeError(f"{collection} cannot be emptied: {answer.status}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()
