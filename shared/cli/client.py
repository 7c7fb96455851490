"""The Kubernetes API for the command line: a handful of JSON requests, for which the standard library is enough."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any, BinaryIO
from urllib.parse import urlencode

from shared.cli.cluster import Cluster, ClusterError
from shared.cli.supervise import running
from shared.errors import ApiError, api_error_from_status
from shared.identity import tokens
from shared.identity.users import MASTERS

TOKEN_LIFETIME_S = 600
DOWNLOAD_CHUNK = 256 * 1024


class ApiSession:
    """Talks to the cluster's API server as an administrator, over one connection, opened again when it breaks."""

    def __init__(self, cluster: Cluster, timeout_s: float = 10.0) -> None:
        self.cluster = cluster
        self.timeout_s = timeout_s
        key = tokens.load_key(cluster.pki / "sa.key")
        self.token = tokens.issue(key, "wherry-cli", [MASTERS], TOKEN_LIFETIME_S)
        self.tls = ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))
        self.connection: http.client.HTTPSConnection | None = None

    def __enter__(self) -> ApiSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: dict[str, str] | None = None,
        content_type: str = "",
        accept: str = "application/json",
    ) -> Any:
        """Send one request and return the decoded answer.

        Raises:
            ApiError: the server answered a Status of failure.
            ClusterError: the server cannot be reached.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        answer = self._answer(method, target, body, content_type, accept)
        try:
            content = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise self._lost(exc) from exc
        if not answer.headers.get_content_type().endswith("json"):
            return content.decode(errors="replace")
        value = json.loads(content)
        if answer.status >= 400:
            raise api_error_from_status(value)
        return value

    def download(self, method: str, path: str, into: BinaryIO) -> int:
        """Write what is answered to a file as it comes; how many bytes. ApiError, ClusterError if it breaks off."""
        answer = self._answer(method, path)
        size = 0
        try:
            if answer.status >= 400:
                raise api_error_from_status(json.loads(answer.read()))
            while data := answer.read(DOWNLOAD_CHUNK):
                into.write(data)
                size += len(data)
        except http.client.HTTPException as exc:
            raise self._lost(exc) from exc
        return size

    def _answer(
        self, method: str, target: str, body: Any = None, content_type: str = "", accept: str = "application/json"
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        try:
            if self.connection is None:
                self.connection = http.client.HTTPSConnection(
                    "127.0.0.1", self.cluster.api_port, timeout=self.timeout_s, context=self.tls
                )
            self.connection.request(method, target, None if body is None else json.dumps(body).encode(), headers)
            return self.connection.getresponse()
        except (OSError, http.client.HTTPException) as exc:
            raise self._lost(exc) from exc

    def _lost(self, exc: Exception) -> ClusterError:
        self.close()
        if "supervisor" not in running(self.cluster.run):
            return ClusterError(f"the cluster in {self.cluster.data} is stopped; start it again with `wherry up`")
        log = self.cluster.logs / "apiserver.log"
        return ClusterError(f"the API server at {self.cluster.api_url} does not answer ({exc}); see {log}")

    def get(self, path: str, **query: str) -> Any:
        return self.request("GET", path, query=query)

    def ready(self) -> bool:
        """Whether the API server answers /readyz."""
        try:
            return str(self.request("GET", "/readyz")).strip() == "ok"
        except (ClusterError, ApiError):
            return False
