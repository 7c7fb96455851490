"""The webhooks of a configuration, prepared once for all the calls that follow."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass

from services.apiserver.admission import environment
from services.apiserver.admission.conditions import Conditions
from services.apiserver.admission.matching import Matcher
from services.apiserver.protocol import Object

DEFAULT_TIMEOUT_S = 10
DEFAULT_PORT = 443
VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Service:
    """A Service that a webhook is behind."""

    namespace: str
    name: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook; `timeout` in seconds, `authority` the PEM text of who signed its certificate, or nothing."""

    configuration: str
    uid: str
    name: str
    matcher: Matcher
    conditions: Conditions
    url: str
    service: Service | None
    authority: bytes
    version: str
    ignores_failure: bool
    safe_to_dry_run: bool
    reinvoked: bool
    timeout: int


def hooks_of(configuration: Object) -> Iterator[Hook]:
    """The webhooks of a ValidatingWebhookConfiguration or a MutatingWebhookConfiguration, in their order."""
    name = configuration["metadata"]["name"]
    seen: dict[str, int] = {}
    for webhook in configuration.get("webhooks") or ():
        own = webhook.get("name", "")
        seen[own] = seen.get(own, -1) + 1
        client = webhook.get("clientConfig") or {}
        known = webhook.get("admissionReviewVersions") or ("v1",)
        ignores = webhook.get("failurePolicy", "Fail") == "Ignore"
        yield Hook(
            configuration=name,
            uid=f"{name}/{own}/{seen[own]}",
            name=own,
            matcher=Matcher.of(webhook),
            conditions=Conditions.of(
                webhook.get("matchConditions") or (), environment.WEBHOOK, ignores_failure=ignores
            ),
            url=client.get("url") or "",
            service=_service(client.get("service")),
            authority=_authority(client.get("caBundle")),
            version=next((one for one in known if one in VERSIONS), "v1"),
            ignores_failure=ignores,
            safe_to_dry_run=webhook.get("sideEffects") in ("None", "NoneOnDryRun"),
            reinvoked=webhook.get("reinvocationPolicy") == "IfNeeded",
            timeout=int(webhook.get("timeoutSeconds") or DEFAULT_TIMEOUT_S),
        )


def _authority(bundle: str | None) -> bytes:
    try:
        return base64.b64decode(bundle or "")
    except (ValueError, binascii.Error):
        # nothing can be verified with it, so every call will fail and say so
        return b"not base64"


def _service(reference: Object | None) -> Service | None:
    if reference is None:
        return None
    path = "/" + (reference.get("path") or "").lstrip("/")
    return Service(reference["namespace"], reference["name"], int(reference.get("port") or DEFAULT_PORT), path)
