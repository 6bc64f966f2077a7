"""Facts of Envoy: a listener whose routes come over RDS accepts only when it has them, and never changes with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, Route, RouteMatch, VirtualHost

from support.ads import HandMadeAds, ads_bootstrap, serving_ads
from support.certificates import TestAuthority, write_workload_directory
from support.envoy import free_port, running_envoy
from support.loopback import Connection, echo_server
from support.views import identity, inbound, outbound, sidecar
from weft.mesh.memo import Memo
from weft.mesh.services.service import MutualTlsMode
from weft.mesh.views import TargetsView
from weft.testing.polling import eventually
from weft.xds.build import build_xds
from weft.xds.routes.route_configuration import encode_routes, host_part
from weft.xds.snapshot import ROUTES, Resource

NAME = "inbound|9080"


def refusing() -> Resource:
    """The port's routes as a policy may make them: every request is answered with 403."""
    route = Route(match=RouteMatch(prefix="/"), direct_response=DirectResponseAction(status=403))
    return encode_routes(NAME, [host_part(VirtualHost(name=NAME, domains=["*"], routes=[route]))], (), ())


async def test_an_inbound_listener_waits_for_its_routes_and_a_change_of_them_leaves_it_alone(tmp_path: Path) -> None:
    authority = TestAuthority()
    write_workload_directory(tmp_path, authority.issue(uri=str(identity("reviews"))), authority.bundle)
    listen = free_port()
    async with echo_server("reviews") as application, serving_ads(HandMadeAds(withheld={(ROUTES, NAME)})) as ads:
        port = inbound(listen, application.port, mode=MutualTlsMode.DISABLE)
        nothing = TargetsView(None, (), "cluster.local")
        view = sidecar(outbound(virtual_hosts=()), targets=nothing, inbound=(port,), proxy_listen=None)
        async with running_envoy(ads_bootstrap(ads), tmp_path) as envoy:

            async def is_warming() -> bool:
                return await envoy.stat("listener_manager.total_listeners_warming") == 1

            async def is_active() -> bool:
                return not await is_warming()

            ads.tell(build_xds(view, 1, Memo()))
            await eventually("it is warming", is_warming)
            with pytest.raises(ConnectionRefusedError):
                async with Connection(listen):
                    pass

            ads.withheld.clear()
            ads.push()
            await eventually("it is active", is_active)
            async with Connection(listen) as client:

                async def is_refused() -> bool:
                    return (await client.request("/", "reviews")).status == 403

                assert not await is_refused()
                ads.resources[ROUTES, NAME] = refusing()
                ads.push()
                await eventually("it is refused", is_refused)
            for what in ("modified", "in_place_updated", "removed"):
                assert await envoy.stat(f"listener_manager.listener_{what}") == 0
        assert not ads.refused
