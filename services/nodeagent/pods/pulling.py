"""Getting the image of a container: the events, the back-off after a failure."""

import time
from collections.abc import Mapping
from typing import Any

from services.nodeagent.images.model import Image
from services.nodeagent.pods.backoff import NO_BACKOFF
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.records import ContainerRecord, Failure
from services.nodeagent.pullsecrets import pull_secrets
from shared.errors import ImageError
from shared.images.errors import ImageNeverPull, InvalidReference


async def pull(
    tools: Facilities, pod: Mapping[str, Any], spec: Mapping[str, Any], container: ContainerRecord
) -> Image | None:
    """The image, or None with `container.pull_failure` set."""
    name, reference = spec["name"], spec.get("image") or ""
    policy = spec.get("imagePullPolicy") or "IfNotPresent"
    begun = time.monotonic()
    try:
        present = policy != "Always" and tools.images.find(reference) is not None
        if not present and policy != "Never":
            tools.events.pod(pod, "Normal", "Pulling", f'Pulling image "{reference}"', name)
        image = await tools.images.ensure(reference, policy, pull_secrets(tools.references, pod))
    except ImageError as exc:
        _failed(tools, pod, container, reference, exc)
        return None
    if present:
        message = f'Container image "{reference}" already present on machine'
    else:
        seconds = time.monotonic() - begun
        message = f'Successfully pulled image "{reference}" in {seconds:.3g}s. Image size: {image.size} bytes.'
    tools.events.pod(pod, "Normal", "Pulled", message, name)
    container.pulled = True
    container.pull_failure = None
    container.pull_backoff = NO_BACKOFF
    return image


def _failed(
    tools: Facilities, pod: Mapping[str, Any], container: ContainerRecord, reference: str, error: ImageError
) -> None:
    now = tools.clock()
    reason = getattr(error, "reason", "ErrImagePull")
    container.pull_backoff = container.pull_backoff.next(now, now)
    message = _message(reference, error)
    container.pull_failure = Failure(reason, message, now, now + container.pull_backoff.delay)
    events = [("Warning", "Failed", f"Error: {reason}")]
    if isinstance(error, InvalidReference):
        events = [("Warning", "InspectFailed", message), *events]
    elif isinstance(error, ImageNeverPull):
        events = [("Warning", "ErrImageNeverPull", message), *events]
    else:
        events = [
            ("Warning", "Failed", f'Failed to pull image "{reference}": {message}'),
            *events,
            ("Normal", "BackOff", f'Back-off pulling image "{reference}"'),
            ("Warning", "Failed", "Error: ImagePullBackOff"),
        ]
    for kind, why, text in events:
        tools.events.pod(pod, kind, why, text, container.name)


def _message(reference: str, error: ImageError) -> str:
    if isinstance(error, InvalidReference):
        parsing = f'couldn\'t parse image name "{reference}": invalid reference format: {error}'
        return f'Failed to apply default image tag "{reference}": {parsing}'
    if isinstance(error, ImageNeverPull):
        return f'Container image "{reference}" is not present with pull policy of Never'
    return str(error)
