"""Random HTTPRoutes, GRPCRoutes and VirtualServices, and requests, from a small alphabet, so that they meet often."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from support.matching import Request
from support.meshdocs import documents, service
from weft.model.document import Document

ItemT = TypeVar("ItemT")
BACKENDS = ("a", "b", "c")
PORT = 9080
HEADERS, VALUES = ("x-one", "x-two"), ("1", "one", "ONE", "two words")
SEGMENTS = ("a", "b", "ab", "Cart", "shop.Cart", "Add")
SESSION = "basket"
Json = dict[str, Any]
_KEPT = """
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: kept}
spec: {targetRefs: [{name: b}, {name: c}], sessionPersistence: {sessionName: kept}}
"""


@dataclass
class RouteMaker:
    """Makes documents for one service and requests to it."""

    dice: random.Random

    def one(self, items: Sequence[ItemT]) -> ItemT:
        return self.dice.choice(items)

    def often(self, share: float) -> bool:
        return self.dice.random() < share

    def some(self, make: Callable[[], ItemT], most: int, least: int = 0) -> list[ItemT]:
        return [make() for _ in range(self.dice.randint(least, most))]

    def path(self) -> str:
        return "/" + "/".join(self.one(SEGMENTS) for _ in range(self.dice.randint(0, 3)))

    def documents(self, name: str) -> tuple[Document[object], ...]:
        """All that routes the service `name`, of any age."""
        kinds = self.one((("http",), ("http", "http"), ("grpc",), ("grpc", "http"), ("vs",), ("vs", "http"), ("root",)))
        found: list[Document[object]] = []
        for number, kind in enumerate(kinds):
            made = {"http": self.http_route, "grpc": self.grpc_route, "vs": self.virtual, "root": self.virtual_root}[
                kind
            ]
            for written in made(name, f"{name}-{number}"):
                text = json.dumps(written)
                found += documents(text, f"{name}-{number}.yaml", created=float(self.dice.randint(1, 3)))
        return tuple(found)

    def gateway_api(self, kind: str, service_name: str, name: str, rules: list[Json]) -> list[Json]:
        parent = {"group": "", "kind": "Service", "name": service_name}
        spec = {"parentRefs": [parent], "rules": rules}
        key = {"name": name, "namespace": "default"}
        return [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": key, "spec": spec}]

    def http_route(self, service_name: str, name: str) -> list[Json]:
        return self.gateway_api("HTTPRoute", service_name, name, self.some(self.http_rule, 4, 1))

    def grpc_route(self, service_name: str, name: str) -> list[Json]:
        return self.gateway_api("GRPCRoute", service_name, name, self.some(self.grpc_rule, 4, 1))

    def header(self) -> Json:
        kind = self.one(("Exact", "RegularExpression"))
        value = self.one(VALUES) if kind == "Exact" else self.one(("o.e", "[a-z]+", "1|two.*"))
        return {"name": self.one(HEADERS), "type": kind, "value": value}

    def modifier(self) -> Json:
        return {"set": [{"name": "x-one", "value": "set"}]} if self.often(0.5) else {"remove": ["x-two"]}

    def backend(self) -> Json:
        missing = self.often(0.1)
        found: Json = {
            "name": "gone" if missing else self.one(BACKENDS),
            "port": PORT,
            "weight": self.one((0, 1, 1, 2)),
        }
        if self.often(0.3):
            found["filters"] = [{"type": "RequestHeaderModifier", "requestHeaderModifier": self.modifier()}]
        return found

    def http_rule(self) -> Json:
        prefix = self.often(0.6)
        rule: Json = {"matches": [self.http_match(prefix)] if prefix else self.some(lambda: self.http_match(False), 2)}
        filters = (
            [{"type": "RequestHeaderModifier", "requestHeaderModifier": self.modifier()}] if self.often(0.4) else []
        )
        if self.often(0.15):
            redirect: Json = {"statusCode": self.one((301, 303, 307, 308)), "scheme": self.one(("http", "https"))}
            return rule | {"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]}
        if self.often(0.3):
            path: Json = {"type": "ReplaceFullPath", "replaceFullPath": "/full"}
            if prefix and self.often(0.6):
                path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": self.one(("/", "/new", "/new/"))}
            filters.append({"type": "URLRewrite", "urlRewrite": {"path": path}})
        rule |= {"filters": filters, "backendRefs": self.some(self.backend, 3, 1)}
        if self.often(0.2):
            rule["sessionPersistence"] = {"sessionName": SESSION}
        return rule

    def http_match(self, prefix: bool) -> Json:
        match: Json = {}
        if prefix:
            match["path"] = {"type": "PathPrefix", "value": self.path()}
        elif self.often(0.7):
            match["path"] = {"type": "Exact", "value": self.path()}
        elif self.often(0.6):
            match["path"] = {"type": "RegularExpression", "value": self.one((r"/a/.*", r"/[a-z]+", r"/(a|b)/?.*"))}
        if self.often(0.3):
            match["method"] = self.one(("GET", "POST"))
        if self.often(0.4):
            match["headers"] = [self.header()]
        if self.often(0.2):
            match["queryParams"] = [{"name": "q", "value": self.one(("1", "one"))}]
        return match

    def grpc_rule(self) -> Json:
        rule: Json = {"backendRefs": self.some(self.backend, 2)}
        if self.often(0.9):
            rule["matches"] = self.some(self.grpc_match, 2, 1)
        if self.often(0.3):
            rule["filters"] = [{"type": "RequestHeaderModifier", "requestHeaderModifier": self.modifier()}]
        return rule

    def grpc_match(self) -> Json:
        match: Json = {}
        if self.often(0.8):
            regex = self.often(0.3)
            service_name = self.one(("shop[.].*", "[a-z]+", "")) if regex else self.one(("shop.Cart", "Cart", "a", ""))
            method: Json = {"type": "RegularExpression"} if regex else {}
            match["method"] = method | {"service": service_name}
            if not service_name or self.often(0.5):
                match["method"]["method"] = self.one(("Add", "a", "b"))
        if self.often(0.3):
            match["headers"] = [self.header()]
        return match

    def virtual(self, service_name: str, name: str, hosts: bool = True) -> list[Json]:
        spec: Json = {"http": self.some(self.virtual_rule, 4, 1)} | ({"hosts": [service_name]} if hosts else {})
        key = {"name": name, "namespace": "default"}
        return [{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": key, "spec": spec}]

    def virtual_root(self, service_name: str, name: str) -> list[Json]:
        """One that hands some of its rules on to another."""
        [root], [part] = self.virtual(service_name, name), self.virtual("", f"{name}-part", hosts=False)
        for rule in root["spec"]["http"]:
            if self.often(0.6):
                for word in ("route", "redirect", "directResponse", "rewrite"):
                    rule.pop(word, None)
                rule["delegate"] = {"name": f"{name}-part"}
        return [root, part]

    def text(self, values: Sequence[str]) -> Json:
        kind = self.one(("exact", "prefix", "exact", "prefix", "regex"))
        return {kind: self.one((".*e", "/a.*", "[a-z]+")) if kind == "regex" else self.one(values)}

    def virtual_rule(self) -> Json:
        rule: Json = {"match": self.some(self.virtual_match, 2)}
        if self.often(0.1):
            return rule | {"directResponse": {"status": self.one((418, 451))}}
        if self.often(0.1):
            return rule | {"redirect": {"uri": "/moved", "redirectCode": self.one((301, 308))}}
        if self.often(0.15):
            rule["fault"] = {"abort": {"httpStatus": 455, "percentage": {"value": self.one((0, 100))}}}
        if self.often(0.2):
            rule["rewrite"] = {"authority": "new.example"}
        names = [self.one((*BACKENDS, "gone" if self.often(0.1) else "a")) for _ in range(self.dice.randint(1, 2))]
        weights = [self.one((1, 2)) for _ in names]
        rule["route"] = [
            {"destination": {"host": name, "port": {"number": PORT}}, "weight": weight}
            for name, weight in zip(names, weights, strict=True)
        ]
        return rule

    def virtual_match(self) -> Json:
        match: Json = {"uri": self.text([self.path() for _ in range(3)])} if self.often(0.8) else {}
        if self.often(0.2):
            match["ignoreUriCase"] = True
        if self.often(0.3):
            match["method"] = {"exact": self.one(("GET", "POST"))}
        for field in ("headers", "withoutHeaders"):
            if self.often(0.25):
                match[field] = {self.one(HEADERS): self.text(VALUES)}
        if self.often(0.2):
            match["queryParams"] = {"q": {"exact": self.one(("1", "one"))}}
        return match

    def request(self, name: str, cookies: Sequence[str]) -> Request:
        headers: dict[str, str] = {each: self.one(VALUES) for each in HEADERS if self.often(0.5)}
        if cookies and self.often(0.3):
            headers["cookie"] = f"{self.one(cookies)}=nothing"
        path = self.path() + (f"?q={self.one(('1', 'one', 'ONE'))}" if self.often(0.4) else "")
        return Request(name, path, self.one(("GET", "POST")), port=PORT, headers=headers)


def services(names: Sequence[str]) -> str:
    """The Services that are routed, and those behind them, two of which keep sessions. Nobody serves the former."""
    return "".join(service(name) for name in (*names, *BACKENDS)) + _KEPT


def plain_text() -> str:
    """No mutual TLS: the servers of tests are no proxies."""
    return """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: DISABLE}}
"""
