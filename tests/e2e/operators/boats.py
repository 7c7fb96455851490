"""An operator as people write them, with kopf: every Boat has a Deployment that is as large as its crew."""

import json
import os
import subprocess
from typing import Any

import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.level = 20
    settings.persistence.finalizer = "river.example/operator"


def kubectl(namespace: str, *arguments: str, body: Any = None) -> None:
    command = [os.environ["KUBECTL"], "-n", namespace, *arguments]
    subprocess.run(command, input=json.dumps(body) if body else None, text=True, check=True, capture_output=True)


@kopf.on.create("river.example", "v1", "boats")
@kopf.on.update("river.example", "v1", "boats", field="spec")
def launch(name: str, namespace: str, spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    container = {"name": "main", "image": "example:1", "command": ["sh", "-c", "exec httpd -f -p 8080 -h /srv"]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"boat": name}},
        "spec": {
            "replicas": spec["crew"],
            "selector": {"matchLabels": {"boat": name}},
            "template": {"metadata": {"labels": {"boat": name}}, "spec": {"containers": [container]}},
        },
    }
    kopf.adopt(deployment)
    kubectl(namespace, "apply", "--server-side", "--field-manager=boats", "-f", "-", body=deployment)
    patch.status["state"] = "afloat"
    patch.status["crew"] = spec["crew"]


@kopf.on.delete("river.example", "v1", "boats")
def scuttle(name: str, namespace: str, **_: Any) -> None:
    kubectl(namespace, "create", "configmap", f"log-of-{name}", "--from-literal=end=sunk")
