"""Facts of Envoy: requests that come round to the same proxy are ended, honest ones that come twice are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.envoy import free_port
from support.loopback import Connection, echo_server
from support.proxy import calling_itself, running_pair, running_view
from support.views import PLAINTEXT, backend, endpoint, gateway, gateway_port, outbound, target, targets
from weft.xds.services.cluster import FORWARD_PROXY

PASSES = 3


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("way", ["proxy", "direct", "tunnel"])
async def test_a_proxy_that_is_sent_to_itself_says_so(host: str, way: str, tmp_path: Path) -> None:
    """By its address as a host outside the mesh: through itself, straight to it, or out of a CONNECT to it."""
    async with running_pair(calling_itself(1, view=outbound(allow_any=True)), tmp_path) as pair:
        where = f"{host}:{pair.proxy}"
        async with Connection(pair.proxy) as client:
            if way == "tunnel":
                assert (await client.request(where, where, method="CONNECT")).status == 200
            answer = await client.request(f"http://{where}/x" if way == "proxy" else "/x", where, method="GET")
        assert answer.status == 508
        assert b"in a circle" in answer.body
        assert await pair.envoy.stat(f"cluster.{FORWARD_PROXY}.upstream_cx_total") <= PASSES + 1


async def test_a_gateway_whose_backend_is_itself_says_so(tmp_path: Path) -> None:
    port = free_port()
    found = targets(target(endpoint(port), to=backend(transport=PLAINTEXT)))
    async with running_view(gateway(gateway_port(port), targets=found), tmp_path), Connection(port) as client:
        assert (await client.request("/", "shop.example.com")).status == 508


async def test_a_request_may_come_back_with_the_header_of_its_first_pass(tmp_path: Path) -> None:
    """An application may copy all headers of a request into its own calls, and be called back."""
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        passed = "other.example; n=1"
        for count in range(1, PASSES + 2):
            async with Connection(pair.proxy) as client:
                answer = await client.request("http://reviews:9080/", "reviews:9080", f"CDN-Loop: {passed}")
            assert answer.status == (200 if count <= PASSES else 508)
            if count <= PASSES:
                passed = answer.json()["headers"]["cdn-loop"]
                assert passed.startswith("other.example; n=1,")
                assert passed.count("weft-") == count
                assert "productpage" not in passed
