"""postStart and preStop handlers. Source: core/v1 LifecycleHandler; KEP-3960 (sleep)."""

import asyncio
from collections.abc import Mapping
from typing import Any

from services.nodeagent.probes.prober import Outcome, Prober, Target

# postStart has no time limit of its own in Kubernetes; a hook that never ends would hold the pod for ever.
POST_START_LIMIT_S = 600.0


async def run_handler(prober: Prober, handler: Mapping[str, Any], target: Target, limit_s: float) -> Outcome:
    """Run one handler for at most `limit_s` seconds."""
    if handler.get("sleep"):
        await asyncio.sleep(min(float(handler["sleep"].get("seconds") or 0), max(limit_s, 0.0)))
        return Outcome(True)
    return await prober.check(handler, target, max(limit_s, 0.1))
