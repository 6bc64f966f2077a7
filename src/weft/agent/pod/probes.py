"""Probes of a pod's applications that the injector has moved to the agent, as ``WEFT_POD_PROBES`` has them: pure.

The kubelet asks at an address of the pod, where applications behind a proxy want mutual TLS. So it asks the agent, and
the agent asks as the kubelet would have. Field names are those of Kubernetes' `Probe`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
_PATH = re.compile(r"/app-health/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/(livez|readyz|startupz)")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_MOST = 256
_LONGEST = 262_144


class ProbesError(ValueError):
    """The text is no set of probes; the message says where, what was found and what was expected."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A header of an HTTP probe."""

    name: str
    value: str = ""


class HttpGet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An HTTP probe. `host` stays where it is: whoever wants another host than the pod is not probed here. HTTP/2 is
    not spoken."""

    port: Port
    path: str = "/"
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    http_headers: tuple[Header, ...] = ()
    protocol: Literal["HTTP1"] | None = None


class TcpSocket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A probe that only connects."""

    port: Port


class GrpcCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question to gRPC's health service. TLS is not spoken: gRPC's library checks certificates."""

    port: Port
    service: str | None = None
    mode: Literal["Plaintext"] | None = None


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One of the three, and how long it may take."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: GrpcCheck | None = None
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 1


def probes_from_text(text: str) -> Mapping[str, Probe]:
    """The probes in a JSON object, by the paths at which they are asked for. ProbesError."""
    if len(text) > _LONGEST:
        raise ProbesError(f"found {len(text)} characters, expected at most {_LONGEST}")
    try:
        found = msgspec.json.decode(text, type=dict[str, Probe])
    except msgspec.DecodeError as error:
        raise ProbesError(str(error)) from error
    if len(found) > _MOST:
        raise ProbesError(f"found {len(found)} probes, expected at most {_MOST}")
    for path, probe in found.items():
        if not _PATH.fullmatch(path):
            raise ProbesError(f"found {path[:80]!r}, expected a path such as /app-health/CONTAINER/readyz")
        _check(path, probe)
    return found


def _check(path: str, probe: Probe) -> None:
    kinds = [kind for kind in (probe.http_get, probe.tcp_socket, probe.grpc) if kind is not None]
    if len(kinds) != 1:
        raise ProbesError(f"{path}: found {len(kinds)} kinds, expected one of httpGet, tcpSocket and grpc")
    for header in probe.http_get.http_headers if probe.http_get is not None else ():
        if not _NAME.fullmatch(header.name) or not _VALUE.fullmatch(header.value):
            raise ProbesError(f"{path}: httpGet.httpHeaders: found {header.name[:80]!r}, which is no header of HTTP")
