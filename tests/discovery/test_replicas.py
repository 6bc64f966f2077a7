"""The hub of one of several control planes: who comes from another may hold what it was given there."""

from __future__ import annotations

from discovery.test_hub import Client, serving


async def test_a_proxy_that_comes_from_another_control_plane_is_waited_for() -> None:
    """It has loaded nothing here, but may hold what it was given there."""
    async with serving() as hub:
        web = Client(hub, "web.shop")
        web.reads.clear()
        assert (await hub.wait_revision(1, 0.01)).pending == ()
        result = await hub.wait_revision(1, 0.01, also=("web.shop", "api.shop"))
        assert (result.pending, result.gone) == (("web.shop",), ())
        web.reads.set()
        assert (await hub.wait_revision(1, 10, also=("web.shop",))).confirmed == ("web.shop",)
