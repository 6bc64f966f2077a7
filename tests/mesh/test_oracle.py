"""The oracle against a real Envoy: for many random routes and requests both say the same."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from support.envoy import free_port, running_envoy
from support.evaluate import Verdict, apply_changes, evaluate
from support.matching import Request
from support.meshdocs import Compiled, service, workload
from weft.mesh.view import build_view
from weft.model.workload import GatewayBinding, SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.xds.build import build_xds
from weft.xds.static import static_bootstrap

HOSTS = 30
REQUESTS = 30
NAMES = ("a", "b", "c")
PATHS = ("/", "/x", "/x/", "/x/y", "/xy", "/X", "/y", "/x/y/z", "/y/x", "/long/er/x")
VALUES = ("1", "2", "12", "")
PLAIN = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def document(chance: random.Random, number: int) -> str:
    """Random route documents for host ``hN.example``: an HTTPRoute, or one or two VirtualServices, which merge."""
    rules = [gateway_api_rule(chance), gateway_api_rule(chance), gateway_api_rule(chance)]
    if number % 2:
        return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r{number}}}
spec:
  parentRefs: [{{name: front}}]
  hostnames: [h{number}.example]
  rules: {json.dumps(rules)}
"""
    rules = [istio_rule(chance) for _ in range(4)]
    if number % 4:
        return virtual_service(number, "v", rules)
    catch_all = {"route": [{"destination": {"host": chance.choice(NAMES)}}]}
    return virtual_service(number, "v", [*rules[:2], catch_all]) + virtual_service(number, "w", rules[2:])


def virtual_service(number: int, name: str, rules: list[dict[str, Any]]) -> str:
    """A VirtualService for host ``hN.example``."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}{number}}}
spec:
  hosts: [h{number}.example]
  gateways: [front]
  http: {json.dumps(rules)}
"""


def gateway_api_rule(chance: random.Random) -> dict[str, Any]:
    """A random rule of an HTTPRoute."""
    kind = chance.choice(("Exact", "PathPrefix", "PathPrefix", "RegularExpression"))
    path = {"type": kind, "value": chance.choice(("/x.*", "/.", "/x/[y-z]+")) if kind[0] == "R" else plain_path(chance)}
    match: dict[str, Any] = {"path": path}
    if chance.random() < 0.4:
        match["headers"] = [{"name": "X-H", "value": chance.choice(("1", "2"))}]
    if chance.random() < 0.3:
        match["queryParams"] = [{"name": "q", "value": chance.choice(("1", "2"))}]
    if chance.random() < 0.3:
        match["method"] = chance.choice(("GET", "POST"))
    rule: dict[str, Any] = {"matches": [match]}
    modifier = {"type": "ReplaceFullPath", "replaceFullPath": "/full"}
    if kind == "PathPrefix" and chance.random() < 0.7:
        modifier = {"type": "ReplacePrefixMatch", "replacePrefixMatch": chance.choice(("/", "/p", "/p/q"))}
    what = chance.random()
    if what < 0.25:
        redirect = chance.choice(({"scheme": "https"}, {"hostname": "n.example", "port": 81}, {"path": modifier}))
        return rule | {"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]}
    rule["backendRefs"] = [{"name": chance.choice(("a", "b", "c", "nobody")), "port": 9080}]
    if what < 0.6:
        rewrite = {"hostname": "in.example", "path": modifier}
        rule["filters"] = [
            {"type": "URLRewrite", "urlRewrite": rewrite},
            {"type": "RequestHeaderModifier", "requestHeaderModifier": header_changes(chance)},
        ]
    return rule


def header_changes(chance: random.Random) -> dict[str, Any]:
    """Random header operations on x-h and x-new."""
    operation = chance.choice(("set", "add", "remove"))
    if operation == "remove":
        return {"remove": ["x-h"]}
    return {operation: [{"name": "x-h", "value": "changed"}, {"name": "x-new", "value": "n"}]}


def istio_rule(chance: random.Random) -> dict[str, Any]:
    """A random http rule of a VirtualService."""
    kind = chance.choice(("exact", "prefix", "regex"))
    uri = {kind: chance.choice(("/x.*", "/x/[yz]")) if kind == "regex" else plain_path(chance)}
    match: dict[str, Any] = {"uri": uri}
    if kind != "regex":
        match["ignoreUriCase"] = chance.random() < 0.5
    conditions: tuple[dict[str, str], ...] = ({"exact": "1"}, {"prefix": "1"}, {"regex": "[0-9]+"}, {})
    if chance.random() < 0.3:
        match["headers"] = {"x-h": chance.choice(conditions)}
    elif chance.random() < 0.4:
        match["withoutHeaders"] = {"x-h": chance.choice(conditions)}
    if chance.random() < 0.3:
        match["queryParams"] = {"q": chance.choice(({"exact": "1"}, {"regex": "1+"}))}
    rule: dict[str, Any] = {"match": [match]}
    what = chance.random()
    if what < 0.15:
        return rule | {"redirect": {"uri": "/new", "redirectCode": 307}}
    if what < 0.3:
        return rule | {"directResponse": {"status": 418, "body": {"string": "tea"}}}
    rule["route"] = [{"destination": {"host": chance.choice(("a", "b", "c", "nobody"))}}]
    if what < 0.6:
        rule["rewrite"] = {"uri": chance.choice(("/", "/r", "/r/")), "authority": "in.example"}
    elif what < 0.7:
        rule["rewrite"] = {"uriRegexRewrite": {"match": "/x", "rewrite": "/z"}}
    return rule


def plain_path(chance: random.Random) -> str:
    """A path for a match."""
    return chance.choice(PATHS)


def questions(chance: random.Random, number: int) -> list[Request]:
    """Random requests to one host."""
    found = []
    for _ in range(REQUESTS):
        query = chance.choice(("", "", "?q=1", "?q=2&q=1", "?z=1"))
        headers = {"x-h": chance.choice(VALUES[:3])} if chance.random() < 0.6 else {}
        method = chance.choice(("GET", "POST"))
        found.append(Request(f"h{number}.example", chance.choice(PATHS) + query, method, headers=headers))
    return found


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that answers with what it was asked."""

    async def answer(request: web.Request) -> web.Response:
        told = {key.lower(): ",".join(request.headers.getall(key)) for key in request.headers}
        return web.json_response({"path": request.raw_path, "host": request.host, "headers": told})

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def instance(name: str, port: int) -> Workload:
    """A workload whose proxy is the application itself."""
    where = SocketAddress("127.0.0.1", port)
    return workload(name, ports=(WorkloadPort(9080, where, where),))


@pytest.mark.parametrize("seed", [1, 2])
async def test_envoy_and_the_oracle_agree(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    listen = free_port()
    binding = GatewayBinding("front", "127.0.0.1", ports=((80, SocketAddress("127.0.0.1", listen)),))
    gateway = Workload("front", "default", "front", gateway=binding, state=WorkloadState.HEALTHY)
    texts = [document(chance, number) for number in range(HOSTS)]
    async with contextlib.AsyncExitStack() as stack:
        ports = {name: await stack.enter_async_context(echo()) for name in NAMES}
        instances = [instance(name, port) for name, port in ports.items()]
        mesh = Compiled(*map(service, NAMES), PLAIN, *texts, workloads=instances)
        view = build_view(mesh.mesh, gateway, mesh.memo)
        snapshot = build_xds(view, 1, mesh.memo)
        await stack.enter_async_context(running_envoy(static_bootstrap(snapshot, edge=True), tmp_path))
        client = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        for number in range(HOSTS):
            for question in questions(chance, number):
                verdict = evaluate(view, question)
                seen = await ask(client, listen, question)
                assert seen == expected(verdict, question), f"{question}\n{verdict.rule}\n{texts[number]}"


async def ask(client: aiohttp.ClientSession, port: int, question: Request) -> tuple[object, ...]:
    """What Envoy does with a request."""
    url = f"http://127.0.0.1:{port}{question.path}"
    headers = {"Host": question.host, **question.headers}
    async with client.request(question.method, url, headers=headers, allow_redirects=False) as answer:
        if answer.status == 200:
            told = await answer.json()
            own = {name: value for name, value in told["headers"].items() if name in ("x-h", "x-new")}
            return (200, told["path"], told["host"], own)
        return (answer.status, answer.headers.get("location", ""))


def expected(verdict: Verdict, question: Request) -> tuple[object, ...]:
    """What the oracle says, in the same form."""
    if verdict.status:
        return (verdict.status, verdict.location)
    headers = apply_changes(dict(question.headers), verdict.request)
    return (200, verdict.path, verdict.host, {name: headers[name] for name in sorted(headers)})
