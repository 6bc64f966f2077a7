"""Fixtures of the dashboard's tests: the control plane's APIs in this process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.control import Rig, running_control


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_control(tmp_path) as rig:
        yield rig
