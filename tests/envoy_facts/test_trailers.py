"""Facts of Envoy: gRPC's trailers arrive whatever the size of the answer, also if it fills a flow-control window."""

from __future__ import annotations

from pathlib import Path

import grpc.aio

from support.proxy import calling_itself, running_pair
from support.views import backend
from weft.mesh.services.service import Protocol
from weft.xds.limits import MESH

_PREFIX = 5
"""Bytes before each gRPC message."""
_DEFAULT_WINDOW = 65535


async def _sized(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    context.set_trailing_metadata((("x-size", request.decode()),))
    return b"x" * int(request)


async def test_an_answer_that_fills_a_window_keeps_its_trailers(tmp_path: Path) -> None:
    """Envoy's codec oghttp2 ends such a stream without them (envoyproxy/envoy#40821)."""
    server = grpc.aio.server()
    sized: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_sized)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Sized", {"Get": sized}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        view = calling_itself(port, to=backend(protocol=Protocol.HTTP2), protocol=Protocol.HTTP2)
        async with running_pair(view, tmp_path) as pair:
            proxy = ("grpc.http_proxy", f"http://127.0.0.1:{pair.proxy}")
            async with grpc.aio.insecure_channel("reviews:9080", options=[proxy]) as channel:
                get: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Sized/Get")
                for window in (_DEFAULT_WINDOW, _DEFAULT_WINDOW + _PREFIX, MESH.stream_window):
                    size = window - _PREFIX
                    call = get(str(size).encode(), timeout=10)
                    assert len(await call) == size
                    assert ("x-size", str(size)) in tuple(await call.trailing_metadata())
    finally:
        await server.stop(None)
