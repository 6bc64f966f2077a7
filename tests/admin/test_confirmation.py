"""Whether what was written to the API server is waited for: what has to be read, and what may never be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from support.meshdocs import documents
from weft.admin import confirmation
from weft.admin.confirmation import confirmed_here
from weft.admin.context import ApiContext, Compiled
from weft.admin.replicas.rows import Awaited, Found, Sought
from weft.aio.cell import Cell
from weft.discovery.status import WaitResult
from weft.model.document import Document

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: shop}
data: {a: Yg==}
"""


class Hub:
    """One that has published everything."""

    def connected(self) -> tuple[str, ...]:
        return ()

    async def wait_revision(self, *_: object) -> WaitResult:
        return WaitResult((), (), ())


class Mesh:
    """What a test says that the mesh in force is made of; `left_out` are namespaces that are not in view."""

    def __init__(self, *left_out: str) -> None:
        self.compiled = Cell(Compiled(1, None))
        snapshot = SimpleNamespace(left_out=frozenset(left_out))
        self.context: Any = SimpleNamespace(
            replicas=SimpleNamespace(boot="own"),
            hub=Hub(),
            compiled=self.compiled,
            collector=SimpleNamespace(snapshot=snapshot),
        )

    def is_of(self, *made: Document[object]) -> None:
        self.compiled.set(Compiled(self.compiled.value.revision + 1, None, documents=made))

    async def wait(self, written: Sought, seconds: float = 0.5) -> Found:
        end = asyncio.get_running_loop().time() + seconds
        return await confirmed_here(cast(ApiContext, self.context), Awaited((written,), boot="own", since=0), end)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "UNCERTAIN_SECONDS", 0.05)


def read(text: str, uid: str, version: int) -> Document[object]:
    [found] = documents(text, f"kubernetes:x/{uid}@{version}")
    return found


async def test_a_service_that_was_never_read_is_waited_for() -> None:
    """It has no generation, and yet it has to come."""
    mesh, written = Mesh(), Sought("", "Service", "shop", "web", "u1", 0, "40")
    assert (await mesh.wait(written)).unread == ("Service shop/web",)
    mesh.is_of(read(SERVICE, "u0", 30))
    assert (await mesh.wait(written)).unread == ("Service shop/web",), "that is the one before"
    waits = asyncio.create_task(mesh.wait(written, 60))
    mesh.is_of(read(SERVICE, "u1", 40))
    assert (await waits).known


@pytest.mark.parametrize("uid", ["u0", "u1"])
async def test_one_whose_version_does_not_come_says_the_same_as_before(uid: str) -> None:
    mesh = Mesh()
    mesh.is_of(read(SERVICE, uid, 30))
    found = await mesh.wait(Sought("", "Service", "shop", "web", uid, 0, "40"), 60)
    assert (found.known, found.unread) == (True, ())


@pytest.mark.parametrize(
    "written",
    [
        Sought("", "Service", "else", "web", "u1", 0, "40"),
        Sought("gateway.networking.k8s.io", "HTTPRoute", "else", "web", "u1", 1, "40"),
        Sought("", "Secret", "shop", "cert", "u1", 0, "40"),
        Sought("apps", "Deployment", "shop", "web", "u1", 3, "40"),
    ],
)
async def test_what_is_not_looked_at_keeps_nobody(written: Sought) -> None:
    found = await Mesh("else").wait(written, 60)
    assert (found.known, found.unread) == (True, ())


async def test_a_secret_that_something_refers_to_is_waited_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "UNCERTAIN_SECONDS", 60)
    mesh = Mesh()
    mesh.is_of(read(SECRET, "u1", 30))
    waits = asyncio.create_task(mesh.wait(Sought("", "Secret", "shop", "cert", "u1", 0, "40"), 60))
    done, _ = await asyncio.wait([waits], timeout=0.1)
    assert not done
    mesh.is_of(read(SECRET, "u1", 40))
    assert (await waits).revision == 3
