"""Asks an application what the kubelet wants to know of it, as the kubelet asks: at 127.0.0.1, to which the proxy
delivers the requests of callers, so that what is ready here is ready for them.

Kubernetes' `pkg/probe` says what counts: HTTP with 200 to 399 in time; redirects are followed within the pod, ten at
most, and one that leads elsewhere is good; certificates are not checked; gRPC has to answer SERVING.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from weft.agent.http import HttpError, Server, ask
from weft.agent.metrics import wire
from weft.agent.metrics.server import Headers, Page, Reply
from weft.agent.pod.probes import GrpcCheck, HttpGet, Probe, TcpSocket
from weft.model.addresses import host_and_port

APPLICATION = "127.0.0.1"
_REDIRECTS = 10
_MOVED = frozenset((301, 302, 303, 307, 308))
_SAFE = "/?:@!$&'()*+,;=~%[]"
_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = wire.integer(1, 1)
"""HealthCheckResponse with ``status: SERVING``: https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""
_GOOD = Reply("200 OK", "ok")


class _ProbeError(Exception):
    """The probe has failed; `status` is what the application answered, if it did."""

    def __init__(self, why: str, status: int = 503) -> None:
        super().__init__(why)
        self.status = status


def probe_pages(probes: Mapping[str, Probe], address: str) -> dict[str, Page]:
    """A page for each of the `probes`, which makes it when it is asked for. `address` is the pod's."""
    return {path: partial(_answer, probe, address) for path, probe in probes.items()}


async def _answer(probe: Probe, address: str, headers: Headers) -> Reply:
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            if probe.http_get is not None:
                await _http(probe.http_get, address, headers.get("user-agent", ""), probe.timeout_seconds)
            elif probe.tcp_socket is not None:
                await _tcp(probe.tcp_socket)
            elif probe.grpc is not None:
                await _grpc(probe.grpc, headers.get("user-agent", ""), probe.timeout_seconds)
    except TimeoutError:
        return Reply("503 Service Unavailable", f"no answer in {probe.timeout_seconds} s")
    except _ProbeError as failure:
        return Reply(f"{failure.status} Probe Failed", str(failure))
    except (OSError, HttpError, ValueError) as error:
        return Reply("503 Service Unavailable", str(error) or type(error).__name__)
    return _GOOD


async def _tcp(probe: TcpSocket) -> None:
    _, writer = await asyncio.open_connection(APPLICATION, probe.port)
    writer.close()
    await writer.wait_closed()


async def _http(probe: HttpGet, address: str, agent: str, timeout: float) -> None:
    url = urlsplit(_url(probe, address))
    sent: dict[str, str] = {}
    for header in probe.http_headers:
        known = next((name for name in sent if name.lower() == header.name.lower()), header.name)
        sent[known] = f"{sent[known]}, {header.value}" if known in sent else header.value
    names = {name.lower(): name for name in sent}
    sent |= {} if "user-agent" in names else {"User-Agent": agent or "kube-probe"}
    sent |= {} if "accept" in names else {"Accept": "*/*"}
    host = sent.pop(names["host"]) if "host" in names else url.netloc
    for _ in range(_REDIRECTS):
        status, location = await _get(url, {"Host": host, **sent}, timeout)
        if status not in _MOVED or not location:
            if not 200 <= status < 400:
                raise _ProbeError(f"answered with status {status}", status if 400 <= status < 600 else 503)
            return
        target = urlsplit(urljoin(url.geturl(), location))
        if target.hostname != url.hostname or target.scheme not in ("http", "https"):
            return
        host = target.netloc if urlsplit(location).netloc else host
        url = target
    raise _ProbeError(f"stopped after {_REDIRECTS} redirects")


def _url(probe: HttpGet, address: str) -> str:
    path = probe.path.partition("#")[0]
    path = path if path.startswith("/") else f"/{path}"
    return f"{probe.scheme.lower()}://{host_and_port(address, probe.port)}{quote(path, safe=_SAFE)}"


async def _get(url: SplitResult, headers: Mapping[str, str], timeout: float) -> tuple[int, str]:
    """Status and where that sends us to."""
    port = url.port or (443 if url.scheme == "https" else 80)
    tls = _any_certificate() if url.scheme == "https" else None
    target = f"{quote(url.path, safe=_SAFE) or '/'}{'?' if url.query else ''}{quote(url.query, safe=_SAFE)}"
    server = Server(host=APPLICATION, port=port, tls=tls, name=url.hostname or "")
    answer = await ask(server, "GET", target, headers=headers, timeout=timeout, head_only=True)
    return answer.status, answer.headers.get("location", "")


def _any_certificate() -> ssl.SSLContext:
    """TLS with whoever answers in the pod, in any version that there still is: the kubelet does not check either."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _grpc(probe: GrpcCheck, agent: str, timeout: float) -> None:
    grpc = _library()
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.primary_user_agent", agent or "kube-probe"),
        ("grpc.use_local_subchannel_pool", 1),  # else it would wait because an earlier probe has failed
    ]
    async with grpc.aio.insecure_channel(f"{APPLICATION}:{probe.port}", options=options) as channel:
        request = wire.text(1, probe.service) if probe.service else b""
        try:
            answer: bytes = await channel.unary_unary(_CHECK)(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _ProbeError(f"gRPC: {error.code().name}: {(error.details() or '')[:200]}") from error
    if answer != _SERVING:
        raise _ProbeError("gRPC: it does not answer SERVING")


def _library() -> Any:
    """gRPC, which costs 20 MB that most pods never need."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # the agent starts programs, and never goes on in a fork
    from weft.discovery.grpc_tls import grpc  # noqa: PLC0415

    return grpc
