"""TLS contexts: mutual TLS between proxies, certificates of gateways, and the files keys are read from.

Minimum and maximum are both TLS 1.3: Envoy's client side stays below when only the minimum is set. Sessions are not
resumed, so that no connection outlives the trust it was made under.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket, WatchedDirectory
from envoy.config.core.v3.config_source_pb2 import (
    V3,
    AggregatedConfigSource,
    ConfigSource,
    PathConfigSource,
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

from weft.xds.messages import packed

IDENTITY = "identity"
BUNDLE = "bundle"
"""Names of the secrets every agent writes for its Envoy."""
CERTIFICATES_DIRECTORY = "certs"
IDENTITY_FILE = "sds/identity.json"
BUNDLE_FILE = "sds/bundle.json"
"""Relative to the workload's directory, in which Envoy is started: the same in all proxies, so resources are shared."""

ALPN_HTTP2 = "h2"
ALPN_HTTP1 = "http/1.1"
ALPN_TCP = "weft-tcp"
"""What a calling proxy offers for a port carried as plain TCP."""


def mesh_client_socket(identities: Iterable[str], trust_domain: str, alpn: str) -> TransportSocket:
    """Mutual TLS towards endpoints that must prove one of `identities` (SPIFFE URIs, exactly).

    With no identity at all nothing is accepted: the one demanded then is one that weft never issues.
    """
    names = tuple(identities) or (f"spiffe://{trust_domain}/nobody",)
    validation = CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(
            match_typed_subject_alt_names=[_uri(StringMatcher(exact=name)) for name in names]
        ),
        validation_context_sds_secret_config=_file_secret(BUNDLE, BUNDLE_FILE),
    )
    return _tls_socket(
        UpstreamTlsContext(
            common_tls_context=CommonTlsContext(
                tls_params=_tls13(),
                tls_certificate_sds_secret_configs=[_file_secret(IDENTITY, IDENTITY_FILE)],
                combined_validation_context=validation,
                alpn_protocols=[alpn],
            ),
            max_session_keys=UInt32Value(value=0),
        )
    )


def mesh_server_socket(trust_domain: str, alpn: Iterable[str]) -> TransportSocket:
    """Mutual TLS from callers that must prove any identity of the trust domain."""
    validation = CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(
            match_typed_subject_alt_names=[_uri(StringMatcher(prefix=f"spiffe://{trust_domain}/"))]
        ),
        validation_context_sds_secret_config=_file_secret(BUNDLE, BUNDLE_FILE),
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


def edge_server_socket(certificates: Iterable[str]) -> TransportSocket:
    """TLS of a gateway with certificates sent by the control plane as secrets of these names."""
    return _tls_socket(
        DownstreamTlsContext(
            common_tls_context=CommonTlsContext(
                tls_params=_tls13(),
                tls_certificate_sds_secret_configs=[
                    SdsSecretConfig(name=name, sds_config=ads_source()) for name in certificates
                ],
                alpn_protocols=[ALPN_HTTP2, ALPN_HTTP1],
            ),
            disable_stateless_session_resumption=True,
            disable_stateful_session_resumption=True,
        )
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


def identity_secret(chain_file: str, key_file: str, directory: str) -> Secret:
    """The agent's certificate by file; both files are read again when `directory` sees a rename."""
    return Secret(
        name=IDENTITY,
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(filename=chain_file),
            private_key=DataSource(filename=key_file),
            watched_directory=WatchedDirectory(path=directory),
        ),
    )


def bundle_secret(bundle_file: str, directory: str) -> Secret:
    """The trust bundle by file, read again like the certificate."""
    return Secret(
        name=BUNDLE,
        validation_context=CertificateValidationContext(
            trusted_ca=DataSource(filename=bundle_file), watched_directory=WatchedDirectory(path=directory)
        ),
    )


def ads_source() -> ConfigSource:
    """Over the proxy's one stream to the control plane. Waits as long as it takes: configuration that is half there
    (a cluster without its endpoints) must not replace what works."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=V3, initial_fetch_timeout=Duration())


def _file_secret(name: str, path: str) -> SdsSecretConfig:
    source = PathConfigSource(path=path, watched_directory=WatchedDirectory(path=CERTIFICATES_DIRECTORY))
    return SdsSecretConfig(name=name, sds_config=ConfigSource(path_config_source=source, resource_api_version=V3))


def _tls13() -> TlsParameters:
    return TlsParameters(
        tls_minimum_protocol_version=TlsParameters.TLSv1_3, tls_maximum_protocol_version=TlsParameters.TLSv1_3
    )


def _uri(matcher: StringMatcher) -> SubjectAltNameMatcher:
    return SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.URI, matcher=matcher)


def _tls_socket(context: UpstreamTlsContext | DownstreamTlsContext) -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
