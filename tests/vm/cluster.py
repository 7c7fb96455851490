"""Run in the guest, one stage a boot: a cluster as a unit of systemd, driven by kubectl and `wherry` as users do.

1. `first`: pods are written to files, restored, moved, and stay where they are when they cannot be; then the power
   fails.
2. `second`: after the loss of power everything is back. Then the cluster is stopped, and nothing of it is left.

The stages are long because in there a cluster takes minutes to start. Each step says when it begins.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.harness import ROOT, WHERRY, Kubectl, until, wherry
from tests.vm.machine import CUT

DATA = Path("/var/lib/wherry")
UNITS = Path("/etc/systemd/system")
CONTROL = Path("/run/vm")
# on the disk, beside what the cluster keeps there
RECORD = Path("/run/disk/record.json")
LIMIT_S = 120.0
CRIU = Path("/usr/sbin/criu")
# criu, but that it cannot restore
BROKEN = """#!/bin/sh
[ "$1" = restore ] || exec /usr/sbin/criu.real "$@"
echo "Error (criu/test.c:1): nothing is restored today" >restore.log
exit 1
"""
HERE = """[Service]
ExecStart=
ExecStart=/usr/local/bin/wherry up --nodes 2 --timeout 25m
TimeoutStartSec=1800
TimeoutStopSec=600
"""
# counts in memory, and only as long as both of its volumes are those in which it began
COUNT = """
touch /d/begun /m/begun; n=0
while [ -e /d/begun ] && [ -e /m/begun ]; do n=$((n+1)); echo $n; sleep 1; done
"""
# tells how often it has started, as a file of its volume has it
STARTS = "echo start >>/data/starts; sync; wc -l </data/starts; exec sleep 100000"
# a deleted file that is larger than criu takes along
LARGE = "exec 3>/f; rm /f; dd if=/dev/zero bs=1M count=65 >&3; exec sleep 100000"
# what clients say of servers that do not come to answer
BUSY = ("cannot be reached", "no consistent read", "does not answer", "ServiceUnavailable", "timeout", "EOF")
FOREVER = ["sleep", "100000"]


def step(text: str) -> None:
    print(f"{time.monotonic():7.1f} s: {text}", flush=True)


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    words = ["--cache-dir=/tmp/kubectl", *arguments]
    client = Kubectl(DATA / "kubeconfig", "default")
    return patiently(lambda: client.run(*words, stdin=stdin, check=False, timeout=LIMIT_S)).stdout


def pod_command(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command of `wherry pod`."""
    command = ["pod", *words, "--data", str(DATA)]
    return patiently(lambda: wherry(*command, check=False, timeout=LIMIT_S), check=check)


def patiently(run: Callable[[], subprocess.CompletedProcess[str]], *, check: bool = True) -> Any:
    """Run a command, again if the servers were too busy to answer, which they are in here when the host is."""

    def answered() -> subprocess.CompletedProcess[str] | None:
        done = run()
        busy = done.returncode != 0 and any(text in done.stderr for text in BUSY)
        if busy:
            print(done.stderr, end="", flush=True)
        return None if busy else done

    done = until(answered, "an answer", LIMIT_S)
    assert done is not None
    if check and done.returncode != 0:
        raise AssertionError(f"{done.args}:\n{done.stdout}\n{done.stderr}")
    return done


def found(*arguments: str) -> Any:
    return json.loads(kubectl("get", *arguments, "-o", "json"))


def pod_spec(command: list[str], **more: Any) -> dict[str, Any]:
    main = {"name": "main", "image": "box:1", "command": command, **more.pop("main", {})}
    return {"containers": [main], "terminationGracePeriodSeconds": 1, **more}


def pod(name: str, command: list[str], **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(command, **more)}


def workload() -> list[dict[str, Any]]:
    """Everything of which the stages speak."""
    volumes = [{"name": "d", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("d", "m")]
    claim = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    mounted = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(FOREVER)}
    return [
        pod("counter", ["sh", "-c", COUNT], volumes=volumes, main={"volumeMounts": mounts}, nodeName="node-1"),
        pod("terminal", FOREVER, main={"tty": True}, nodeName="node-1"),
        pod("large", ["sh", "-c", LARGE], nodeName="node-1"),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        },
        pod("starts", ["sh", "-c", STARTS], volumes=claim, main=mounted),
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "once"},
            "spec": {"template": {"spec": pod_spec(["true"], restartPolicy="Never")}},
        },
    ]


def prepare() -> None:
    """What is not on the disk but belongs to the machine."""
    Path("/usr/local/bin/wherry").write_text(f'#!/bin/sh\ncd {ROOT}\nexec {" ".join(WHERRY)} "$@"\n')
    Path("/usr/local/bin/wherry").chmod(0o755)


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True)


def is_active() -> bool:
    answer = subprocess.run(["systemctl", "is-active", "wherry"], capture_output=True, text=True, check=False)
    if answer.stdout.strip() == "failed":
        raise AssertionError(subprocess.run(["systemctl", "status", "wherry"], capture_output=True, text=True).stdout)
    return answer.stdout.strip() == "active"


def install() -> None:
    """As docs/systemd.md says."""
    shutil.copy(ROOT / "deploy/systemd/wherry.service", UNITS)
    (UNITS / "wherry.service.d").mkdir()
    (UNITS / "wherry.service.d/here.conf").write_text(HERE)
    systemctl("daemon-reload")
    systemctl("enable", "--now", "wherry")


def build_image() -> None:
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy("/bin/busybox", directory)
        copies = "".join(
            f"COPY busybox /bin/{name}\n" for name in ("sh", "sleep", "touch", "sync", "wc", "true", "rm", "dd")
        )
        Path(directory, "Dockerfile").write_text(f"FROM scratch\n{copies}")
        wherry("image", "build", "-t", "box:1", directory, timeout=LIMIT_S, env={"WHERRY_DATA": str(DATA)})


def count(name: str, after: int = 0) -> int:
    """The last number of a pod's log, once it is beyond `after`. Every number before it must be there, once: the
    counting never began again."""

    def beyond() -> int:
        numbers = [int(line) for line in kubectl("logs", name).split()]
        assert numbers == list(range(1, len(numbers) + 1)), numbers
        return len(numbers) if len(numbers) > after else 0

    return until(beyond, f"{name} counts beyond {after}", LIMIT_S)


def restarts(one: dict[str, Any]) -> int:
    return int(one["status"]["containerStatuses"][0]["restartCount"])


def traces(uid: str, node: str) -> list[str]:
    """What is left of a pod on a node: files, control groups, mounts."""
    left = [str(path) for path in (DATA / "nodes" / node).rglob(f"*{uid}*")]
    left += [str(path) for path in Path("/sys/fs/cgroup").rglob(f"wherry/{node}/**/*{uid}*")]
    return left + [line for line in Path("/proc/self/mounts").read_text().splitlines() if uid in line and node in line]


def refused(words: str, *command: str) -> None:
    """A command of `wherry pod` fails and says why."""
    done = pod_command(*command, check=False)
    print(done.stderr, end="")
    assert done.returncode == 1, done.stdout
    assert words in done.stderr, done.stderr


@contextmanager
def criu(script: str) -> Iterator[None]:
    """The machine has another criu, or with "" none."""
    real = CRIU.rename(f"{CRIU}.real")
    try:
        if script:
            CRIU.write_text(script)
            CRIU.chmod(0o755)
        yield
    finally:
        real.rename(CRIU)


def first() -> None:
    step("the unit starts a cluster of two nodes")
    install()
    step("its workload")
    build_image()
    manifests = DATA / "nodes/node-1/manifests"
    manifests.mkdir(exist_ok=True)
    (manifests / "static.json").write_text(json.dumps(pod("static", FOREVER)))
    # kubectl gives the server half a minute to write the whole schema, for which it needs longer in here
    kubectl(
        "apply",
        "--validate=false",
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": workload()}),
    )
    step("everything runs")
    kubectl("wait", "--for=condition=Available", "deployment/web", f"--timeout={LIMIT_S:.0f}s")
    names = [f"pod/{name}" for name in ("counter", "terminal", "large", "starts", "static-node-1")]
    kubectl("wait", "--for=condition=Ready", *names, f"--timeout={LIMIT_S:.0f}s")
    kubectl("wait", "--for=condition=Complete", "job/once", f"--timeout={LIMIT_S:.0f}s")
    reached = moves()
    refusals(reached)
    restores(reached)
    step("the power fails")
    remember()
    (CONTROL / CUT).touch()
    time.sleep(LIMIT_S)


def moves() -> int:
    """A pod goes on, on another node. How far it has counted."""
    step("a pod that counts moves to node-2")
    before = found("pod", "counter")
    reached = count("counter", 1)
    done = pod_command("migrate", "counter", "--to", "node-2")
    print(done.stdout, end="")
    after = found("pod", "counter")
    assert after["spec"] == before["spec"] | {"nodeName": "node-2"}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert restarts(after) == restarts(before)
    assert after["status"]["podIP"] in done.stdout
    reached = count("counter", reached)
    until(lambda: not traces(after["metadata"]["uid"], "node-1"), "nothing of the pod on node-1", LIMIT_S)
    return reached


def refusals(reached: int) -> None:
    """Pods that cannot be moved run on, and it is told why."""
    step("what cannot be checkpointed or moved")
    before = {one["metadata"]["name"]: restarts(one) for one in found("pods")["items"]}
    refused(
        "container main: a container with a terminal cannot be checkpointed", "migrate", "terminal", "--to", "node-2"
    )
    refused("container main cannot be checkpointed: criu: ", "migrate", "large", "--to", "node-2")
    with criu(""):
        refused("node node-2: this node cannot restore: criu is not installed", "migrate", "large", "--to", "node-2")
        refused("node node-2: criu is not installed", "checkpoint", "counter", "/var/tmp/none.tar")
    assert not Path("/var/tmp/none.tar").exists()
    with criu(BROKEN):
        refused("nothing is restored today", "migrate", "counter", "--to", "node-1")
    pods = {one["metadata"]["name"]: one for one in found("pods")["items"]}
    assert [pods[name]["spec"]["nodeName"] for name in ("terminal", "large", "counter")] == [
        "node-1",
        "node-1",
        "node-2",
    ]
    for name in ("terminal", "large", "counter"):
        assert restarts(pods[name]) == before[name]
        assert "running" in pods[name]["status"]["containerStatuses"][0]["state"]
    count("counter", reached)
    until(lambda: not traces(pods["counter"]["metadata"]["uid"], "node-1"), "nothing of the pod on node-1", LIMIT_S)


def restores(reached: int) -> None:
    """A pod into a file, and another out of it."""
    step("into a file, and another pod out of it")
    archive = "/var/tmp/counter.tar"
    pod_command("checkpoint", "counter", archive)
    pod_command("restore", archive, "--name", "second", "--node", "node-1")
    kubectl("wait", "--for=condition=Ready", "pod/second", f"--timeout={LIMIT_S:.0f}s")
    assert count("second", reached) > reached
    count("counter", reached)


def identities() -> dict[str, str]:
    """Whose return is expected: uids by name, the Deployment's pod by its label."""
    pods = found("pods")["items"]
    return {
        one["metadata"].get("labels", {}).get("app", one["metadata"]["name"]): one["metadata"]["uid"] for one in pods
    }


def remember() -> None:
    with RECORD.open("w") as file:
        json.dump(identities(), file)
        file.flush()
        os.fsync(file.fileno())


def check_back(boots: int) -> None:
    """Everything runs as it did, `boots` starts of the machine later."""
    step("the unit has started the cluster again")
    until(is_active, "the unit is active", 3 * LIMIT_S)
    step("its pods are back")
    known = json.loads(RECORD.read_text())

    def back() -> list[str]:
        pods = found("pods")["items"]
        return [text for one in pods if (text := missing(one, boots))]

    last: list[str] = ["nothing was seen yet"]

    def all_back() -> bool:
        last[:] = back()
        return not last

    try:
        until(all_back, "all pods are back", LIMIT_S)
    except AssertionError as exc:
        raise AssertionError(f"{exc}: {last}") from exc
    assert identities() == known
    assert kubectl("logs", "starts").split() == [str(boots + 1)]
    assert found("job", "once")["status"]["succeeded"] == 1
    until(lambda: found("deployment", "web")["status"].get("readyReplicas") == 1, "the Deployment is ready", LIMIT_S)


def missing(one: dict[str, Any], boots: int) -> str:
    """What is not as it should be with a pod, or ""."""
    name, status = one["metadata"]["name"], one["status"]
    container = (status.get("containerStatuses") or [{}])[0]
    ready = {c["type"]: c["status"] for c in status.get("conditions", ())}.get("Ready")
    if name.startswith("once"):
        good = status["phase"] == "Succeeded" and container["restartCount"] == 0
    elif name == "second":
        # what its node noted of it may not have been on the disk yet when the power failed: then it is started as new
        good = ready == "True"
    else:
        good = ready == "True" and container["restartCount"] == boots and "terminated" in container["lastState"]
    return "" if good else f"{name}: {json.dumps(status)}"


def second() -> None:
    check_back(1)
    step("the end of the cluster")
    systemctl("stop", "wherry")
    assert subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout == ""
    assert "wherry" not in Path("/proc/self/mounts").read_text().replace("/var/lib/wherry ", "")


if __name__ == "__main__":
    prepare()
    {"first": first, "second": second}[sys.argv[1]]()
    step("done")
