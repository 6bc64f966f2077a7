"""What the fake control plane answers: made-up services, their traffic, documents and failures."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web

from weft.admin.replies import Refused, instant
from weft.traffic.edges import Edge, Window
from weft.traffic.graph import Shown, build_graph
from weft.traffic.intents import Intents, Place
from weft.traffic.layout import Layout

BOOKINFO = {
    "bookinfo-gateway": ["productpage"],
    "productpage": ["details", "reviews"],
    "reviews": ["ratings"],
    "details": [],
    "ratings": [],
}
_VERSIONS = {"reviews": (("v1", 0.34), ("v2", 0.33), ("v3", 0.33))}


class World:
    """What the fake answers from. `calls`: caller -> callees. The text `hostile` stands in every field of users."""

    def __init__(self, services: int = 6, *, hostile: str = "", seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.hostile = hostile
        self.broken: set[str] = set()
        self.revision = 41
        self.undone: list[dict[str, Any]] = []
        self.missing: set[str] = set()
        self.calls = {self._id(name): [self._id(one) for one in to] for name, to in _shape(services).items()}
        self.layouts: dict[Shown, Layout] = {}
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def _id(self, name: str) -> str:
        return f"{_space(name)}/{name}{self.hostile}"

    def rates(self, name: str, factor: float = 1.0) -> dict[str, Any]:
        """Numbers that belong to a name and do not jump."""
        own = random.Random(name)
        kind = own.random()
        per_second = 0.0 if kind < 0.06 else round(math.exp(own.uniform(-1, 6)) * factor, 3)
        bad = 0.31 if name in self.broken or any(one in self.broken for one in name.split(" ")) else 0.0
        bad = bad or (0.02 if kind > 0.97 and len(self.calls) > 6 else 0.0)
        p50 = own.uniform(1, 40) * (60 if bad > 0.1 else 1)
        quiet = per_second == 0.0
        return {
            "requests": int(per_second * 60),
            "requests_per_second": per_second,
            "success_rate": None if quiet else 1 - bad,
            "p50_ms": None if quiet else p50,
            "p95_ms": None if quiet else p50 * 2.5,
            "p99_ms": None if quiet else p50 * 6,
            "codes": {} if quiet else {"200": int(per_second * 60 * (1 - bad)), "503": int(per_second * 60 * bad)},
            "flags": {"UF": int(per_second * 60 * bad)} if bad else {},
            "bytes_sent": int(per_second * 9000),
            "bytes_received": int(per_second * 31000),
            "connections_opened": 3,
            "connections_closed": 2,
        }

    def graph(self, fold: str = "") -> dict[str, Any]:
        """As the control plane builds it, from the same edges."""
        shown = Shown(folded=frozenset(one for one in fold.split(",") if one))
        places = {name: self._place(name) for name in self.calls}
        calls = frozenset((name, callee) for name, to in self.calls.items() for callee in to)
        intents = Intents(places, {}, {}, {}, calls, {}, {}, {})
        window = Window(0.0, 60.0, tuple(self._traffic_edges()))
        graph, self.layouts[shown] = build_graph(intents, window, (), shown, self.layouts.get(shown))
        told: dict[str, Any] = msgspec.to_builtins(graph)
        for node in told["nodes"]:
            node["problems"] = int(node["id"] in self.broken)
        for edge in told["edges"]:
            if edge["to"].startswith("default/reviews"):
                rule = "VirtualService default/reviews"
                shares = (("v1", 0.8, 0.78), ("v2", 0.2, 0.22))
                edge["weights"] = [{"to": to, "asked": asked, "seen": seen, "rule": rule} for to, asked, seen in shares]
        return told

    def _place(self, name: str) -> Place:
        namespace, short = name.split("/", 1)
        versions = _VERSIONS.get(short, (("v1", 1.0),))
        named = tuple((f"{one}{self.hostile}", (f"{name}-{one}",)) for one, _ in versions)
        return Place(name, "gateway" if "gateway" in short else "service", short, namespace, named)

    def _traffic_edges(self) -> Iterator[Edge]:
        for one in self.edges():
            versions = _VERSIONS.get(one["to"].split("/", 1)[1], (("v1", 1.0),))
            for version, share in versions:
                count = int(one["requests"] * share)
                if not count:
                    continue
                failures = count - int(count * one["success_rate"])
                lower, width = one["p50_ms"], one["p99_ms"] - one["p50_ms"]
                yield Edge(
                    f"{one['from']}-v1", one["from"], one["to"], f"{one['to']}-{version}", 9080, "http",
                    mtls=one["mtls"], requests=count, failures=failures,
                    codes=tuple(one["codes"].items()), flags=tuple(one["flags"].items()),
                    latency=((lower, 1.0, count // 2), (lower, width, count - count // 2)),
                    bytes_sent=one["bytes_sent"], bytes_received=one["bytes_received"],
                )  # fmt: skip

    def edges(self) -> list[dict[str, Any]]:
        found = []
        for name, callees in self.calls.items():
            for callee in callees:
                rates = self.rates(f"{name} {callee}", 0.5)
                intent = rates["requests"] == 0
                weights = []
                if callee.startswith("default/reviews"):
                    weights = [
                        {"to": "v1", "asked": 0.8, "seen": 0.78, "rule": "VirtualService default/reviews"},
                        {"to": "v2", "asked": 0.2, "seen": 0.22, "rule": "VirtualService default/reviews"},
                    ]
                own = random.Random(callee + name)
                found.append(
                    {"from": name, "to": callee, "ports": [9080], "protocols": ["http"], **rates}
                    | {"mtls": None if intent else own.random() < 0.97, "intent": intent, "weights": weights}
                )
        return found

    def traffic(self) -> dict[str, Any]:
        edges = [
            {
                "source": f"{edge['from']}-v1",
                "source_service": edge["from"],
                "destination": edge["to"],
                "destination_workload": f"{edge['to']}-v1",
                "port": 9080,
                "protocol": "http",
                "last_seen": instant(self.now().timestamp()),
            }
            | {key: value for key, value in edge.items() if key not in {"from", "to", "ports", "protocols", "intent"}}
            for edge in self.edges()
            if not edge["intent"]
        ]
        until = self.now()
        since = until - timedelta(seconds=60)
        times = {"from": instant(since.timestamp()), "until": instant(until.timestamp())}
        return {**times, "seconds": 60, "complete": True, "dropped": 0, "edges": edges}

    def series(self, request: web.Request) -> dict[str, Any]:
        window, step = float(request.query.get("window", 300)), float(request.query.get("step", 10))
        end, points = self.now().timestamp(), []
        count = int(window / step)
        for at in range(count):
            gap = count // 4 < at < count // 3
            wave = 40 + 20 * math.sin(at / 4) + self.random.random() * 3
            errors = wave * 0.3 if at > count * 0.8 and self.broken else 0
            points.append(
                {
                    "time": instant(end - (count - at) * step),
                    "requests": 0 if gap else int(wave * step),
                    "errors": 0 if gap else int(errors * step),
                    "p50_ms": None if gap else wave / 4,
                    "p95_ms": None if gap else wave,
                    "p99_ms": None if gap else wave * 3,
                    "bytes_sent": int(wave * 900),
                    "bytes_received": int(wave * 9000),
                }
            )
        return {"step": step, "points": points}

    def problems(self) -> list[dict[str, Any]]:
        if not (self.broken or self.hostile):
            return []
        key = self.key()
        one = {"severity": "error", "code": "unknown-subset", "source": f"reviews.yaml{self.hostile}", "line": 12}
        text = {
            "message": f"subset 'v9' is of no DestinationRule{self.hostile}",
            "expected": f"v1, v2 or v3{self.hostile}",
        }
        return [one | text | {"path": "spec.http[0].route[0].destination.subset", "nearest": "v3", "object": key}]

    def workloads(self) -> list[dict[str, Any]]:
        rows = []
        for name in self.calls:
            namespace, short = name.split("/", 1)
            for version, _ in _VERSIONS.get(short, (("v1", 1.0),)):
                rows.append(
                    {
                        "name": f"{short}-{version}",
                        "namespace": namespace,
                        "service_account": short,
                        "labels": {"app": short, "version": version, "note": self.hostile or "x"},
                        "ports": [{"number": 9080, "inbound": "127.0.0.1:41000"}],
                        "proxy": f"{short}-{version}.{namespace}",
                        "connected": True,
                        "health": "HEALTHY",
                        "lease_expires": instant(self.now().timestamp() + 20),
                        "agent_silent": False,
                    }
                )
        return rows

    def services(self) -> list[dict[str, Any]]:
        rows = []
        for name in self.calls:
            namespace, short = name.split("/", 1)
            endpoints = [
                {
                    "workload": f"{short}-{version}",
                    "address": "127.0.0.1:41000",
                    "health": "UNHEALTHY" if name in self.broken else "HEALTHY",
                    "identity": f"spiffe://cluster.local/ns/{namespace}/sa/{short}",
                    "labels": {"version": version},
                }
                for version, _ in _VERSIONS.get(short, (("v1", 1.0),))
            ]
            rows.append(
                {
                    "name": short,
                    "namespace": namespace,
                    "host": f"{short}.{namespace}.svc.cluster.local",
                    "external_name": "",
                    "ports": [{"port": 9080, "name": "http", "protocol": "HTTP", "endpoints": endpoints}],
                    "origin": {"source": "services.yaml", "line": 10},
                }
            )
        return rows

    def documents(self) -> list[dict[str, Any]]:
        rows = []
        for number, name in enumerate(self.calls):
            namespace, short = name.split("/", 1)
            for kind, group in (("VirtualService", "networking.istio.io"), ("DestinationRule", "networking.istio.io")):
                key = {"group": group, "kind": kind, "namespace": namespace, "name": short}
                body = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": short, "namespace": namespace}}
                spec = {"hosts": [short], "http": [{"route": [{"destination": {"host": short, "subset": "v1"}}]}]}
                spec = spec if kind == "VirtualService" else {"host": short, "subsets": [{"name": "v1"}]}
                rows.append(
                    {
                        "key": key,
                        "source": f"{short}.yaml",
                        "line": number + 3,
                        "owner": "file",
                        "created": self.now().timestamp() - 4000,
                        "generation": 2,
                        "unreadable": False,
                        "document": {**body, "spec": spec},
                        "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}],
                    }
                )
        return rows

    def proxies(self) -> list[dict[str, Any]]:
        kinds = ("Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration")
        return [
            {
                "name": row["proxy"],
                "variant": "delta",
                "identity": f"spiffe://cluster.local/ns/{row['namespace']}/sa/{row['service_account']}",
                "connected_since": instant(self.now().timestamp() - 4000),
                "certificate_expires": instant(self.now().timestamp() + 3000 + 100 * index),
                "revision": self.revision,
                "revision_acked": self.revision,
                "bytes_sent": 120_000,
                "types": [
                    {"type": kind, "wildcard": True, "subscribed": 0, "sent": 4, "acked": 4, "nacked": 0}
                    | {"pending": 0, "rejected": 0, "bytes": 9000}
                    for kind in kinds
                ],
                "last_nack": None,
                "stuck": False,
            }
            for index, row in enumerate(self.workloads())
        ]

    def config(self, name: str) -> dict[str, Any]:
        where = {"filter_metadata": {"weft": {"src": "reviews.yaml:12", "object": "VirtualService default/reviews"}}}
        route = {
            "name": "VirtualService default/reviews",
            "match": {"prefix": f"/{self.hostile}"},
            "route": {"cluster": "outbound|9080|v3|reviews.default", "timeout": "3s"},
            "metadata": where,
        }
        hosts = [{"name": "reviews.default", "domains": ["reviews", "reviews:9080"], "routes": [route]}]
        return {
            "proxy": name,
            "revision": self.revision,
            "clusters": [{"name": "outbound|9080|v3|reviews.default", "type": "EDS", "origins": ["reviews.yaml:3"]}],
            "endpoints": [],
            "listeners": [
                {"name": "outbound", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}
            ],
            "routes": [{"name": "outbound", "virtual_hosts": hosts}],
            "secrets": [
                {"name": "identity", "identity": "spiffe://x", "expires": instant(self.now().timestamp() + 900)}
            ],
        }

    def history(self) -> list[dict[str, Any]]:
        rows = []
        for number in range(self.revision, max(0, self.revision - 8), -1):
            rows.append(
                {
                    "revision": number,
                    "time": instant(self.now().timestamp() - (self.revision - number) * 170 - 20),
                    "who": "admin token",
                    "action": "apply",
                    "objects": [self.key() | {"change": "changed"}],
                    "changed_proxies": 7,
                    "confirmed": 7,
                    "confirmed_ms": 41,
                    "pending": [],
                }
            )
        return rows

    def revision_detail(self, revision: int) -> dict[str, Any]:
        row = next((one for one in self.history() if one["revision"] == revision), None)
        if row is None:
            raise Refused(404, "unknown-revision", f"there is no revision {revision}")
        lines = ("--- before", "+++ reviews.yaml:12", "@@ -9,3 +9,3 @@", "   http:", f"-    subset: v1{self.hostile}")
        text = "\n".join((*lines, f"+    subset: v3{self.hostile}", ""))
        entry = {**self.key(), "change": "changed", "owner": "api", "source": "reviews.yaml", "line": 12, "diff": text}
        change = {"type": "routes", "name": f"outbound{self.hostile}", "change": "changed", "diff": "-  v1\n+  v3\n"}
        group = {"proxies": [f"productpage-v1.default{self.hostile}"], "proxy_count": 1, "changes": [change]}
        return {**row, "documents": [entry], "resources": [{**group, "counts": {"routes": {"changed": 1}}}]}

    def key(self) -> dict[str, str]:
        group = {"group": "networking.istio.io", "kind": "VirtualService"}
        return {**group, "namespace": "default", "name": f"reviews{self.hostile}"}

    def requests(self) -> list[dict[str, Any]]:
        return [self.request(number) for number in range(12 if self.broken or self.hostile else 0)]

    def request(self, number: int, status: int = 503) -> dict[str, Any]:
        return {
            "workload": "default/productpage-v1",
            "time": instant(self.now().timestamp() - number * 3),
            "side": "outbound",
            "id": f"8f14e45f-ceea-467f-a0e6-{number:012d}",
            "trace": "",
            "method": "GET",
            "path": f"/reviews/{number}{self.hostile}",
            "host": f"{min(self.broken, default='default/reviews').split('/')[1]}:9080{self.hostile}",
            "status": status,
            "flags": "UF" if status >= 500 else "-",
            "details": "",
            "failure": "",
            "duration_ms": 2.5,
            "upstream": "127.0.0.1:41000",
            "cluster": "outbound|9080|v3|reviews.default.svc.cluster.local",
            "peer": "reviews-v3.default",
            "attempts": 1,
            "object": "VirtualService default/reviews",
            "source": f"reviews.yaml:12{self.hostile}",
            "headers": {"x-note": f"x{self.hostile}"},
            "failed": status >= 500,
            "meaning": f"no connection to the endpoint could be made{self.hostile}",
        }

    def explanation(self) -> dict[str, Any]:
        rule = {"object": "VirtualService default/reviews", "source": f"reviews.yaml:12{self.hostile}"}
        endpoint = {
            "address": "127.0.0.1:41000",
            "workload": "default/reviews-v3",
            "health": "unhealthy",
            "accepts": "",
        }
        hop = {
            "proxy": "productpage-v1.default",
            "side": "outbound",
            "rule": rule,
            "match": f"GET reviews:9080/{self.hostile}",
            "does": [f"waits 2 s before 100 % of requests{self.hostile}"],
            "tried": [{"rule": rule, "name": "first", "match": "path /x", "why": [f"the path is /{self.hostile}"]}],
            "split": [],
            "cluster": "outbound|9080|v3|reviews.default.svc.cluster.local",
            "transport": "mutual TLS",
            "endpoints": [{**endpoint, "note": f"its health check fails{self.hostile}"}],
            "duration_ms": None,
            "status": 503,
            "flags": "UH",
            "meaning": f"no healthy endpoint{self.hostile}",
        }
        text = f"no endpoint of reviews, subset v3, is healthy{self.hostile}"
        cause = {
            "code": "no-endpoint",
            "text": text,
            **rule,
            "fix": "weft describe service reviews",
            "severity": "error",
        }
        when = instant(self.now().timestamp() - 180)
        change = {"revision": self.revision, "time": when, "who": "admin token", "action": "changed", **rule}
        answer = {"outcome": "unavailable", "text": text, "status": 503}
        return {
            "answer": answer,
            "hops": [hop, {"proxy": "reviews-v3.default"}],
            "changed": [change],
            "causes": [cause],
        }

    def matrix(self) -> dict[str, Any]:
        """Who may call whom: productpage some of reviews, everybody else nothing, and the rest is open."""
        names = [f"{row['namespace']}/{row['name']}" for row in self.services()]
        policy = {"object": f"AuthorizationPolicy default/reviews{self.hostile}", "source": "reviews.yaml:3"}
        plain: dict[str, Any] = {"only": [], "but": [], "asks": [], "policies": []}
        some = {"reaches": "some", "only": [f"to method GET{self.hostile}"], "policies": [policy]}
        answers = [plain | {"reaches": "unconstrained"}, plain | {"reaches": "no", "policies": [policy]}, plain | some]
        restricted = [1 if "reviews" in name else 0 for name in names]
        return {
            "callers": [{"name": name, "workloads": [], "gateway": False} for name in names],
            "targets": [{"name": f"{name}:9080", "protocol": "http", "workloads": 1} for name in names],
            "answers": answers,
            "cells": [[2 if one and "productpage" in name else one for one in restricted] for name in names],
        }

    def findings(self) -> dict[str, Any]:
        found = [
            {
                "code": one["code"],
                "severity": one["severity"],
                "message": one["message"],
                "object": "VirtualService default/reviews",
                "source": "reviews.yaml:12",
                "fix": "weft apply -f reviews.yaml --wait",
                "page": "docs/findings.md#unknown-subset",
            }
            for one in self.problems()
        ]
        return {"findings": found, "passed": ["the store answers", "every proxy has confirmed the latest revision"]}


def _space(name: str) -> str:
    tail = name.rpartition("-")[2]
    return "default" if not tail.isdecimal() else ("default", "payments", "search", "edge")[int(tail) % 4]


def _shape(services: int) -> dict[str, list[str]]:
    """Bookinfo, or a tree with some cross links of so many services behind two gateways."""
    if services <= 6:
        return BOOKINFO
    own = random.Random(services)
    words = ("orders", "cart", "stock", "price", "users", "mail", "images", "rank", "audit", "tax", "ship", "quota")
    names = [f"{words[number % len(words)]}-{number}" for number in range(services)]
    calls: dict[str, list[str]] = {"public-gateway": [], "edge-gateway": [], **{name: [] for name in names}}
    callers = ["public-gateway", "edge-gateway"]
    for index, name in enumerate(names):
        first = max(0, index // 3 - 6)
        pool = [*callers, *names[first : max(1, index // 2)]] if index < 12 else names[first : max(1, index // 2)]
        for caller in {own.choice(pool), own.choice(pool)} if own.random() < 0.4 else {own.choice(pool)}:
            if caller != name:
                calls[caller].append(name)
    return calls
