"""postStart and preStop handlers. Source: core/v1 LifecycleHandler; KEP-3960 (sleep)."""

import asyncio
from collections.abc import Mapping
from typing import Any

from services.nodeagent.pods import specs
from services.nodeagent.probes.prober import Outcome, Prober, Target

# postStart has no time limit of its own in Kubernetes; a hook that never ends would hold the pod for ever.
POST_START_LIMIT_S = 600.0


async def run_handler(prober: Prober, handler: Mapping[str, Any], target: Target, limit_s: float) -> Outcome:
    """Run one handler for at most `limit_s` seconds."""
    if handler.get("sleep"):
        await asyncio.sleep(min(float(handler["sleep"].get("seconds") or 0), max(limit_s, 0.0)))
        return Outcome(True)
    return await prober.check(handler, target, max(limit_s, 0.1))


def describe_failure(
    pod: Mapping[str, Any], spec: Mapping[str, Any], handler: Mapping[str, Any], outcome: Outcome
) -> str:
    """Why a hook failed, in the words of the container's status."""
    where = f'for Container "{spec["name"]}" in Pod "{specs.place(pod)}" failed - error: {outcome.message}'
    if handler.get("exec"):
        command = " ".join(handler["exec"].get("command") or ())
        return f'Exec lifecycle hook ([{command}]) {where}, message: "{outcome.output}"'
    return f"{'HTTP' if handler.get('httpGet') else 'TCP'} lifecycle hook {where}"
