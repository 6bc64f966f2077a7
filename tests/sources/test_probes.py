"""Probes of instances without an agent: who is asked, what callers are told, and when nobody is told anything."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable

import pytest

from weft.aio.cell import Cell
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.model.groups import GroupProbe
from weft.model.snapshot import ConfigSnapshot
from weft.schema.decode import decode_documents
from weft.sources.collector import Collected
from weft.sources.contents import Contents
from weft.sources.probes import ProbeSource, Standing, wanted_targets

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
GROUP = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms}
spec:
  template: {ports: {web: 8080}}
  probe: {periodSeconds: 1, failureThreshold: 1, httpGet: {port: 8080, path: /health}}
"""
ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: NAME, annotations: {weft.dev/group: vms}}
spec: {address: ADDRESS, ports: {web: PORT}, labels: {app: vm}}
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: vm}
spec: {selector: {app: vm}, ports: [{name: http, port: 80, targetPort: web}]}
"""


def entry(name: str, port: int, address: str = "127.0.0.1") -> str:
    return ENTRY.replace("NAME", name).replace("PORT", str(port)).replace("ADDRESS", address)


def snapshot(*texts: str) -> ConfigSnapshot:
    return ConfigSnapshot(1, tuple(sorted(decode_documents("".join(texts), "a.yaml").documents, key=lambda d: d.key)))


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[tuple[int, dict[str, bytes]]]:
    """An HTTP server whose status line can be changed, and what it was asked last."""
    said = {"status": b"200 OK", "asked": b""}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            said["asked"] = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 %s\r\ncontent-length: 0\r\nlocation: /x\r\n\r\n" % said["status"])
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], said


async def reached(source: ProbeSource, holds: Callable[[Contents], bool]) -> Contents:
    version = 0
    async with asyncio.timeout(60):
        while True:
            value = source.contents.value
            if value is not None and holds(value):
                return value
            version = await source.contents.changed(version)


def sick(contents: Contents) -> list[str]:
    return [key.name for key in contents.sick]


async def test_callers_are_told_of_who_does_not_pass_and_never_of_all() -> None:
    async with server() as (good, _), server() as (other, said):
        given = snapshot(GROUP, entry("a", good), entry("b", other), SERVICE)
        cell = Cell(Collected(given, 1))
        source = ProbeSource(lambda: cell, LOOPBACK)
        task = asyncio.create_task(source.run())
        try:
            cell.set(Collected(given, 1))
            said["status"] = b"503 no"
            found = await reached(source, lambda found: sick(found) == ["b"])
            assert said["asked"].startswith(b"GET /health HTTP/1.1\r\n")
            assert b"User-Agent: weft-health" in said["asked"]
            memo = Memo()
            memo.begin()
            mesh = build_mesh(ConfigSnapshot(2, given.documents, sick=found.sick), memo)
            [service] = mesh.services.all
            [(_, endpoints)] = service.ports()
            assert {one.workload: str(one.health) for one in endpoints} == {
                "a.default": "healthy",
                "b.default": "unhealthy",
            }
            said["status"] = b"302 found"
            await reached(source, lambda found: not found.sick)
            said["status"] = b"503 no"
            await reached(source, lambda found: sick(found) == ["b"])
            cell.set(Collected(snapshot(GROUP, entry("b", other), SERVICE), 2))
            alone = await reached(source, lambda found: bool(found.problems))
            assert alone.sick == ()
            assert [problem.code for problem in alone.problems] == ["probe-none-passes"]
            cell.set(Collected(snapshot(SERVICE), 3))
            await reached(source, lambda found: found == Contents())
            assert not source._tasks
            assert not source._standings
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.parametrize(
    ("texts", "networks", "why"),
    [
        ((GROUP, entry("a", 1)), (), "weft serve was started without --probe-network"),
        (
            (GROUP, entry("a", 1, "10.0.0.1")),
            LOOPBACK,
            "its address 10.0.0.1 is in none of the networks that were named",
        ),
        ((GROUP, entry("a", 1, "vm.example")), LOOPBACK, "its address vm.example is no IP address"),
        ((entry("a", 1),), LOOPBACK, "there is no WorkloadGroup 'vms' in its namespace"),
    ],
)
def test_who_is_not_asked_is_told(
    texts: tuple[str, ...], networks: tuple[ipaddress.IPv4Network, ...], why: str
) -> None:
    targets, [problem] = wanted_targets(snapshot(*texts), networks)
    assert not targets
    assert (problem.code, problem.message) == ("probe-not-asked", f"its health is not asked for: {why}")


def test_the_port_is_the_instances_own() -> None:
    [target], problems = wanted_targets(snapshot(GROUP, entry("a", 20345)), LOOPBACK)
    assert (target.port, problems) == (20345, ())


def test_who_flaps_is_believed_later_each_time() -> None:
    probe, standing, needed = GroupProbe("tcp", 1, healthy_after=1, unhealthy_after=1), Standing(), []
    for _ in range(6):
        assert standing.heard(probe, 100.0, good=False)
        count = 1
        while not standing.heard(probe, 100.0, good=True):
            count += 1
        needed.append(count)
    assert needed == [1, 2, 4, 8, 8, 8]
    assert standing.heard(probe, 1000.0, good=False)
    assert standing.heard(probe, 1000.0, good=True), "what was long ago is forgotten"
