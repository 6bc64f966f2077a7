"""The mesh's own idea of a request's fate, checked against what a real Envoy does with the same rules and request."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from support.envoy import free_port
from support.evaluate import Verdict, apply_changes, evaluate
from support.loopback import Connection, Response, echo_server
from support.matching import Request
from support.proxy import running_view
from support.views import BACKEND, backend, endpoint, gateway, gateway_port, outbound, rule, sidecar, virtual_host
from weft.mesh.routes.rules import (
    Forward,
    HeaderChanges,
    NamedMatch,
    PathRewrite,
    Redirect,
    RequestMatch,
    Respond,
    Rule,
    TextMatch,
    VirtualHost,
    WeightedBackend,
)
from weft.mesh.services.service import EndpointSet
from weft.model.workload import SocketAddress

ItemT = TypeVar("ItemT")
PATHS = ("/", "/a", "/a/", "/a/b", "/ab", "/A/b", "/a.b", "/a+b/c", "/x/a", "/long/path/of/parts")
VALUES = ("1", "one", "ONE", "o.e", "two words", "")
HEADERS = ("x-one", "x-two")
REQUESTS = 400


@dataclass
class Maker:
    """Makes rules and requests from a small alphabet, so that they meet often."""

    dice: random.Random

    def one(self, items: Sequence[ItemT]) -> ItemT:
        return self.dice.choice(items)

    def often(self, share: float) -> bool:
        return self.dice.random() < share

    def text(self, values: Sequence[str]) -> TextMatch:
        kind: Any = self.one(("exact", "prefix", "regex", "present"))
        value = self.one(values)
        if kind == "regex":
            return TextMatch("regex", self.one((r"o.e", r"[a-z]+", r"1|two.*", r".*e", r"/a.*")))
        return TextMatch(kind, value, ignore_case=self.often(0.3))

    def path(self) -> TextMatch:
        kind: Any = self.one(("exact", "prefix", "segment-prefix", "segment-prefix", "regex"))
        if kind == "regex":
            return TextMatch("regex", self.one((r"/a/.*", r"/[a-z]+", r"/(a|x)/?.*", r"/a.b")))
        return TextMatch(kind, self.one(PATHS), ignore_case=self.often(0.2))

    def match(self) -> RequestMatch:
        headers = [NamedMatch(name, self.text(VALUES), self.often(0.3)) for name in HEADERS if self.often(0.2)]
        query = [NamedMatch("q", self.text(VALUES))] if self.often(0.2) else []
        return RequestMatch(
            path=self.path() if self.often(0.8) else None,
            method=TextMatch("exact", self.one(("GET", "POST"))) if self.often(0.2) else None,
            authority=TextMatch("prefix", self.one(("a.", "b."))) if self.often(0.1) else None,
            headers=tuple(headers),
            query=tuple(query),
        )

    def rewrite(self, match: RequestMatch) -> PathRewrite | None:
        if match.path is None or not self.often(0.7):
            return None
        if match.path.kind == "segment-prefix":
            return PathRewrite("segment-prefix", self.one(("/", "", "/new", "/new/")))
        if match.path.kind in ("prefix", "exact") and match.path.value != "/":
            return PathRewrite("prefix", self.one(("/new", "/new/")))
        return PathRewrite("full", "/full") if self.often(0.5) else PathRewrite("regex", r"/\1", "^/([a-z]+)")

    def changes(self) -> HeaderChanges:
        return HeaderChanges(
            (("x-one", "set"),) if self.often(0.3) else (),
            (("x-two", "added"),) if self.often(0.3) else (),
            (self.one((*HEADERS, "x-three")),) if self.often(0.3) else (),
        )

    def rule(self, number: int) -> Rule:
        match = self.match()
        kind = self.one(("forward", "forward", "respond", "redirect"))
        action: Any = Respond(450 + number, b"at once")
        if kind == "redirect":
            action = Redirect(
                self.one((301, 308)),
                scheme=self.one(("", "http", "https")),
                host=self.one(("", "other.example.com")),
                port=self.one((0, 80, 443, 8443)),
                port_from_request=self.often(0.5),
                path_rewrite=self.rewrite(match),
            )
        if kind == "forward":
            one = WeightedBackend(BACKEND, self.one((1, 2)), request=self.changes())
            backends = (one, one) if self.often(0.3) else (one,)
            action = Forward(backends, host_rewrite=self.one(("", "new.example.com")), path_rewrite=self.rewrite(match))
        return rule(action, match, name=f"rule {number}", request=self.changes())

    def request(self, hosts: Sequence[tuple[str, int]]) -> Request:
        host, port = self.one(hosts)
        path = self.one(PATHS) + (f"?q={self.one(('1', 'one', 'ONE', ''))}" if self.often(0.4) else "")
        headers = {name: self.one([value for value in VALUES if value]) for name in HEADERS if self.often(0.5)}
        return Request(host, path, self.one(("GET", "POST")), port=port, headers=headers)

    def rules(self) -> list[Rule]:
        return [self.rule(number) for number in range(1, 13)]


def _differences(verdict: Verdict, answer: Response, request: Request) -> list[str]:
    """What the oracle and Envoy do not agree about."""
    if verdict.status:
        seen: dict[str, Any] = {"status": answer.status, "location": answer.headers.get("location", "")}
        expected: dict[str, Any] = {"status": verdict.status, "location": verdict.location}
    else:
        told = answer.json() if answer.headers.get("x-app") else {"path": None, "headers": {}}
        seen = {name: told["headers"].get(name) for name in (*HEADERS, "host")} | {"path": told["path"]}
        changed = apply_changes(dict(request.headers), verdict.request)
        expected = {name: changed.get(name) for name in HEADERS} | {"host": verdict.host, "path": verdict.path}
    seen, expected = ({key: _plain(value) for key, value in each.items()} for each in (seen, expected))
    return [f"{key}: oracle {expected[key]!r}, Envoy {seen[key]!r}" for key in seen if seen[key] != expected[key]]


def _plain(value: Any) -> Any:
    """Without a default port in a location: Envoy has to write it where the virtual host has several names."""
    if isinstance(value, str) and value.startswith("http"):
        return re.sub(r"^(http://[^/]*?):80(?=/)|^(https://[^/]*?):443(?=/)", r"\1\2", value)
    return value


async def _compare(view: Any, port: int, hosts: Sequence[tuple[str, int]], maker: Maker, *, proxy: bool) -> list[str]:
    differences = []
    async with Connection(port) as client:
        for _ in range(REQUESTS):
            request = maker.request(hosts)
            target = f"http://{request.authority}{request.path}" if proxy else request.path
            lines = [f"{name}: {value}" for name, value in request.headers.items()]
            answer = await client.request(target, request.authority, *lines, method=request.method)
            verdict = evaluate(view, request)
            found = _differences(verdict, answer, request)
            if found:
                differences.append(f"{request} by {verdict.rule}: {'; '.join(found)}")
    return differences


@pytest.mark.parametrize("seed", range(4))
async def test_a_sidecar_does_what_the_oracle_says(seed: int, tmp_path: Path) -> None:
    maker, listen = Maker(random.Random(seed)), free_port()
    hosts: list[VirtualHost] = [
        virtual_host(maker.rules(), name="a:80", domains=("a", "a.default"), port=80),
        virtual_host(maker.rules(), name="a:8080", domains=("a", "a.default"), port=8080),
        virtual_host(maker.rules(), name="b:9080", domains=("b.default",), port=9080),
    ]
    authorities = [
        ("a", 0),
        ("a", 80),
        ("a.default", 8080),
        ("A", 8080),
        ("b.default", 0),
        ("b.default", 9080),
        ("c", 0),
    ]
    async with echo_server("app") as application:
        view = sidecar(
            outbound(
                virtual_hosts=tuple(hosts),
                backends=(backend(tls="none"),),
                endpoints=(EndpointSet(BACKEND, (endpoint(application.port),)),),
            ),
            inbound=(),
            proxy_listen=SocketAddress("127.0.0.1", listen),
        )
        async with running_view(view, tmp_path):
            assert await _compare(view, listen, authorities, maker, proxy=True) == []


@pytest.mark.parametrize("seed", range(4))
async def test_a_gateway_does_what_the_oracle_says(seed: int, tmp_path: Path) -> None:
    maker, listen = Maker(random.Random(seed)), free_port()
    hosts = [
        virtual_host(maker.rules(), name="exact", domains=("a.example.com",), port=0),
        virtual_host(maker.rules(), name="wild", domains=("*.example.com",), port=0),
    ]
    authorities = [("a.example.com", 0), ("a.example.com", 81), ("b.example.com", 0), ("x.b.example.com", 0), ("c", 0)]
    async with echo_server("app") as application:
        view = gateway(
            gateway_port(listen, virtual_hosts=tuple(hosts)),
            backends=(backend(tls="none"),),
            endpoints=(EndpointSet(BACKEND, (endpoint(application.port),)),),
        )
        async with running_view(view, tmp_path):
            assert await _compare(view, listen, authorities, maker, proxy=False) == []
