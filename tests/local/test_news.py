"""What `weft up` notices by itself, while what it looks at changes."""

from __future__ import annotations

from typing import cast

import pytest

from weft.local import news
from weft.local.supervisor import Supervisor


class Enough(Exception):  # noqa: N818
    """It has looked often enough."""


class Without:
    """A supervisor whose gateway is taken out of weft.yaml while somebody looks at where it listens."""

    def __init__(self) -> None:
        self.units: dict[str, object] = {}


async def test_a_gateway_that_is_taken_out_meanwhile_does_not_end_the_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    async def urls(_supervisor: Supervisor) -> dict[str, dict[str, str]]:
        nonlocal looks
        looks += 1
        if looks > 2 * news._LOOKS:
            raise Enough
        return {"front": {}}

    monkeypatch.setattr(news, "mesh_urls", urls)
    monkeypatch.setattr(news, "_LOOK_EVERY", 0.0)
    with pytest.raises(Enough):
        await news.run_gateways(cast(Supervisor, Without()), print, {})
