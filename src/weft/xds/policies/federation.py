"""Callers of other trust domains: each is checked against the roots of its own domain and of no other.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto

Envoy's SPIFFE validator chooses the roots by the first URI name of a certificate, and whatever else looks at the caller
(RBAC, headers, logs) sees all names. So a root of another domain could put one of our names behind one of its own. A
filter in front of everything else closes connections whose certificate has names of two trust domains.
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource, WatchedDirectory
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import SPIFFECertValidatorConfig
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from weft.mesh.policies.federatedtrustdomain import ForeignTrust
from weft.xds.messages import packed
from weft.xds.policies.tls import CERTIFICATES_DIRECTORY
from weft.xds.resource import encode_resource
from weft.xds.snapshot import Resource

_OWN_BUNDLE = f"{CERTIFICATES_DIRECTORY}/..data/bundle.pem"
"""The own roots are those that the agent keeps in this file, with or without federation."""
_VALIDATOR = "envoy.tls.cert_validator.spiffe"


def trust_name(trust: ForeignTrust) -> str:
    """The secret with the roots of all domains. Its name changes when something is taken back, and with it the chains
    of the listeners: connections that were made before are drained."""
    return f"trust|{trust.epoch}"


def encode_trust(trust: ForeignTrust) -> Resource:
    """The roots of the own and of all other domains. New roots of a domain are in force with the next hand-shake."""
    config = SPIFFECertValidatorConfig()
    config.trust_domains.add(name=trust.own, trust_bundle=DataSource(filename=_OWN_BUNDLE))
    for domain in trust.domains:
        roots = "".join(sorted(domain.bundle.roots))
        config.trust_domains.add(name=domain.name, trust_bundle=DataSource(inline_string=roots))
    name = trust_name(trust)
    context = CertificateValidationContext(
        trusted_ca=DataSource(filename=_OWN_BUNDLE),  # the validator does not look at it: Envoy follows the file
        watched_directory=WatchedDirectory(path=CERTIFICATES_DIRECTORY),
        custom_validator_config=TypedExtensionConfig(name=_VALIDATOR, typed_config=packed(config)),
    )
    origins = tuple(domain.origin for domain in trust.domains)
    return encode_resource(Secret(name=name, validation_context=context), name, origins)


def one_domain_filter(trust: ForeignTrust) -> Filter:
    """Closes connections whose certificate has names of more than one of the domains."""
    names = _names(trust)
    both = [
        Principal(
            and_ids=Principal.Set(
                ids=[_principal(name), Principal(or_ids=Principal.Set(ids=[_principal(other) for other in others]))]
            )
        )
        for index, name in enumerate(names)
        if (others := names[index + 1 :])
    ]
    policy = Policy(permissions=[Permission(any=True)], principals=both)
    rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY, policies={"names-of-two-trust-domains": policy})
    return Filter(name="envoy.filters.network.rbac", typed_config=packed(RBAC(rules=rules, stat_prefix="federation.")))


def _names(trust: ForeignTrust) -> tuple[str, ...]:
    return (trust.own, *(domain.name for domain in trust.domains))


def _principal(trust_domain: str) -> Principal:
    return Principal(
        authenticated=Principal.Authenticated(principal_name=StringMatcher(prefix=f"spiffe://{trust_domain}/"))
    )
