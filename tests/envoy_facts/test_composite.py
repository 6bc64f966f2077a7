"""Facts of Envoy's composite filter, on which guards and CUSTOM policies stand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC

from support.envoy import free_port
from support.loopback import Connection, echo_server
from support.proxy import running_view
from support.views import (
    ORIGIN,
    PLAINTEXT,
    backend,
    endpoint,
    gateway,
    gateway_port,
    rule,
    target,
    targets,
    virtual_host,
)
from weft.mesh.access.guard import Authorizer
from weft.mesh.signals import Collector
from weft.xds.filters import composite, guard
from weft.xds.filters.ext_authz import NAME, ext_authz

REFUSE = (
    "envoy.filters.http.rbac",
    RBAC(
        rules=rules_pb2.RBAC(
            action=rules_pb2.RBAC.DENY,
            policies={"all": Policy(permissions=[Permission(any=True)], principals=[Principal(any=True)])},
        )
    ),
)
"""Everybody."""
Steps = Callable[[Authorizer], composite.Steps]


class Asked:
    """A server that says yes to everything, and notes the paths of questions."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.heads: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                self.paths.append(head.split(b" ")[1].decode())
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def edge(directory: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[int, Asked]]:
    """A gateway whose only rule meets `steps` of the port of who is asked."""
    asked, port = Asked(), free_port()
    server = await asyncio.start_server(asked.answer, "127.0.0.1", 0)
    where = server.sockets[0].getsockname()[1]
    authorizer = Authorizer("asked", Collector(host="127.0.0.1", port=where), grpc=False, origin=ORIGIN)
    monkeypatch.setattr(guard, "_steps", lambda _: iter(steps(authorizer)))
    async with server, echo_server("one") as one:
        view = gateway(
            gateway_port(port, virtual_hosts=(virtual_host((rule(authorizer=authorizer),), domains=("*",), port=80),)),
            targets=targets(target(endpoint(one.port), to=backend(transport=PLAINTEXT))),
        )
        async with running_view(view, directory):
            yield port, asked


async def status(port: int, path: str = "/") -> int:
    """Of the answer to one request."""
    async with Connection(port) as client:
        return (await client.request(path, "any.example.com")).status


async def test_what_stands_behind_a_filter_that_waits_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So each of our composite filters ends with the only one that may wait. Were this otherwise one day, we need fewer
    of them."""
    asks: Steps = lambda server: [  # noqa: E731
        (NAME, ext_authz(replace(server, path_prefix="/first"))),
        (NAME, ext_authz(replace(server, path_prefix="/second"))),
        REFUSE,
    ]
    async with edge(tmp_path, asks, monkeypatch) as (port, asked):
        assert await status(port) == 200
        assert asked.paths == ["/first/"]


async def test_filters_that_do_not_wait_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses: Steps = lambda server: [REFUSE, (NAME, ext_authz(server))]  # noqa: E731
    async with edge(tmp_path, refuses, monkeypatch) as (port, asked):
        assert await status(port) == 403
        assert asked.paths == []


async def test_what_was_not_noted_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unless = ("envoy.filters.http.rbac", "custom_0_shadow_engine_result", "allowed")
    nothing_noted: Steps = lambda server: [(NAME, ext_authz(server, unless))]  # noqa: E731
    async with edge(tmp_path, nothing_noted, monkeypatch) as (port, asked):
        assert await status(port, "/a") == 200
        assert asked.paths == ["/a"]


async def test_who_shows_no_certificate_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks: Steps = lambda server: [(NAME, ext_authz(server))]  # noqa: E731
    async with edge(tmp_path, asks, monkeypatch) as (port, asked):
        assert await status(port) == 200
        assert b"x-weft-caller: -\r\n" not in asked.heads[0]
        assert b"spiffe" not in asked.heads[0]
