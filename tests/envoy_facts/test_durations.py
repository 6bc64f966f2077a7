"""Facts of Envoy: how long a request at a gateway may last as a whole, and which routes are exempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.envoy import free_port
from support.loopback import Connection, echo_server
from support.proxy import running_view
from support.views import (
    KEY,
    PLAINTEXT,
    backend,
    endpoint,
    gateway,
    gateway_port,
    prefix,
    rule,
    target,
    targets,
    virtual_host,
)
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Forward, WeightedBackend
from weft.xds.build import build_xds
from weft.xds.describe import describe_resource
from weft.xds.snapshot import LISTENER, ROUTES

OURS = (WeightedBackend(KEY),)
HOST = virtual_host(
    [
        rule(Forward(OURS, timeout=0), prefix("/stream")),
        rule(Forward(OURS, timeout=20), prefix("/patient")),
        rule(Forward(OURS, websocket=True), prefix("/chat")),
        rule(Forward(OURS, timeout=0.1), prefix("/short")),
        rule(Forward(OURS)),
    ],
    domains=("*",),
    port=80,
)


async def test_a_request_is_ended_in_time_unless_its_route_says_otherwise(tmp_path: Path) -> None:
    port = free_port()
    async with echo_server("slow", delay=0.6) as slow:
        found = targets(target(endpoint(slow.port), to=backend(transport=PLAINTEXT)))
        view = gateway(gateway_port(port, (HOST,), longest_request=0.2), targets=found)
        async with running_view(view, tmp_path):
            for path in ("/stream", "/patient", "/chat"):
                async with Connection(port) as client:
                    assert (await client.request(path, "shop.example.com")).status == 200, path
            slow.delay = 60.0
            async with Connection(port) as client:
                assert (await client.request("/short", "shop.example.com")).status == 504
            async with Connection(port) as client:
                assert (await client.request("/other", "shop.example.com")).status == 504
            async with Connection(port) as client:
                upload = await client.request("/other", "shop.example.com", "Content-Length: 10", method="POST")
            assert upload.status in {408, 504}


@pytest.mark.parametrize(("given", "expected"), [(None, "3600s"), (0.0, None), (90.0, "90s")])
def test_the_bound_is_the_listeners_and_routes_say_only_how_they_differ(
    given: float | None, expected: str | None
) -> None:
    snapshot = build_xds(gateway(gateway_port(20005, (HOST,), longest_request=given)), 1, Memo())
    listener, routes = (snapshot.get(kind, "gateway|80") for kind in (LISTENER, ROUTES))
    assert listener is not None
    assert routes is not None
    [chain] = describe_resource(listener)["filter_chains"]
    options = chain["filters"][0]["typed_config"]["common_http_protocol_options"]
    assert options.get("max_stream_duration") == expected
    found = [each["route"] for each in describe_resource(routes)["virtual_hosts"][0]["routes"] if "route" in each]
    own = [each.get("max_stream_duration", {}).get("max_stream_duration") for each in found]
    assert own == (["0s", None, "0s", None, None] if expected else [None] * 5)
