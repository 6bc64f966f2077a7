"""An HTTP echo for tests: tells what it received and who it is; also WebSocket, large bodies, errors on request.

Listens on WEFT_HOST:PORT from the environment; WORKLOAD is its name in answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter

from aiohttp import WSMsgType, web

NAME = os.environ.get("WORKLOAD", "echo")
CHUNK = b"0123456789abcdef" * 4096
seen: Counter[str] = Counter()
flaky: Counter[str] = Counter()
healthy = True


async def health(_: web.Request) -> web.Response:
    """200 while healthy, else 503; POST /health/false or /health/true changes it."""
    return web.Response(status=200 if healthy else 503, text=NAME)


async def set_health(request: web.Request) -> web.Response:
    """Change what /health says."""
    global healthy  # noqa: PLW0603
    healthy = request.match_info["value"] == "true"
    return web.Response(text=str(healthy))


async def status(request: web.Request) -> web.Response:
    """Answer with the status in the path."""
    return web.json_response({"workload": NAME}, status=int(request.match_info["code"]))


async def delay(request: web.Request) -> web.Response:
    """Answer after the seconds in the path."""
    await asyncio.sleep(float(request.match_info["seconds"]))
    return web.json_response({"workload": NAME})


async def fail_first(request: web.Request) -> web.Response:
    """The first N requests with one key answer 503, later ones 200; tells how many came."""
    key, count = request.match_info["key"], int(request.match_info["count"])
    flaky[key] += 1
    return web.json_response({"workload": NAME, "tries": flaky[key]}, status=503 if flaky[key] <= count else 200)


async def counts(_: web.Request) -> web.Response:
    """How many requests each path has had."""
    return web.json_response({"workload": NAME, "seen": dict(seen)})


async def metrics(_: web.Request) -> web.Response:
    """For Prometheus: how many requests there were; and a lie in the mesh's name."""
    lie = 'istio_requests_total{source_workload="liar"} 1'
    text = f"# TYPE echo_requests_total counter\necho_requests_total {sum(seen.values())}\n{lie}\n"
    return web.Response(text=text)


async def download(request: web.Request) -> web.StreamResponse:
    """Stream as many bytes as the path says."""
    left = int(request.match_info["size"])
    response = web.StreamResponse(headers={"Content-Length": str(left)})
    await response.prepare(request)
    while left:
        piece = CHUNK[:left]
        await response.write(piece)
        left -= len(piece)
    await response.write_eof()
    return response


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Echo each text or binary message behind the name."""
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(f"{NAME}:{message.data}")
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def echo(request: web.Request) -> web.Response:
    """What came: method, target, headers (as pairs), size and hash of the body."""
    seen[request.path] += 1
    digest, size = hashlib.sha256(), 0
    async for piece in request.content.iter_any():
        digest.update(piece)
        size += len(piece)
    return web.json_response(
        {
            "workload": NAME,
            "method": request.method,
            "path": request.raw_path,
            "host": request.headers.get("Host", ""),
            "client": request.remote,
            "headers": [[name, value] for name, value in request.headers.items()],
            "size": size,
            "sha256": digest.hexdigest(),
        },
        headers={"X-Workload": NAME, "X-Remove-Me": "1"},
    )


def main() -> None:
    """Serve until told to stop."""
    app = web.Application(client_max_size=1 << 30)
    app.add_routes(
        [
            web.get("/health", health),
            web.post("/health/{value}", set_health),
            web.get("/status/{code}", status),
            web.get("/delay/{seconds}", delay),
            web.get("/fail/{key}/{count}", fail_first),
            web.get("/counts", counts),
            web.get("/metrics", metrics),
            web.get("/download/{size}", download),
            web.get("/ws", websocket),
            web.route("*", "/{tail:.*}", echo),
        ]
    )
    web.run_app(
        app,
        host=os.environ.get("WEFT_HOST", "127.0.0.1"),
        port=int(os.environ.get("PORT", "8080")),
        print=None,
        access_log=None,
        shutdown_timeout=5.0,
    )


if __name__ == "__main__":
    main()
