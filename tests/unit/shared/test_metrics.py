"""The pages every process serves."""

from __future__ import annotations

import urllib.error
import urllib.request

from prometheus_client import CollectorRegistry, Counter

from shared.metrics import MetricsServer


def fetch(server: MetricsServer, path: str) -> tuple[int, str]:
    host, port = server.address
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def test_metrics_health_and_readiness_are_served() -> None:
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc(3)
    ready = False
    with MetricsServer("127.0.0.1", 0, ready=lambda: ready, registry=registry) as server:
        assert "things_total 3.0" in fetch(server, "/metrics")[1]
        assert fetch(server, "/healthz") == (200, "ok")
        assert fetch(server, "/readyz") == (503, "not ready")
        ready = True
        assert fetch(server, "/readyz?verbose") == (200, "ok")
        assert fetch(server, "/other")[0] == 404


def test_a_page_that_fails_is_an_error_of_that_page_alone() -> None:
    def fail() -> tuple[int, str, bytes]:
        raise ZeroDivisionError

    with MetricsServer("127.0.0.1", 0, registry=CollectorRegistry(), pages={"/own": fail}) as server:
        assert fetch(server, "/own")[0] == 500
        assert fetch(server, "/healthz")[0] == 200
