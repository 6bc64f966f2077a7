"""One mesh to attack: a client, an application and a gateway."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.mesh import Mesh
from support.target import running_target


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh under attack. Tests leave it as they found it."""
    with running_target(tmp_path_factory.mktemp("target")) as mesh:
        yield mesh
