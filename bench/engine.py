"""The one place where benchmarks reach into the control plane: compile, publish, serve, as ``weft serve`` does it.

The same file steers this checkout and, with ``--against``, another one, whose `weft` is first on the path. It relies on
`weft.discovery`: ``compiler.MeshCompiler().build(snapshot)``, ``hub.Hub(compiler, limits=...)`` with ``publish``,
``wait_revision``, ``proxies`` and ``attach``/``detach``, ``server.serve_xds`` and ``SERVICE``; what only one of the
two has is asked for by name.
"""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from weft.aio.collection import collect_seldom
from weft.discovery.compiler import MeshCompiler
from weft.discovery.hub import Hub
from weft.discovery.limits import Limits
from weft.discovery.peer import Peer
from weft.discovery.server import serve_xds
from weft.model.identity import spiffe_id_from_text
from weft.model.snapshot import ConfigSnapshot
from weft.model.workload import Workload

__all__ = ["Engine", "Material", "collect_seldom"]
TYPES = 4
"""Clusters, endpoints, listeners and routes: a proxy that has not asked for them all is still loading."""


@dataclass(frozen=True)
class Material:
    """The server's certificate, PEM."""

    key: str
    chain: str
    bundle: str


def material_of(directory: Path) -> Material:
    """What `bench.streams_certificates` wrote."""
    return Material(*[(directory / name).read_text() for name in ("server.key", "server.pem", "root.pem")])


class Engine:
    """A control plane without store and APIs."""

    def __init__(self) -> None:
        self._compiler = MeshCompiler()
        self.hub: Hub[Any] = Hub(self._compiler, limits=_limits())
        self._documents: object = None
        self._check = _second_checker()
        self._by_proxy = _registered()
        self.workloads: Mapping[str, Workload] = {}

    async def publish(self, snapshot: ConfigSnapshot) -> float:
        """Build the mesh and offer it; CPU seconds of what comes before the first proxy's turn."""
        begun = time.process_time()
        mesh = self._compiler.build(snapshot)
        if self._check is not None and snapshot.documents != self._documents:
            self._check(snapshot.documents)
        self._documents = snapshot.documents
        self.workloads = self._by_proxy(snapshot.workloads)
        built = time.process_time() - begun
        outcome: object = self.hub.publish(mesh, self.workloads, snapshot.revision)
        if inspect.isawaitable(outcome):
            await outcome
        return built

    async def wait(self, revision: int, timeout: float) -> int:
        """How many proxies have confirmed a revision, once no more are waited for."""
        result = await self.hub.wait_revision(revision, timeout)
        return len(result.confirmed)

    def current(self, revision: int) -> int:
        """How many proxies hold everything."""
        statuses = self.hub.proxies()
        return sum(status.revision_acked == revision and len(status.types) >= TYPES for status in statuses)

    def bytes_sent(self) -> int:
        """To the streams that are open."""
        return sum(status.bytes_sent for status in self.hub.proxies())

    def attach(self, name: str, identity: str) -> Any:
        """A stream without gRPC, of a proxy whose identity was proven: it has `take`, `run` and `session`."""
        spiffe = spiffe_id_from_text(identity)
        if spiffe is None:
            raise ValueError(identity)
        peer = Peer(name, spiffe, time.time() + 86400)
        return self.hub.attach(peer, self.workloads[name], delta=True)

    @asynccontextmanager
    async def serving(self, port: int, material: Material) -> AsyncIterator[int]:
        """The xDS server on loopback; its port."""

        def lookup(name: str) -> Workload | None:
            return self.workloads.get(name)

        async with serve_xds("127.0.0.1", port, material=lambda: material, hub=self.hub, lookup=lookup) as bound:
            yield bound


def _limits() -> Limits:
    """The usual ones, but proxies that are registered and never connected are not waited for."""
    usual = Limits()
    wanted = {"restart": 0.0}
    known = {field.name for field in fields(usual)}
    return replace(usual, **{name: value for name, value in wanted.items() if name in known})  # type: ignore[arg-type]


def _registered() -> Callable[[tuple[Workload, ...]], Mapping[str, Workload]]:
    """How the build loop keeps the workloads by name: patched where there is something to patch tables with."""
    last: tuple[tuple[Workload, ...], Mapping[str, Workload]] = (), {}
    try:
        patched: Any = importlib.import_module("weft.mesh.differences").patched_table
    except ImportError:
        return lambda workloads: {workload.proxy: workload for workload in workloads}

    def table(workloads: tuple[Workload, ...]) -> Mapping[str, Workload]:
        nonlocal last
        last = workloads, patched(last, workloads, lambda workload: ((workload.proxy, workload),))
        return last[1]

    return table


def _second_checker() -> Callable[[Any], object] | None:
    """Where documents are checked a second time at each change of one, that is part of what a change costs."""
    try:
        module = importlib.import_module("weft.schema.references")
    except ImportError:
        return None
    found: Callable[[Any], object] | None = getattr(module, "check_references", None)
    return found
