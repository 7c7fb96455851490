"""Every pod runs as a service account and finds the account's token in its containers (the ServiceAccount plugin)."""

from typing import NamedTuple

from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.errors import NotFound
from shared.events.subjects import Ref
from shared.objects import meta, registry
from shared.objects.registry import Resource
from shared.objects.repetition import pack, unpack

DEFAULT = "default"
MIRROR = "kubernetes.io/config.mirror"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
# an hour and a little, by which Kubernetes tells these tokens from those somebody asked for
TOKEN_SECONDS = 3607
ROOT_CA = "kube-root-ca.crt"


class Account(NamedTuple):
    """What a pod gets of its service account; `pull_secrets` is the msgpack of its imagePullSecrets."""

    name: str
    pull_secrets: bytes
    automount: bool


async def account_of(store: Store, resource: Resource, pod: Object) -> Account | None:
    """The account that a new pod runs as, None for the mirror of a static pod; Forbidden if there is none."""
    spec = pod["spec"]
    if MIRROR in (pod["metadata"].get("annotations") or {}):
        return None
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT
    namespace = pod["metadata"]["namespace"]
    try:
        # nearly always there, and then nobody need wait
        known = store.state.cache.get(Ref("", "serviceaccounts", namespace, name))
        account = (known or await store.get(serviceaccounts(), namespace, name)).object
    except NotFound:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise forbidden(resource, pod["metadata"].get("name", ""), why) from None
    secrets = account.get("imagePullSecrets")
    return Account(name, pack(secrets) if secrets else b"", account.get("automountServiceAccountToken", True))


def assign(spec: Object, account: Account) -> None:
    """Set the account of a new pod, its pull secrets and its token volume; in place."""
    spec["serviceAccountName"] = spec["serviceAccount"] = account.name
    if account.pull_secrets and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = unpack(account.pull_secrets)
    automount = spec.get("automountServiceAccountToken")
    if account.automount if automount is None else automount:
        _mount_token(spec)


def default_account(namespace: str) -> Object:
    """The account that every namespace has."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": DEFAULT, "namespace": namespace},
    }


def serviceaccounts() -> Resource:
    """The ServiceAccount resource."""
    found = registry.by_plural("", "v1", "serviceaccounts")
    assert found is not None
    return found


def _mount_token(spec: Object) -> None:
    volumes = spec.get("volumes") or []
    name = next((one["name"] for one in volumes if str(one.get("name")).startswith(VOLUME_PREFIX)), "")
    is_new = not name
    # unique within the pod is enough; equal pods with equal names share what validation found out about them
    name = name or VOLUME_PREFIX + meta.suffix_of(spec)
    mounted = False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        mounts = container.get("volumeMounts") or []
        if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
            continue
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
        mounted = True
    if mounted and is_new:
        spec["volumes"] = [*volumes, _token_volume(name)]


def _token_volume(name: str) -> Object:
    return {
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
        },
    }
