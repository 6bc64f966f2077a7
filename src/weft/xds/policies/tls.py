"""TLS contexts: mutual TLS between proxies, certificates of gateways, and the files keys are read from.

Minimum and maximum are both TLS 1.3: Envoy's client side stays below when only the minimum is set. Sessions are not
resumed, so that no connection outlives the trust it was made under.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from envoy.config.core.v3.base_pb2 import DataSource, Metadata, TransportSocket, WatchedDirectory
from envoy.config.core.v3.config_source_pb2 import (
    V3,
    AggregatedConfigSource,
    ConfigSource,
    PathConfigSource,
)
from envoy.config.core.v3.proxy_protocol_pb2 import ProxyProtocolConfig
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsCertificate,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig, Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.services.service import CertificateName, NameKind, Tls
from weft.xds.messages import PROVENANCE, packed
from weft.xds.resource import encode_resource
from weft.xds.snapshot import Resource

if TYPE_CHECKING:
    from weft.mesh.views import ClientCheck, ClientRoots, Credential, EdgeTls

IDENTITY = "identity"
BUNDLE = "bundle"
HOST_TRUST = "host-trust"
NOBODY = "nobody"
"""Names of the secrets every agent writes for its Envoy; the last holds whom this machine trusts outside the mesh."""
CERTIFICATES_DIRECTORY = "certs"
REVOKED_FILE = f"{CERTIFICATES_DIRECTORY}/revoked.pem"
IDENTITY_FILE = "sds/identity.json"
BUNDLE_FILE = "sds/bundle.json"
HOST_TRUST_FILE = "sds/host-trust.json"
"""Relative to the workload's directory, in which Envoy is started: the same in all proxies, so resources are shared."""


@dataclass(frozen=True, slots=True)
class CredentialPlace:
    """Where an agent keeps a certificate with its key and whom it is shown to: the directory that Envoy watches, and
    the SDS files beside it with the names of the secrets in them."""

    directory: str
    identity: str
    identity_file: str
    bundle: str
    bundle_file: str


MESH_PLACE = CredentialPlace(CERTIFICATES_DIRECTORY, IDENTITY, IDENTITY_FILE, BUNDLE, BUNDLE_FILE)
"""What workloads show to each other, and to the control plane too."""
CONTROL_PLACE = CredentialPlace(
    "control", "control-identity", "sds/control-identity.json", "control-bundle", "sds/control-bundle.json"
)
"""What a proxy shows to the control plane only, where its workload's certificate comes from another authority."""

_TLS12_CIPHERS = (
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)

_NAME_KINDS: dict[NameKind, SubjectAltNameMatcher.SanType.ValueType] = {
    NameKind.DNS: SubjectAltNameMatcher.DNS,
    NameKind.URI: SubjectAltNameMatcher.URI,
    NameKind.ADDRESS: SubjectAltNameMatcher.IP_ADDRESS,
    NameKind.EMAIL: SubjectAltNameMatcher.EMAIL,
}

ALPN_HTTP2 = "h2"
ALPN_HTTP1 = "http/1.1"
ALPN_TCP = "weft-tcp"
"""What a calling proxy offers for a port carried as plain TCP."""


def mesh_client_socket(
    identities: Iterable[str], trust_domain: str, alpn: str, place: CredentialPlace = MESH_PLACE, sni: str = ""
) -> TransportSocket:
    """Mutual TLS towards endpoints that must prove one of `identities` (SPIFFE URIs, exactly), with the certificate
    that is kept at `place`, asking for `sni`.

    With no identity at all nothing is accepted: the one demanded then is one that weft never issues.
    """
    names = tuple(identities) or (f"spiffe://{trust_domain}/nobody",)
    validation = CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(
            match_typed_subject_alt_names=[uri_matcher(StringMatcher(exact=name)) for name in names]
        ),
        validation_context_sds_secret_config=_file_secret(place.bundle, place.bundle_file, place.directory),
    )
    return _tls_socket(
        UpstreamTlsContext(
            common_tls_context=CommonTlsContext(
                tls_params=_tls13(),
                tls_certificate_sds_secret_configs=[_file_secret(place.identity, place.identity_file, place.directory)],
                combined_validation_context=validation,
                alpn_protocols=[alpn],
            ),
            sni=sni,
            max_session_keys=UInt32Value(value=0),
        )
    )


def mesh_server_socket(
    trust_domain: str,
    alpn: Iterable[str],
    callers: tuple[StringMatcher, ...] | None = None,
    trust: str = "",
    others: tuple[str, ...] = (),
) -> TransportSocket:
    """Mutual TLS from callers that must prove any identity of the trust domain, or (of this domain all) one of
    `callers`: nobody, if there are none. The secret `trust` has the roots where `others` are trust domains that are
    believed too."""
    if callers is None:
        return _from_any_of(trust_domain, tuple(alpn), trust, others)
    return _server_socket(trust_domain, alpn, callers, trust, others)


@functools.lru_cache(maxsize=64)
def _from_any_of(trust_domain: str, alpn: tuple[str, ...], trust: str, others: tuple[str, ...]) -> TransportSocket:
    """The same before every port that names no callers: made once, and copied by who takes it."""
    return _server_socket(trust_domain, alpn, None, trust, others)


def _server_socket(
    trust_domain: str,
    alpn: Iterable[str],
    callers: tuple[StringMatcher, ...] | None,
    trust: str,
    others: tuple[str, ...],
) -> TransportSocket:
    every = tuple(StringMatcher(prefix=f"spiffe://{each}/") for each in (trust_domain, *others))
    nobody = (StringMatcher(exact=f"spiffe://{trust_domain}/nobody"),)
    names = every if callers is None else callers or nobody
    roots = SdsSecretConfig(name=trust, sds_config=ads_source()) if trust else _file_secret(BUNDLE, BUNDLE_FILE)
    validation = CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(
            match_typed_subject_alt_names=[uri_matcher(each) for each in names]
        ),
        validation_context_sds_secret_config=roots,
    )
    return _tls_socket(
        DownstreamTlsContext(
            common_tls_context=CommonTlsContext(
                tls_params=_tls13(),
                tls_certificate_sds_secret_configs=[_file_secret(IDENTITY, IDENTITY_FILE)],
                combined_validation_context=validation,
                alpn_protocols=list(alpn),
            ),
            require_client_certificate=BoolValue(value=True),
            disable_stateless_session_resumption=True,
            disable_stateful_session_resumption=True,
        )
    )


def edge_server_socket(
    tls: EdgeTls, trust_domain: str, alpn: Iterable[str] = (ALPN_HTTP2, ALPN_HTTP1)
) -> TransportSocket:
    """TLS of a gateway with certificates sent by the control plane as secrets, or the mesh's own mutual TLS."""
    if tls.mesh:
        return mesh_server_socket(trust_domain, alpn)
    common = CommonTlsContext(
        tls_params=_edge_parameters(tls),
        tls_certificate_sds_secret_configs=[
            SdsSecretConfig(name=name, sds_config=ads_source()) for name in tls.certificates
        ],
        alpn_protocols=list(alpn),
    )
    context = DownstreamTlsContext(
        common_tls_context=common,
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    if tls.clients is not None:
        context.common_tls_context.combined_validation_context.CopyFrom(_clients(tls.clients))
        context.require_client_certificate.value = tls.clients.required
    return _tls_socket(context)


def _clients(check: ClientCheck) -> CommonTlsContext.CombinedCertificateValidationContext:
    """Roots and revocation lists come as a secret; what else is asked stands here. Names may be of any type."""
    kinds = (SubjectAltNameMatcher.DNS, SubjectAltNameMatcher.URI, SubjectAltNameMatcher.EMAIL)
    own = CertificateValidationContext(
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
            for name in check.names
            for kind in (*kinds, SubjectAltNameMatcher.IP_ADDRESS)
        ],
        verify_certificate_spki=check.spki,
        verify_certificate_hash=check.hashes,
    )
    if check.lenient:
        own.trust_chain_verification = CertificateValidationContext.ACCEPT_UNTRUSTED
    roots = SdsSecretConfig(name=check.roots, sds_config=ads_source())
    return CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=own, validation_context_sds_secret_config=roots
    )


def client_roots_secret(roots: ClientRoots) -> Secret:
    """Who vouches for a gateway's clients, as it is sent to that gateway only. A list of revoked certificates is asked
    of every authority between a client's and the root, if there is any."""
    context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=roots.roots))
    if roots.crl:
        context.crl.inline_bytes = roots.crl
    return Secret(name=roots.name, validation_context=context)


def outside_client_socket(host: str, is_address: bool, *, http2: bool) -> TransportSocket:
    """TLS to a `host` outside the mesh, which must have a certificate of its name (or, where it `is_address`, of its IP
    address) from an authority that this machine trusts. The proxy shows none of its own."""
    kind = SubjectAltNameMatcher.IP_ADDRESS if is_address else SubjectAltNameMatcher.DNS
    matcher = SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=host))
    validation = CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=[matcher]),
        validation_context_sds_secret_config=_file_secret(HOST_TRUST, HOST_TRUST_FILE),
    )
    return _tls_socket(
        UpstreamTlsContext(
            common_tls_context=CommonTlsContext(
                tls_params=_from_tls12(),
                combined_validation_context=validation,
                alpn_protocols=[ALPN_HTTP2 if http2 else ALPN_HTTP1],
            ),
            sni="" if is_address else host,
        )
    )


def tls_client_socket(tls: Tls, *, http: bool) -> TransportSocket:
    """TLS with a server that has no identity of the mesh. For `http` Envoy offers by itself (ALPN) the version that it
    is going to speak, and asks for the host of the request where the server's name is left open; a connection asks for
    that of its service."""
    common = CommonTlsContext(tls_params=_tls13() if tls.lowest == "1.3" else _from_tls12())
    name = client_certificate_name(tls.credential) if tls.credential and tls.proves else tls.shown
    if name:
        common.tls_certificate_sds_secret_configs.add(name=name, sds_config=ads_source())
    names = tls.names
    if not (http or names or tls.sni or tls.insecure):
        if not tls.host:  # of many names nobody knows which is meant
            tls = replace(tls, unusable=True)
        names = (CertificateName(NameKind.DNS, tls.host or "nobody.invalid"),)
    checks = CertificateValidationContext(
        match_typed_subject_alt_names=[_name_matcher(name) for name in names], crl=_inline(tls.crl)
    )
    if tls.insecure:
        checks.trust_chain_verification = CertificateValidationContext.ACCEPT_UNTRUSTED
        common.validation_context.CopyFrom(checks)
    elif tls.authorities:
        checks.trusted_ca.inline_bytes = tls.authorities
        common.validation_context.CopyFrom(checks)
    else:
        combined = common.combined_validation_context
        combined.default_validation_context.CopyFrom(checks)
        combined.validation_context_sds_secret_config.CopyFrom(_authorities(tls))
    sni = tls.sni or ("" if http else tls.host)
    return _tls_socket(UpstreamTlsContext(common_tls_context=common, sni=sni, max_session_keys=UInt32Value(value=0)))


def _authorities(tls: Tls) -> SdsSecretConfig:
    """The secret that says whom to believe. The one of nobody is never sent, so that no connection is made."""
    if tls.unusable:
        return SdsSecretConfig(name=NOBODY, sds_config=ads_source())
    if tls.credential:
        return SdsSecretConfig(name=client_authorities_name(tls.credential), sds_config=ads_source())
    return _file_secret(HOST_TRUST, HOST_TRUST_FILE)


def client_certificate_name(credential: str) -> str:
    """The secret with the certificate that a proxy shows."""
    return f"credential|{credential}"


def client_authorities_name(credential: str) -> str:
    """The secret with the authorities that vouch for servers."""
    return f"credential|{credential}|authorities"


def encode_credential(credential: Credential) -> Iterator[Resource]:
    """What a credential has, as secrets for the proxies that may use it and nobody else."""
    origins = (credential.origin,)
    if credential.chain:
        name = client_certificate_name(credential.name)
        yield encode_resource(server_certificate(name, credential.chain, credential.key), name, origins)
    if credential.authorities:
        name = client_authorities_name(credential.name)
        context = CertificateValidationContext(
            trusted_ca=DataSource(inline_bytes=credential.authorities), crl=_inline(credential.crl)
        )
        context.only_verify_leaf_cert_crl = bool(credential.crl)
        yield encode_resource(Secret(name=name, validation_context=context), name, origins)


def _inline(content: bytes) -> DataSource | None:
    return DataSource(inline_bytes=content) if content else None


def _name_matcher(name: CertificateName) -> SubjectAltNameMatcher:
    return SubjectAltNameMatcher(san_type=_NAME_KINDS[name.kind], matcher=StringMatcher(exact=name.value))


def mark_epoch(metadata: Metadata, epoch: int) -> None:
    """Have connections of another epoch end: what Envoy makes connections by differs with it, and nothing else does."""
    if epoch:
        metadata.filter_metadata[PROVENANCE].fields["trust_epoch"].number_value = epoch


def proxy_protocol_socket(inner: TransportSocket, version: str) -> TransportSocket:
    """Connections that begin with the address of who called, as PROXY protocol has it, and go on as `inner` does."""
    config = ProxyProtocolConfig(version=ProxyProtocolConfig.V1 if version == "V1" else ProxyProtocolConfig.V2)
    return TransportSocket(
        name="envoy.transport_sockets.upstream_proxy_protocol",
        typed_config=packed(ProxyProtocolUpstreamTransport(config=config, transport_socket=inner)),
    )


def plaintext_socket() -> TransportSocket:
    """No TLS, said outright, for the plaintext side of a choice."""
    return TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=packed(RawBuffer()))


def server_certificate(name: str, chain: bytes, key: bytes) -> Secret:
    """A gateway's certificate as it is sent to that gateway only."""
    return Secret(
        name=name,
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(inline_bytes=chain), private_key=DataSource(inline_bytes=key)
        ),
    )


def identity_secret(chain_file: str, key_file: str, directory: str, name: str = IDENTITY) -> Secret:
    """The agent's certificate by file; both files are read again when `directory` sees a rename."""
    return Secret(
        name=name,
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(filename=chain_file),
            private_key=DataSource(filename=key_file),
            watched_directory=WatchedDirectory(path=directory),
        ),
    )


def bundle_secret(bundle_file: str, directory: str, name: str = BUNDLE, revoked_file: str = "") -> Secret:
    """A trust bundle by file, read again like the certificate, and the revocation lists in `revoked_file`: an empty
    file asks for none. What is in it asks every issuer of a leaf for its list."""
    context = CertificateValidationContext(
        trusted_ca=DataSource(filename=bundle_file), watched_directory=WatchedDirectory(path=directory)
    )
    if revoked_file:
        context.crl.filename = revoked_file
        context.only_verify_leaf_cert_crl = True
    return Secret(name=name, validation_context=context)


def ads_source() -> ConfigSource:
    """Over the proxy's one stream to the control plane. Waits as long as it takes: configuration that is half there
    (a cluster without its endpoints) must not replace what works."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=V3, initial_fetch_timeout=Duration())


def _file_secret(name: str, path: str, directory: str = CERTIFICATES_DIRECTORY) -> SdsSecretConfig:
    source = PathConfigSource(path=path, watched_directory=WatchedDirectory(path=directory))
    return SdsSecretConfig(name=name, sds_config=ConfigSource(path_config_source=source, resource_api_version=V3))


def _tls13() -> TlsParameters:
    return TlsParameters(
        tls_minimum_protocol_version=TlsParameters.TLSv1_3, tls_maximum_protocol_version=TlsParameters.TLSv1_3
    )


def _edge_parameters(tls: EdgeTls) -> TlsParameters:
    if tls.lowest == "1.3":
        return _tls13()
    found = _from_tls12()
    if tls.highest == "1.2":
        found.tls_maximum_protocol_version = TlsParameters.TLSv1_2
    if tls.ciphers:
        found.cipher_suites[:] = tls.ciphers
    return found


def _from_tls12() -> TlsParameters:
    """TLS 1.3 with, for those who cannot speak it, 1.2 as far as RFC 9325 recommends it: forward secrecy and AEAD."""
    return TlsParameters(
        tls_minimum_protocol_version=TlsParameters.TLSv1_2,
        tls_maximum_protocol_version=TlsParameters.TLSv1_3,
        cipher_suites=_TLS12_CIPHERS,
    )


def uri_matcher(matcher: StringMatcher) -> SubjectAltNameMatcher:
    """What a URI name of a certificate must be like."""
    return SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.URI, matcher=matcher)


def _tls_socket(context: UpstreamTlsContext | DownstreamTlsContext) -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
