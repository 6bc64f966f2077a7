"""The oracle of connections: random rules and connections, judged by a real Envoy and by weft's own verdict:
``PYTHONPATH=tests python -m support.layer4_oracle --connections 20000``.

Each Service of a batch has documents of its own; one Envoy carries them all, by CONNECT and at loopback ports. Servers
say who they are, so that it is known where a connection came out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import random
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.certificates import TestAuthority
from support.meshdocs import HOST, Compiled, workload
from support.proxy import running_view
from weft.explain.connections import Carried, Connection, carry
from weft.mesh.services.service import BackendKey
from weft.model.workload import SocketAddress, Upstream, Workload, WorkloadPort
from weft.xds.services.names import cluster_name

NAMES = ("a.example.com", "b.example.com", "x.a.example.com", "a.example.org", "A.EXAMPLE.com", "")
PATTERNS = ("a.example.com", "b.example.com", "*.example.com", "*.a.example.com", "*.com")
VERSIONS = ("v1", "v2", "v3")
_PORTS = {"tcp": 5432, "tls": 8443}
_SERVICES = 12
_AT_ONCE = 48
_SECONDS = 20


@dataclass
class Outcome:
    """What was compared; `closed` connections are those that nobody should answer."""

    connections: int = 0
    closed: int = 0
    disagreements: list[str] = field(default_factory=list)


class Maker:
    """Random documents of a Service."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def documents(self, name: str) -> str:
        """A Service in three versions with some rules for its connections."""
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {
                "selector": {"app": name},
                "ports": [{"name": word, "port": port, "targetPort": 1} for word, port in _PORTS.items()],
            },
        }
        subsets = [{"name": each, "labels": {"version": each}} for each in VERSIONS]
        rule = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": name},
            "spec": {"host": name, "subsets": subsets, "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
        }
        found = [service, rule, *self.chance.choice((self.virtual, self.routes))(name)]
        return "\n---\n".join(json.dumps(each) for each in found)

    def virtual(self, name: str) -> list[object]:
        """A VirtualService with tcp rules, tls rules, or both."""
        spec: dict[str, object] = {"hosts": [name, "*.com", "*.org"]}
        kinds = self.chance.choice((("tcp",), ("tls",), ("tcp", "tls")))
        if "tcp" in kinds:
            spec["tcp"] = [self.tcp(name) for _ in range(self.chance.randint(1, 3))]
        if "tls" in kinds:
            spec["tls"] = [self.tls(name) for _ in range(self.chance.randint(1, 3))]
        kind = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}}
        return [{**kind, "spec": spec}]

    def tcp(self, name: str) -> object:
        """A tcp rule."""
        rule: dict[str, object] = {"route": self.route(name)}
        if self.chance.random() < 0.6:
            rule["match"] = [self.match() for _ in range(self.chance.randint(1, 2))]
        return rule

    def tls(self, name: str) -> object:
        """A tls rule."""
        matches = [
            {**self.match(), "sniHosts": self.chance.sample(PATTERNS, self.chance.randint(1, 2))}
            for _ in range(self.chance.randint(1, 2))
        ]
        return {"match": matches, "route": self.route(name)}

    def match(self) -> dict[str, object]:
        """What a match asks for besides server names."""
        found: dict[str, object] = {}
        if self.chance.random() < 0.3:
            found["port"] = self.chance.choice([*_PORTS.values(), 1])
        if self.chance.random() < 0.3:
            found["sourceLabels"] = {"app": self.chance.choice(("client", "other"))}
        if self.chance.random() < 0.2:
            found["sourceNamespace"] = self.chance.choice(("default", "away"))
        if self.chance.random() < 0.1:
            found["destinationSubnets"] = ["10.0.0.0/8"]
        return found

    def route(self, name: str) -> list[object]:
        """Destinations, some of which are not there or get nothing."""
        chosen = self.chance.sample([*VERSIONS, "gone"], self.chance.randint(1, 3))
        found: list[object] = []
        for place, each in enumerate(chosen):
            destination = {"host": "gone"} if each == "gone" else {"host": name, "subset": each}
            weight = self.chance.choice((0, 1, 5)) if place else self.chance.choice((1, 5))
            found.append({"destination": destination, "weight": weight})
        return found

    def routes(self, name: str) -> list[object]:
        """TCPRoutes and TLSRoutes."""
        return [self.attached(name, f"{name}-{number}") for number in range(self.chance.randint(1, 3))]

    def attached(self, name: str, own: str) -> object:
        """A route of the Gateway API."""
        kind = self.chance.choice(("TCPRoute", "TLSRoute"))
        parent: dict[str, object] = {"group": "", "kind": "Service", "name": name}
        if self.chance.random() < 0.7:
            parent["port"] = self.chance.choice(list(_PORTS.values()))
        backends = [
            {
                "name": self.chance.choice((name, "gone")),
                "port": self.chance.choice(list(_PORTS.values())),
                "weight": self.chance.choice((0, 1, 4)),
            }
            for _ in range(self.chance.randint(1, 2))
        ]
        spec: dict[str, object] = {"parentRefs": [parent], "rules": [{"backendRefs": backends}]}
        if kind == "TLSRoute":
            spec["hostnames"] = self.chance.sample(PATTERNS, self.chance.randint(1, 3))
        return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": {"name": own}, "spec": spec}


async def consult(connections: int, seed: int) -> Outcome:
    """Compare so many connections, in batches of documents."""
    maker, outcome = Maker(random.Random(seed)), Outcome()
    each = min(connections, _SERVICES * 80)
    while outcome.connections < connections:
        with tempfile.TemporaryDirectory() as directory:
            await _batch(maker, each // _SERVICES, Path(directory), outcome)
    return outcome


async def _batch(maker: Maker, each: int, directory: Path, outcome: Outcome) -> None:
    names = [f"s{number}" for number in range(_SERVICES)]
    texts = [maker.documents(name) for name in names]
    async with _servers(names) as instances:
        own, *free = _free_ports(1 + len(names) * len(_PORTS))
        places = [(name, port) for name in names for port in _PORTS.values()]
        upstreams = tuple(
            Upstream(*place, SocketAddress(HOST, listen)) for place, listen in zip(places, free, strict=True)
        )
        client = workload("client", upstreams=upstreams, outbound=SocketAddress(HOST, own), ports=())
        view = Compiled(*texts, workloads=[*instances, client]).sidecar(client)
        async with running_view(view, directory, TestAuthority()):
            turns = asyncio.Semaphore(_AT_ONCE)
            ports = {(one.service, one.port): one.listen.port for one in upstreams}
            jobs = []
            for name, text in zip(names, texts, strict=True):
                for _ in range(each):
                    port = maker.chance.choice(list(_PORTS.values()))
                    server = maker.chance.choice(NAMES)
                    tls = maker.chance.random() < 0.8
                    asked = Connection(port, f"{name}.default.svc.cluster.local", server if tls else "", tls)
                    straight = ports[name, port] if maker.chance.random() < 0.5 else 0
                    jobs.append(_compare(asked, carry(view, asked), straight, own, text, outcome, turns))
            await asyncio.gather(*jobs)


def _free_ports(count: int) -> list[int]:
    """Ports that are free at one time."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in held]


async def _compare(
    asked: Connection,
    verdict: Carried,
    straight: int,
    proxy: int,
    text: str,
    outcome: Outcome,
    turns: asyncio.Semaphore,
) -> None:
    async with turns:
        seen = await _reach(asked, straight, proxy)
    expected = {name for name, share in verdict.shares if share > 0}
    good = any(_is_of(seen, asked, name) for name in expected) if seen else verdict.closed > 0
    outcome.connections += 1
    outcome.closed += not expected
    if not good:
        way = "upstream" if straight else "CONNECT"
        outcome.disagreements.append(f"{asked} by {way}: Envoy {seen or 'closed'}, verdict {verdict}\n{text}")


def _is_of(seen: str, asked: Connection, cluster: str) -> bool:
    """Whether a server stands behind a cluster: all versions are behind the one without subset."""
    return any(
        cluster == cluster_name(BackendKey(asked.host, port, subset))
        for port in _PORTS.values()
        for subset in ("", seen)
    )


async def _reach(asked: Connection, straight: int, proxy: int) -> str:
    """The version that answers, or nothing. TLS is begun and not ended: the server only looks who it is."""
    writer = None
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, straight or proxy)
            if not straight:
                target = f"{asked.host}:{asked.port}"
                writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                if b" 200 " not in head.splitlines()[0]:
                    return ""
            writer.write(_hello(asked.server_name) if asked.tls else b"hello\n")
            return (await reader.readline()).decode().strip()
    except (ConnectionError, asyncio.IncompleteReadError):
        return ""
    finally:
        if writer is not None:
            writer.transport.abort()


@functools.cache
def _hello(name: str) -> bytes:
    """The first bytes of a TLS client that asks for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(into, out, server_hostname=name or None)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@contextlib.asynccontextmanager
async def _servers(names: list[str]) -> AsyncIterator[list[Workload]]:
    """Servers that say their version when anything was said, three for each Service."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for name in names:
            for number, version in enumerate(VERSIONS):
                server = await asyncio.start_server(_sayer(version), HOST, 0)
                await stack.enter_async_context(server)
                where = SocketAddress(HOST, server.sockets[0].getsockname()[1])
                found.append(workload(name, version, ports=(WorkloadPort(1, where, where),), number=number))
        yield found


def _sayer(version: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            if await reader.read(1):
                writer.write(f"{version}\n".encode())
                await writer.drain()
            writer.close()

    return say


def main() -> None:
    """Consult, and print what came of it."""
    parser = argparse.ArgumentParser(description="Random rules for connections, judged by a real Envoy.")
    parser.add_argument("--connections", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None)
    words = parser.parse_args()
    seed = random.randrange(2**32) if words.seed is None else words.seed
    outcome = asyncio.run(consult(words.connections, seed))
    print(f"seed {seed}: {outcome.connections} connections, {outcome.closed} for nobody")
    for each in outcome.disagreements[:5]:
        print(each)
    raise SystemExit(1 if outcome.disagreements else 0)


if __name__ == "__main__":
    main()
