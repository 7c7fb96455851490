"""Admission over real processes: quotas that several API servers charge at once, webhooks seen through kubectl."""

import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path
from ssl import create_default_context
from typing import Any

import pytest

from tests.fakes.nats import NatsServer
from tests.fakes.webhooks import configuration, patch, rule, webhook_server
from tests.integration.apiserver.process import ApiServerProcess
from tests.slowness import LIMIT_S

KUBECTL = Path(__file__).parents[3] / ".cache" / "tools" / "kubectl"
QUOTAS = "/api/v1/namespaces/default/resourcequotas"
SECRETS = "/api/v1/namespaces/default/secrets"
Object = dict[str, Any]


@pytest.fixture
def servers(nats_server: NatsServer, tmp_path: Path) -> Iterator[list[ApiServerProcess]]:
    directory = tmp_path / "cluster"
    directory.mkdir()
    with ApiServerProcess(nats_server, directory) as one, ApiServerProcess(nats_server, directory) as other:
        yield [one, other]


def call(server: ApiServerProcess, method: str, path: str, body: Object | None = None) -> tuple[int, Object]:
    context = create_default_context(cafile=str(server.pki.ca_certificate))
    connection = HTTPSConnection("127.0.0.1", server.port, context=context, timeout=30)
    try:
        headers = {"authorization": f"Bearer {server.token}", "content-type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_two_servers_never_give_out_more_than_a_quota_has(servers: list[ApiServerProcess]) -> None:
    limit, writers, each = 15, 6, 6
    hard = {"count/secrets": str(limit)}
    _, quota = call(servers[0], "POST", QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    quota["status"] = {"hard": hard, "used": {"count/secrets": "0"}}
    assert call(servers[0], "PUT", f"{QUOTAS}/q/status", quota)[0] == 200
    deadline = time.monotonic() + LIMIT_S
    while "used" not in call(servers[1], "GET", f"{QUOTAS}/q")[1]["status"]:
        assert time.monotonic() < deadline

    def write(number: int) -> list[tuple[int, str]]:
        server = servers[number % len(servers)]
        outcomes = []
        for attempt in range(each):
            code, answer = call(server, "POST", SECRETS, {"metadata": {"name": f"s{number}-{attempt}"}})
            outcomes.append((code, answer.get("message", "")))
        return outcomes

    with ThreadPoolExecutor(writers) as pool:
        outcomes = [one for found in pool.map(write, range(writers)) for one in found]
    codes = Counter(code for code, _ in outcomes)
    assert codes == {201: limit, 403: writers * each - limit}, outcomes
    assert all("exceeded quota: q" in message for code, message in outcomes if code == 403)
    stored = call(servers[1], "GET", SECRETS)[1]["items"]
    assert len(stored) == limit
    assert call(servers[1], "GET", f"{QUOTAS}/q")[1]["status"]["used"] == {"count/secrets": str(limit)}


@pytest.mark.skipif(not KUBECTL.exists(), reason="tests/tools has not fetched kubectl")
async def test_kubectl_shows_what_webhooks_do(servers: list[ApiServerProcess], tmp_path: Path) -> None:
    def run(*line: str, stdin: Object | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(KUBECTL), "--kubeconfig", str(servers[0].kubeconfig), *line]
        text = json.dumps(stdin) if stdin is not None else None
        return subprocess.run(command, input=text, check=False, capture_output=True, text=True, timeout=60)

    async def kubectl(*line: str, stdin: Object | None = None) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(run, *line, stdin=stdin)

    async with webhook_server(tmp_path) as server:
        server.respond = answer
        rules = [rule(operations=["CREATE", "DELETE"])]
        for kind in ("Mutating", "Validating"):
            hooks = configuration(kind, server.webhook(rules=rules), name=kind.lower())
            assert (await kubectl("apply", "-f", "-", stdin=hooks)).returncode == 0
        done = await kubectl("create", "configmap", "plain", "-o", "json")
        assert json.loads(done.stdout)["metadata"]["labels"] == {"seen": "yes"}
        assert "Warning: plain is a dull name" in done.stderr
        refused = await kubectl("create", "configmap", "bad")
        wanted = 'admission webhook "check.example.com" denied the request: no'
        assert refused.stderr.strip().endswith(wanted)
    done = await kubectl("create", "configmap", "late")
    assert 'failed calling webhook "check.example.com"' in done.stderr
    assert "connection refused" in done.stderr


def answer(request: Object) -> Object:
    """Label what is created, warn about it, refuse what is called bad."""
    if request["name"] == "bad":
        return {"allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": "no"}}
    if (request["object"]["metadata"].get("labels") or {}).get("seen"):
        return {"allowed": True, "warnings": [f"{request['name']} is a dull name"]}
    return patch({"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}})
