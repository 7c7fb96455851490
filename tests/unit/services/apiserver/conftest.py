"""The in-memory API server as a fixture."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.services.apiserver.memory_api import MemoryApi, memory_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MemoryApi]:
    async with memory_api(tmp_path) as started:
        yield started
