"""Istio networking: Gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from weft.schema.scalars import LabelKey, LabelValue, Length, Port, Scalar, Subdomain

GatewayHost = Annotated[str, Scalar("gateway-host")]
"""``[NAMESPACE/]HOST``; the namespace may be ``*`` (any) or ``.`` (the Gateway's own)."""
TlsProtocol = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]

REQUESTS = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
"""Protocols of requests without TLS: all of them are served alike, HTTP/1 and HTTP/2."""
CONNECTIONS = ("TCP", "MONGO", "MYSQL", "REDIS")
"""Protocols whose connections are passed on as they are."""
PROTOCOLS = (*REQUESTS, "HTTPS", "TLS", *CONNECTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayServerPort:
    """The port of a server. `protocol` may be written in lower case."""

    number: Port
    protocol: Annotated[str, Length(1, 63)]
    name: Annotated[str, Length(0, 63)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """TLS of a server. Certificates and keys come from Secrets in the namespace of the gateway's process: of the type
    ``kubernetes.io/tls`` (tls.crt, tls.key, and for clients' certificates ca.crt, ca.crl), or with the keys cert, key,
    cacert and crl; those for clients may stand in a Secret of their own, called NAME-cacert.

    Without `minProtocolVersion` clients may speak TLS 1.2 and 1.3.
    """

    https_redirect: bool = False
    mode: Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"] = (
        "PASSTHROUGH"
    )
    credential_name: Subdomain = ""
    credential_names: Annotated[tuple[Subdomain, ...], Length(0, 64)] = ()
    ca_cert_credential_name: Subdomain = ""
    subject_alt_names: Annotated[tuple[Annotated[str, Length(1, 2048)], ...], Length(0, 64)] = ()
    verify_certificate_spki: Annotated[tuple[Annotated[str, Length(1, 64)], ...], Length(0, 64)] = ()
    verify_certificate_hash: Annotated[tuple[Annotated[str, Length(1, 128)], ...], Length(0, 64)] = ()
    min_protocol_version: TlsProtocol = "TLS_AUTO"
    max_protocol_version: TlsProtocol = "TLS_AUTO"
    cipher_suites: Annotated[tuple[Annotated[str, Length(1, 64)], ...], Length(0, 32)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayServerSpec:
    """A port with the hosts that are served there. Servers of one port are told apart by their hosts.

    `bind` narrows the addresses on which the gateway's process listens (``weft gateway --bind``).
    """

    port: GatewayServerPort
    hosts: Annotated[tuple[GatewayHost, ...], Length(1, 256)]
    tls: ServerTls | None = None
    bind: Annotated[str, Length(0, 64)] = ""
    name: Annotated[str, Length(0, 253)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IstioGatewaySpec:
    """https://istio.io/latest/docs/reference/config/networking/gateway/

    It is served by the gateway processes of any namespace that have the labels of `selector`; without any, by all.
    """

    servers: Annotated[tuple[GatewayServerSpec, ...], Length(1, 64)]
    selector: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
