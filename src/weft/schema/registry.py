"""The kinds weft knows: their names, groups, versions and value classes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from weft.schema.kinds.authorizationpolicy import AuthorizationPolicySpec
from weft.schema.kinds.backendtlspolicy import BackendTlsPolicySpec
from weft.schema.kinds.core import NamespaceSpec, SecretSpec, ServiceAccountSpec, ServiceSpec
from weft.schema.kinds.credentialpolicy import CredentialPolicySpec
from weft.schema.kinds.csrfpolicy import CsrfPolicySpec
from weft.schema.kinds.destinationrule import DestinationRuleSpec
from weft.schema.kinds.ejectionpolicy import EjectionPolicySpec
from weft.schema.kinds.envoyfilter import EnvoyFilterSpec
from weft.schema.kinds.fallbackpolicy import FallbackPolicySpec
from weft.schema.kinds.federatedtrustdomain import FederatedTrustDomainSpec
from weft.schema.kinds.gateway import GATEWAY_GROUP, GatewayClassSpec, GatewaySpec, ListenerSetSpec, ReferenceGrantSpec
from weft.schema.kinds.grpcroute import GrpcRouteSpec
from weft.schema.kinds.healthcheckpolicy import HealthCheckPolicySpec
from weft.schema.kinds.httproute import HttpRouteSpec
from weft.schema.kinds.istiogateway import IstioGatewaySpec
from weft.schema.kinds.layer4routes import TcpRouteSpec, TlsRouteSpec, UdpRouteSpec
from weft.schema.kinds.meshconfig import WEFT_GROUP, ConfigMapSpec, MeshConfigSpec
from weft.schema.kinds.oidcpolicy import OidcPolicySpec
from weft.schema.kinds.overloadpolicy import OverloadPolicySpec
from weft.schema.kinds.peerauthentication import PeerAuthenticationSpec
from weft.schema.kinds.proxyconfig import ProxyConfigSpec
from weft.schema.kinds.ratelimitpolicy import RateLimitPolicySpec
from weft.schema.kinds.requestauthentication import RequestAuthenticationSpec
from weft.schema.kinds.serviceentry import ServiceEntrySpec
from weft.schema.kinds.sidecar import SidecarSpec
from weft.schema.kinds.smi import (
    SMI_ACCESS,
    SMI_SPECS,
    SMI_SPLIT,
    HttpRouteGroupSpec,
    SmiTcpRouteSpec,
    TrafficSplitSpec,
    TrafficTargetSpec,
)
from weft.schema.kinds.telemetry import TELEMETRY_GROUP, TelemetrySpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec
from weft.schema.kinds.workloadentry import WorkloadEntrySpec
from weft.schema.kinds.workloadgroup import WorkloadGroupSpec
from weft.schema.kinds.xbackendtrafficpolicy import XBackendTrafficPolicySpec
from weft.schema.kinds.xtelemetrypolicy import EXPERIMENTAL_GROUP, XTelemetryPolicySpec
from weft.schema.others import LEFT_OUT_KINDS
from weft.schema.upstream import UNSUPPORTED_KINDS

ISTIO_NETWORKING = "networking.istio.io"
ISTIO_SECURITY = "security.istio.io"
_NETWORKING_VERSIONS = ("v1", "v1beta1", "v1alpha3")
_SPLIT_VERSIONS = ("v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1")
_SPECS_VERSIONS = ("v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1")
_FLAT_SPECS = ("v1alpha2", "v1alpha1")
_GATEWAY_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `versions` are those accepted, the preferred one first, and `old_versions` those accepted with a
    warning; `name_form` is the form of object names (see `weft.schema.forms`). With `flat` the fields
    stand beside metadata, not in ``spec``; in `flat_versions` they may. A document of a `security` kind that cannot be
    understood closes what it names (`weft.model.unreadable`)."""

    name: str
    plural: str
    short_names: tuple[str, ...]
    group: str
    versions: tuple[str, ...]
    spec: type
    namespaced: bool = True
    flat: bool = False
    flat_versions: tuple[str, ...] = ()
    name_form: str = "dns-subdomain"
    security: bool = False
    old_versions: tuple[str, ...] = ()

    def is_flat(self, api_version: str) -> bool:
        """Whether fields may stand beside metadata in a version, because it has no ``spec``."""
        return api_version.rpartition("/")[2] in self.flat_versions

    @property
    def api_versions(self) -> tuple[str, ...]:
        """What should stand as ``apiVersion``."""
        return self._with_group(self.versions)

    @property
    def word(self) -> str:
        """The shortest word that means this kind and no other of the same name (see `find_kind`)."""
        return self.name if _BY_WORD[self.name.lower()] is self else self.full_word

    @property
    def plural_word(self) -> str:
        """Its plural, with its group where that alone means another kind (see `find_kind`)."""
        return self.plural if _BY_WORD[self.plural] is self else self.full_word

    @property
    def full_word(self) -> str:
        """Its plural with its group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def old_api_versions(self) -> tuple[str, ...]:
        """What may stand as ``apiVersion``, too."""
        return self._with_group(self.old_versions)

    def _with_group(self, versions: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{self.group}/{version}" if self.group else version for version in versions)


def _gateway_kind(name: str, plural: str, short_names: tuple[str, ...], spec: type, *, namespaced: bool = True) -> Kind:
    """A kind of the Gateway API, whose releases keep a version's objects readable in the next."""
    return Kind(
        name,
        plural,
        short_names,
        GATEWAY_GROUP,
        _GATEWAY_VERSIONS,
        spec,
        namespaced=namespaced,
        old_versions=("v1alpha2",),
    )


class UnknownKindError(LookupError):
    """The word names no kind; its text says which do, and the nearest."""


KINDS: tuple[Kind, ...] = (
    Kind(
        "Namespace",
        "namespaces",
        ("ns",),
        "",
        ("v1",),
        NamespaceSpec,
        namespaced=False,
        name_form="dns-label",
        security=True,
    ),
    Kind("Service", "services", ("svc",), "", ("v1",), ServiceSpec, name_form="dns-1035-label"),
    Kind(
        "ServiceAccount", "serviceaccounts", ("sa",), "", ("v1",), ServiceAccountSpec, flat=True, name_form="dns-label"
    ),
    Kind("Secret", "secrets", (), "", ("v1",), SecretSpec, flat=True),
    _gateway_kind("GatewayClass", "gatewayclasses", ("gc",), GatewayClassSpec, namespaced=False),
    _gateway_kind("Gateway", "gateways", ("gw", "gtw"), GatewaySpec),
    _gateway_kind("ListenerSet", "listenersets", ("lset",), ListenerSetSpec),
    _gateway_kind("HTTPRoute", "httproutes", ("hr",), HttpRouteSpec),
    _gateway_kind("GRPCRoute", "grpcroutes", (), GrpcRouteSpec),
    _gateway_kind("TLSRoute", "tlsroutes", (), TlsRouteSpec),
    _gateway_kind("TCPRoute", "tcproutes", (), TcpRouteSpec),
    _gateway_kind("UDPRoute", "udproutes", (), UdpRouteSpec),
    _gateway_kind("ReferenceGrant", "referencegrants", ("refgrant",), ReferenceGrantSpec),
    Kind("Gateway", "gateways", (), ISTIO_NETWORKING, _NETWORKING_VERSIONS, IstioGatewaySpec),
    Kind("VirtualService", "virtualservices", ("vs",), ISTIO_NETWORKING, _NETWORKING_VERSIONS, VirtualServiceSpec),
    Kind("DestinationRule", "destinationrules", ("dr",), ISTIO_NETWORKING, _NETWORKING_VERSIONS, DestinationRuleSpec),
    Kind("ServiceEntry", "serviceentries", ("se",), ISTIO_NETWORKING, _NETWORKING_VERSIONS, ServiceEntrySpec),
    Kind("Sidecar", "sidecars", (), ISTIO_NETWORKING, _NETWORKING_VERSIONS, SidecarSpec),
    Kind("ProxyConfig", "proxyconfigs", (), ISTIO_NETWORKING, ("v1beta1",), ProxyConfigSpec),
    Kind("WorkloadEntry", "workloadentries", ("we",), ISTIO_NETWORKING, _NETWORKING_VERSIONS, WorkloadEntrySpec),
    Kind("WorkloadGroup", "workloadgroups", ("wg",), ISTIO_NETWORKING, _NETWORKING_VERSIONS, WorkloadGroupSpec),
    Kind("EnvoyFilter", "envoyfilters", (), ISTIO_NETWORKING, ("v1alpha3",), EnvoyFilterSpec),
    Kind(
        "PeerAuthentication",
        "peerauthentications",
        ("pa",),
        ISTIO_SECURITY,
        ("v1", "v1beta1"),
        PeerAuthenticationSpec,
        security=True,
    ),
    Kind(
        "AuthorizationPolicy",
        "authorizationpolicies",
        ("ap",),
        ISTIO_SECURITY,
        ("v1", "v1beta1"),
        AuthorizationPolicySpec,
        security=True,
    ),
    Kind(
        "RequestAuthentication",
        "requestauthentications",
        ("ra",),
        ISTIO_SECURITY,
        ("v1", "v1beta1"),
        RequestAuthenticationSpec,
        security=True,
    ),
    Kind(
        "TrafficTarget",
        "traffictargets",
        ("tt",),
        SMI_ACCESS,
        ("v1alpha3", "v1alpha2", "v1alpha1"),
        TrafficTargetSpec,
        flat_versions=("v1alpha1",),
        security=True,
    ),
    Kind(
        "HTTPRouteGroup",
        "httproutegroups",
        ("htr",),
        SMI_SPECS,
        _SPECS_VERSIONS,
        HttpRouteGroupSpec,
        flat_versions=_FLAT_SPECS,
    ),
    Kind("TCPRoute", "tcproutes", (), SMI_SPECS, _SPECS_VERSIONS, SmiTcpRouteSpec),
    Kind("TrafficSplit", "trafficsplits", ("ts",), SMI_SPLIT, _SPLIT_VERSIONS, TrafficSplitSpec),
    Kind("Telemetry", "telemetries", (), TELEMETRY_GROUP, ("v1", "v1alpha1"), TelemetrySpec),
    Kind(
        "BackendTLSPolicy",
        "backendtlspolicies",
        ("btlspolicy",),
        GATEWAY_GROUP,
        ("v1",),
        BackendTlsPolicySpec,
        old_versions=("v1alpha3",),
    ),
    Kind(
        "XBackendTrafficPolicy",
        "xbackendtrafficpolicies",
        ("xbtrafficpolicy",),
        EXPERIMENTAL_GROUP,
        ("v1alpha1",),
        XBackendTrafficPolicySpec,
    ),
    Kind("XTelemetryPolicy", "xtelemetrypolicies", (), EXPERIMENTAL_GROUP, ("v1alpha1",), XTelemetryPolicySpec),
    Kind("MeshConfig", "meshconfigs", ("mc",), WEFT_GROUP, ("v1alpha1",), MeshConfigSpec, security=True),
    Kind("CredentialPolicy", "credentialpolicies", (), WEFT_GROUP, ("v1alpha1",), CredentialPolicySpec, security=True),
    Kind("OIDCPolicy", "oidcpolicies", (), WEFT_GROUP, ("v1alpha1",), OidcPolicySpec, security=True),
    Kind("CsrfPolicy", "csrfpolicies", (), WEFT_GROUP, ("v1alpha1",), CsrfPolicySpec, security=True),
    Kind("HealthCheckPolicy", "healthcheckpolicies", (), WEFT_GROUP, ("v1alpha1",), HealthCheckPolicySpec),
    Kind("FallbackPolicy", "fallbackpolicies", (), WEFT_GROUP, ("v1alpha1",), FallbackPolicySpec),
    Kind("EjectionPolicy", "ejectionpolicies", (), WEFT_GROUP, ("v1alpha1",), EjectionPolicySpec),
    Kind("OverloadPolicy", "overloadpolicies", (), WEFT_GROUP, ("v1alpha1",), OverloadPolicySpec),
    Kind("ConfigMap", "configmaps", ("cm",), "", ("v1",), ConfigMapSpec, flat=True),
    Kind("FederatedTrustDomain", "federatedtrustdomains", (), WEFT_GROUP, ("v1alpha1",), FederatedTrustDomainSpec),
    Kind("RateLimitPolicy", "ratelimitpolicies", (), WEFT_GROUP, ("v1alpha1",), RateLimitPolicySpec),
)

KIND_NAMES = frozenset(kind.name for kind in KINDS) | {name for _, name in (*UNSUPPORTED_KINDS, *LEFT_OUT_KINDS)}
"""Names of kinds that exist, read here or not."""
_BY_GROUP_AND_NAME = {(kind.group, kind.name): kind for kind in KINDS}
_BY_WORD = {
    word: kind
    for kind in reversed(KINDS)
    for stem in (kind.plural, kind.name.lower(), *kind.short_names)
    for word in (stem, f"{stem}.{kind.group}")
}


def others_meant(text: str) -> tuple[Kind, ...]:
    """The kinds that `text` may mean besides the one that `find_kind` gives: those with the same name."""
    word = text.strip().lower()
    kind = _BY_WORD.get(word)
    if kind is None or word.endswith(f".{kind.group}"):
        return ()
    return tuple(each for each in KINDS if each is not kind and word in (each.plural, each.name.lower()))


def kind_of(group: str, name: str) -> Kind | None:
    """The kind with exactly this group and name."""
    return _BY_GROUP_AND_NAME.get((group, name))


def find_kind(text: str) -> Kind:
    """The kind a person means by `text`: its name, plural or short name, in any case, with or without the group. Of
    several with one name the first of `KINDS` is meant where the group is not said (`others_meant` has the others).

    Raises UnknownKindError.
    """
    word = text.strip().lower()
    kind = _BY_WORD.get(word)
    if kind is not None:
        return kind
    known = ", ".join(sorted(kind.plural_word for kind in KINDS))
    near = difflib.get_close_matches(word[:100], [kind.plural for kind in KINDS], n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    raise UnknownKindError(f"there is no kind '{text[:100]}'{hint}; kinds: {known}")
