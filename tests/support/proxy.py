"""One Envoy that is caller and callee at once: its outbound side calls its own inbound ports over mutual TLS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.certificates import Leaf, TestAuthority, write_workload_directory
from support.envoy import RunningEnvoy, free_port, running_envoy
from support.views import KEY, backend, endpoint, identity, inbound, outbound, sidecar, targets, virtual_host
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Rule
from weft.mesh.services.service import Backend, EndpointSet, Target
from weft.mesh.views import GatewayView, OutboundView, ProxyView, SidecarView
from weft.model.workload import SocketAddress
from weft.xds.build import build_xds
from weft.xds.static import static_bootstrap

SUBJECT = "OU=v1,O=reviews,CN=reviews-v1.default"


@dataclass(frozen=True)
class Pair:
    """A running sidecar: `proxy` is its explicit proxy port, `inbound` the port in front of the application."""

    envoy: RunningEnvoy
    proxy: int
    inbound: int
    authority: TestAuthority


@contextlib.asynccontextmanager
async def running_view(
    view: ProxyView,
    directory: Path,
    authority: TestAuthority | None = None,
    leaf: Leaf | None = None,
    bundle: bytes = b"",
) -> AsyncIterator[tuple[RunningEnvoy, TestAuthority]]:
    """An Envoy with what `view` compiles to and the identity of the reviews service: `leaf`, checked by `bundle`, or
    those of a test authority."""
    authority = authority or TestAuthority()
    leaf = leaf or authority.issue(uri=str(identity("reviews")), subject=SUBJECT)
    write_workload_directory(directory, leaf, bundle or authority.bundle)
    snapshot = build_xds(view, 1, Memo())
    assert snapshot.problems == ()
    async with running_envoy(static_bootstrap(snapshot, edge=isinstance(view, GatewayView)), directory) as envoy:
        yield envoy, authority


def calling_itself(
    application: int,
    rules: Iterable[Rule] = (),
    view: OutboundView | None = None,
    to: Backend | None = None,
    others: Iterable[Target] = (),
    **port: Any,
) -> SidecarView:
    """A view whose reviews service (`to`) is the proxy's own inbound port before `application`; it knows `others`."""
    listen = free_port()
    ours = EndpointSet(KEY, (endpoint(listen),))
    return sidecar(
        view or outbound(virtual_hosts=(virtual_host(rules),)),
        targets=targets(Target(to or backend(), ours), *others),
        inbound=(inbound(listen, application, **port),),
        proxy_listen=SocketAddress("127.0.0.1", free_port()),
    )


@contextlib.asynccontextmanager
async def running_pair(
    view: SidecarView, directory: Path, leaf: Leaf | None = None, bundle: bytes = b""
) -> AsyncIterator[Pair]:
    """The proxy of `view` (see `calling_itself`), running; `leaf` and `bundle` as of `running_view`."""
    assert view.proxy_listen is not None
    async with running_view(view, directory, None, leaf, bundle) as (envoy, authority):
        yield Pair(envoy, view.proxy_listen.port, view.inbound[0].listen.port, authority)
