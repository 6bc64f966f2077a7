"""The oracle of route documents: what the mesh makes of random ones, against what a real Envoy does with requests.

Many services, each with documents of its own, share one Envoy. Where dice decide, every outcome with a share is right.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from support.envoy import free_port
from support.evaluate import Verdict, apply_changes, evaluate
from support.loopback import Connection, Response, echo_server
from support.matching import Request
from support.meshdocs import Compiled, workload
from support.proxy import running_view
from support.route_documents import BACKENDS, HEADERS, RouteMaker, plain_text, services
from weft.mesh.routes.rules import Forward
from weft.mesh.routes.sessions import backend_sessions
from weft.mesh.views import SidecarView
from weft.model.workload import SocketAddress, WorkloadPort

REQUESTS_PER_SERVICE = 100


@dataclass
class Found:
    """What was compared: how many requests, what became of them, and where Envoy did something else."""

    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


async def consult_routes(requests: int, seed: int, directory: Path) -> Found:
    """Compare so many requests."""
    maker, found = RouteMaker(random.Random(seed)), Found()
    names = [f"web-{number}" for number in range(max(1, requests // REQUESTS_PER_SERVICE))]
    routes = [maker.documents(name) for name in names]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(echo_server(name)) for name in BACKENDS]
        instances = [
            workload(name, ports=(WorkloadPort(9080, _at(server.port), _at(server.port)),))
            for name, server in zip(BACKENDS, servers, strict=True)
        ]
        listen = free_port()
        mesh = Compiled(services(names), plain_text(), *routes, workloads=instances)
        view = replace(mesh.sidecar(outbound=_at(listen)), inbound=(), upstreams=())
        await stack.enter_async_context(running_view(view, directory))
        client = await stack.enter_async_context(Connection(listen))
        for name in names:
            cookies = _session_names(view, name)
            for _ in range(REQUESTS_PER_SERVICE):
                await _compare(view, client, maker.request(name, cookies), found)
    return found


def _at(port: int) -> SocketAddress:
    return SocketAddress("127.0.0.1", port)


def _session_names(view: SidecarView, name: str) -> list[str]:
    """The cookies by which the rules of a service keep sessions."""
    hosts = [host for host in view.outbound.virtual_hosts if name in host.domains]
    actions = [rule.action for host in hosts for rule in host.rules]
    kept = [session for each in actions if isinstance(each, Forward) for session in backend_sessions(each)]
    return [session.name for session in kept if session is not None]


async def _compare(view: SidecarView, client: Connection, request: Request, found: Found) -> None:
    target = f"http://{request.authority}{request.path}"
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    answer = await client.request(target, request.authority, *lines, method=request.method)
    verdicts = [evaluate(view, replace(request, random=point)) for point in _points(evaluate(view, request))]
    found.requests += 1
    found.outcomes[str(answer.headers.get("x-app", answer.status))] += 1
    seen = _seen(answer)
    if seen not in [_expected(verdict, request) for verdict in verdicts]:
        told = "; ".join(str(_expected(verdict, request)) for verdict in verdicts)
        found.differences.append(f"{request}\n by {verdicts[0].rule}\n Envoy {seen}\n expected {told}")


def _points(verdict: Verdict) -> list[float]:
    """What the dice may show: one number for each backend with a share."""
    points, below = [], 0.0
    for _, share in verdict.backends:
        if share:
            points.append(below + share / 2)
        below += share
    return points or [0.0]


def _seen(answer: Response) -> dict[str, Any]:
    if "x-app" not in answer.headers:
        return {"status": answer.status, "location": _plain(answer.headers.get("location", ""))}
    told = answer.json()
    return {"app": told["app"], "path": told["path"]} | {name: told["headers"].get(name) for name in (*HEADERS, "host")}


def _plain(location: str) -> str:
    """Without a default port: Envoy has to write it where the virtual host has several names."""
    return re.sub(r"^(http://[^/]*?):80(?=/)|^(https://[^/]*?):443(?=/)", r"\1\2", location)


def _expected(verdict: Verdict, request: Request) -> dict[str, Any]:
    if verdict.status:
        return {"status": verdict.status, "location": verdict.location}
    _, _, _, host = verdict.backend.split("|")
    headers = apply_changes(dict(request.headers), verdict.request)
    told = {name: headers.get(name) for name in HEADERS} | {"host": verdict.host, "path": verdict.path}
    if host.partition(".")[0] not in BACKENDS:
        return {"status": 503, "location": ""}
    return {"app": host.partition(".")[0]} | told


def main() -> int:
    """Exit code 1 if there is a difference."""
    parser = argparse.ArgumentParser(
        prog="./run routes", description="random route documents and requests against Envoy"
    )
    parser.add_argument("--requests", type=int, default=20_000, help="how many requests")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed makes the same documents")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weft-routes-") as directory:
        found = asyncio.run(consult_routes(arguments.requests, arguments.seed, Path(directory)))
    for one in found.differences[:5]:
        sys.stdout.write(f"\n{one}\n")
    told = ", ".join(f"{name} {count}" for name, count in found.outcomes.most_common())
    sys.stdout.write(
        f"{found.requests} requests ({told}), {len(found.differences)} differences, seed {arguments.seed}\n"
    )
    return 1 if found.differences else 0


if __name__ == "__main__":
    sys.exit(main())
