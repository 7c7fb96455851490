"""Deploy the example: build its image from the machine's own busybox, apply its manifests, see that it answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from shared.cli.client import ApiSession
from shared.cli.cluster import Cluster, ClusterError
from shared.cli.progress import Progress, wait_for
from shared.errors import AlreadyExists, NotFound
from shared.images.build import build_and_push

IMAGE = "example:1"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Where the kinds of the example live; a name here is a collection below the namespace.
COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "DaemonSet": "/apis/apps/v1/namespaces/{namespace}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
}
ANSWER_LIMIT_S = 180.0


def deploy(cluster: Cluster, session: ApiSession, directory: Path, progress: Progress) -> str:
    """Build, apply and wait until the Job has seen all web pods; returns what the web Service answered to the host."""
    pushing = f"image {IMAGE} built from busybox and pushed to the cluster's registry"
    with progress.step(pushing), build_context(directory / "image") as context:
        build_and_push(context, IMAGE, cluster.registry_address)
    with progress.step("example applied"):
        for manifest in yaml.safe_load_all((directory / "hello.yaml").read_text()):
            apply(session, manifest)
    with progress.step("example answers") as update:
        wait_for(
            lambda: job_complete(session, update),
            ANSWER_LIMIT_S,
            lambda: "the example's Job did not complete; look with `kubectl -n hello get pods,events`",
            0.2,
        )
        url = f"http://{cluster.node_address(cluster.nodes[0])}:30080/"
        return wait_for(lambda: fetch(url), 30, lambda: f"the example's Service does not answer at {url}")


def apply(session: ApiSession, manifest: dict[str, Any]) -> None:
    """Create an object or merge the manifest into it, leaving the annotation that `kubectl apply` compares with."""
    metadata = manifest["metadata"]
    collection = COLLECTIONS[manifest["kind"]].format(namespace=metadata.get("namespace", ""))
    text = json.dumps(manifest | {"metadata": {"annotations": {}} | metadata}, separators=(",", ":"), sort_keys=True)
    manifest = manifest | {"metadata": metadata | {"annotations": {LAST_APPLIED: text + "\n"}}}
    try:
        session.get(f"{collection}/{metadata['name']}")
        session.request(
            "PATCH",
            f"{collection}/{metadata['name']}",
            manifest,
            content_type="application/strategic-merge-patch+json",
        )
    except NotFound:
        try:
            session.request("POST", collection, manifest)
        except AlreadyExists:
            return apply(session, manifest)


def job_complete(session: ApiSession, update: Callable[[str], None]) -> bool:
    """Whether the example's Job has succeeded; raises ClusterError if it has failed for good."""
    pods = session.get("/api/v1/namespaces/hello/pods")["items"]
    running = sum(1 for pod in pods if pod.get("status", {}).get("phase") == "Running")
    update(f"{running} of {len(pods)} pods run")
    job = session.get("/apis/batch/v1/namespaces/hello/jobs/check")
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] == "Failed" and condition["status"] == "True":
            raise ClusterError(
                f"the example's Job failed ({condition.get('reason')}); see `kubectl -n hello logs job/check`"
            )
    return bool(job.get("status", {}).get("succeeded"))


def fetch(url: str) -> str | None:
    """The page at a URL, None while there is none."""
    # The environment's proxy settings are meant for the outside, the node is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return str(answer.read().decode()).strip()
    except OSError:
        return None


@contextmanager
def build_context(source: Path) -> Iterator[Path]:
    """The example's build context: its own files and, in `bin/`, busybox with a link for every applet."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise ClusterError("the example is built from busybox, which is not installed: apt-get install busybox-static")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tempfile.TemporaryDirectory(prefix="wherry-example-") as name:
        context = Path(name)
        shutil.copytree(source, context, dirs_exist_ok=True)
        (context / "bin").mkdir()
        shutil.copy(busybox, context / "bin" / "busybox")
        for applet in applets:
            if applet != "busybox":
                (context / "bin" / applet).symlink_to("busybox")
        yield context
