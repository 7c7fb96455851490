"""The credentials with which a pod's images are pulled: its imagePullSecrets as Docker configs."""

import base64
import json
import logging
from collections.abc import Mapping
from typing import Any

from services.nodeagent.environment import ConfigurationError, ObjectSource

log = logging.getLogger(__name__)

# key of the secret -> whether its document is a whole Docker config, or only the "auths" of one
_DOCKER_CONFIGS = {".dockerconfigjson": True, ".dockercfg": False}


def pull_secrets(objects: ObjectSource, pod: Mapping[str, Any]) -> list[Mapping[str, object]]:
    """Docker configs of the pod's image pull secrets; a secret that is missing or malformed is passed over."""
    configs: list[Mapping[str, object]] = []
    for entry in pod["spec"].get("imagePullSecrets") or ():
        try:
            secret = objects.get("secrets", pod["metadata"]["namespace"], entry["name"])
        except ConfigurationError as exc:
            log.warning("image pull secret is passed over: %s", exc)
            continue
        for key, wrapped in _DOCKER_CONFIGS.items():
            text = ((secret or {}).get("data") or {}).get(key)
            if not text:
                continue
            try:
                config = json.loads(base64.b64decode(text))
            except ValueError:
                log.warning("image pull secret %s: %s is not JSON", entry["name"], key)
                continue
            configs.append(config if wrapped else {"auths": config})
    return configs
