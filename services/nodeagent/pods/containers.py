"""From a container of a pod to the ContainerSpec that the keeper starts; only the image's layers are looked into."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from services.nodeagent import envfiles
from services.nodeagent.environment import (
    DEFAULT_PATH,
    ConfigurationError,
    NodeFacts,
    ObjectSource,
    container_environment,
    expand,
)
from services.nodeagent.images.model import Image
from services.nodeagent.keeper import capabilities
from services.nodeagent.layout import PodLayout, sandbox_id
from services.nodeagent.pods import apparmor, namespaces, resources, seccomp, specs
from services.nodeagent.pods.grants import granted_pod
from services.nodeagent.pods.records import ContainerRecord, PodRecord
from services.nodeagent.pods.security import Security, security
from services.nodeagent.runtime.model import ContainerSpec, Mount, SandboxSpec
from services.nodeagent.volumes.mounts import container_mounts

DEFAULT_TERMINATION_LOG = "/dev/termination-log"

UID_LABEL = "pod.uid"
NAMESPACE_LABEL = "pod.namespace"
POD_LABEL = "pod.name"
CONTAINER_LABEL = "container.name"
ATTEMPT_LABEL = "container.attempt"
HASH_LABEL = "container.hash"
IMAGE_LABEL = "container.image"
IMAGE_ID_LABEL = "container.imageID"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container's specification is made from besides the pod."""

    layout: PodLayout
    objects: ObjectSource
    services: Sequence[Mapping[str, Any]]
    node: NodeFacts
    memory_bytes: int
    volumes: Mapping[str, Path]
    read_only_volumes: frozenset[str]
    hostname: str
    runtime: Sequence[str] = ()
    layers: Mapping[str, list[str]] = field(default_factory=dict)


def pod_labels(pod: Mapping[str, Any]) -> dict[str, str]:
    metadata = pod["metadata"]
    return {UID_LABEL: metadata["uid"], NAMESPACE_LABEL: metadata["namespace"], POD_LABEL: metadata["name"]}


def sandbox_spec(pod: Mapping[str, Any], record: PodRecord, layout: PodLayout, hostname: str) -> SandboxSpec:
    """The sandbox of a pod's present attempt."""
    spec, attempt = pod["spec"], record.sandbox_attempt
    identity = sandbox_id(pod["metadata"]["uid"], attempt)
    sysctls = (spec.get("securityContext") or {}).get("sysctls") or ()
    return SandboxSpec(
        id=identity,
        hostname=hostname,
        log_directory=str(layout.logs),
        cgroup=resources.cgroup_path(pod),
        netns_name="" if specs.is_host_network(pod) else layout.node.netns_name(identity),
        host_network=specs.is_host_network(pod),
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
        share_process=bool(spec.get("shareProcessNamespace")),
        user_range=record.user_range,
        user_range_size=namespaces.IDS_PER_POD,
        time_offsets=namespaces.time_offsets(pod),
        sysctls={entry["name"]: entry["value"] for entry in sysctls},
        resources=resources.pod_resources(granted_pod(pod, record)),
        labels={**pod_labels(pod), ATTEMPT_LABEL: str(attempt)},
    )


def container_spec(
    pod: Mapping[str, Any],
    spec: Mapping[str, Any],
    record: PodRecord,
    container: ContainerRecord,
    image: Image,
    around: Surroundings,
) -> ContainerSpec:
    """The specification of the attempt that `container` names. Raises ConfigurationError naming what is wrong."""
    allowed = security(pod, spec, image)
    requested = container_environment(
        pod,
        spec,
        around.objects,
        around.services,
        around.node,
        record.addresses,
        partial(envfiles.read, around.volumes),
    )
    environment = _environment(spec, image, requested, around.hostname, allowed.identity.home)
    if around.runtime and any(m.get("recursiveReadOnly") == "Enabled" for m in spec.get("volumeMounts") or ()):
        raise ConfigurationError("recursiveReadOnly Enabled is only possible with the built-in runtime")
    mounts = container_mounts(spec, around.volumes, requested, around.read_only_volumes, around.layers)
    mounts += _own_mounts(spec, container, around.layout, {mount.target for mount in mounts})
    return ContainerSpec(
        id=container.container_id,
        sandbox_id=sandbox_id(record.uid, record.sandbox_attempt),
        name=spec["name"],
        argv=_argv(spec, image, requested),
        env=environment,
        cwd=spec.get("workingDir") or image.config.workdir or "/",
        uid=allowed.identity.uid,
        gid=allowed.identity.gid,
        groups=list(allowed.identity.groups),
        lower=[str(layer) for layer in reversed(image.layers)],
        writable=str(around.layout.writable(container.container_id)),
        read_only_root=allowed.read_only_root,
        mounts=mounts,
        pid_target=_target(spec, record),
        tty=bool(spec.get("tty")),
        stdin=bool(spec.get("stdin")),
        stdin_once=bool(spec.get("stdinOnce")),
        log_path=str(around.layout.log(spec["name"], container.attempt)),
        capabilities=allowed.capabilities,
        privileged=allowed.privileged,
        no_new_privileges=allowed.no_new_privileges,
        seccomp=allowed.seccomp,
        seccomp_profile=_seccomp_profile(allowed, around.layout),
        apparmor=apparmor.profile(pod, spec, privileged=allowed.privileged),
        unmasked_proc=allowed.unmasked_proc,
        resources=resources.container_resources(pod, spec),
        oom_score_adj=resources.oom_score_adjustment(pod, spec, around.memory_bytes),
        runtime=list(around.runtime),
        stop_signal=(spec.get("lifecycle") or {}).get("stopSignal") or image.config.stop_signal or "SIGTERM",
        labels={
            **pod_labels(pod),
            CONTAINER_LABEL: spec["name"],
            ATTEMPT_LABEL: str(container.attempt),
            HASH_LABEL: specs.spec_hash(spec),
            IMAGE_LABEL: container.image,
            IMAGE_ID_LABEL: container.image_id,
        },
    )


def _target(spec: Mapping[str, Any], record: PodRecord) -> str:
    """Id of the container whose processes an ephemeral container is to see, "" for none."""
    name = spec.get("targetContainerName")
    if not name:
        return ""
    if not record.container(name).running:
        raise ConfigurationError(f'target container "{name}" of container "{spec["name"]}" is not running')
    return record.container(name).container_id


def _seccomp_profile(allowed: Security, layout: PodLayout) -> dict[str, Any]:
    if not allowed.seccomp_file:
        return {}
    granted = capabilities.granted(allowed.capabilities, privileged=False)
    return seccomp.load(layout.node.root / "seccomp", allowed.seccomp_file, granted)


def image_name(image: Image) -> str:
    """The imageID of a container status: the repository and the digest of the manifest."""
    name = image.references[0] if image.references else image.reference
    repository = name.partition("@")[0]
    directory, slash, last = repository.rpartition("/")
    return f"{directory}{slash}{last.partition(':')[0]}@{image.digest}"


def _argv(spec: Mapping[str, Any], image: Image, variables: Mapping[str, str]) -> list[str]:
    """`command` replaces the image's ENTRYPOINT and CMD, `args` only CMD (core/v1 Container.command)."""
    command, arguments = spec.get("command") or [], spec.get("args") or []
    if not command:
        command = list(image.config.entrypoint or ())
        if not arguments:
            arguments = list(image.config.cmd or ())
        return [*command, *(expand(text, variables) for text in arguments)] if command or arguments else _nothing(spec)
    return [expand(text, variables) for text in (*command, *arguments)]


def _nothing(spec: Mapping[str, Any]) -> list[str]:
    raise ConfigurationError(f"no command specified: neither container {spec['name']} nor its image names one")


def _environment(
    spec: Mapping[str, Any], image: Image, requested: Mapping[str, str], hostname: str, home: str
) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in image.config.env)
    environment = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, **{name: value for name, _, value in pairs}}
    if spec.get("tty"):
        environment.setdefault("TERM", "xterm")
    environment.update(requested)
    environment.setdefault("HOME", home or "/")
    return environment


def _own_mounts(spec: Mapping[str, Any], container: ContainerRecord, layout: PodLayout, taken: set[str]) -> list[Mount]:
    """The files that every container gets, unless a volume of its own lies there."""
    files = {f"/etc/{name}": layout.etc / name for name in ("hosts", "hostname", "resolv.conf")}
    target = spec.get("terminationMessagePath") or DEFAULT_TERMINATION_LOG
    files[target] = layout.termination_log(spec["name"], container.attempt)
    wanted = {posixpath.normpath(path) for path in taken}
    return [Mount(str(source), target) for target, source in files.items() if target not in wanted]
