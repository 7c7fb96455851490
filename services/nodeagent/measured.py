"""The keeper's client with every call counted and timed."""

from typing import Any

from services.nodeagent import metrics
from services.nodeagent.runtime.client import KeeperClient


class MeasuredKeeper(KeeperClient):
    """Reports kubelet_runtime_operations_*; the operation type is the name of the call."""

    async def _request(self, call: str, args: dict[str, Any], **options: Any) -> Any:
        with metrics.runtime_operation(call):
            return await super()._request(call, args, **options)
