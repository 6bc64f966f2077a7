"""Gateway API: BackendTLSPolicy, TLS with the servers behind a Service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from weft.schema.kinds.gateway import GroupName, KindName
from weft.schema.scalars import Hostname, Length, OneOf, PreciseHostname, Subdomain


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTarget:
    """A Service of the same namespace, or its port called `section_name`."""

    name: Subdomain
    group: Literal[""]
    kind: Literal["Service"]
    section_name: Subdomain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityReference:
    """A ConfigMap of the same namespace with `ca.crt`."""

    name: Subdomain
    group: GroupName
    kind: KindName


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectAltName:
    """A name that the certificate may have."""

    one_of: ClassVar = OneOf(("hostname", "uri"))
    type: Literal["Hostname", "URI"]
    hostname: Hostname | None = None
    uri: Annotated[str, Length(1, 253)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTlsOptions:
    """What the Gateway API leaves to implementations: the lowest version of TLS that is spoken with the servers."""

    min_tls_version: Literal["1.2", "1.3"] = field(default="1.2", metadata={"json": "weft.dev/min-tls-version"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTlsValidation:
    """Who vouches for the servers: ConfigMaps, or the authorities that the proxy's machine trusts (`System`). They are
    asked for as `hostname`, which their certificate must have unless `subject_alt_names` says others."""

    hostname: PreciseHostname
    ca_certificate_refs: Annotated[tuple[AuthorityReference, ...], Length(0, 8)] = field(
        default=(), metadata={"json": "caCertificateRefs"}
    )
    well_known_ca_certificates: Literal["", "System"] = field(default="", metadata={"json": "wellKnownCACertificates"})
    subject_alt_names: Annotated[tuple[SubjectAltName, ...], Length(0, 5)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTlsPolicySpec:
    """https://gateway-api.sigs.k8s.io/api-types/backendtlspolicy/"""

    target_refs: Annotated[tuple[BackendTarget, ...], Length(1, 16)]
    validation: BackendTlsValidation
    options: BackendTlsOptions = BackendTlsOptions()
