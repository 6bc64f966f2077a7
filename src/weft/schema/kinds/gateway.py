"""Gateway API v1: GatewayClass, Gateway, ReferenceGrant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from weft.schema.scalars import Hostname, LabelKey, LabelValue, Length, Name, Port, Scalar, Subdomain

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
CONTROLLER_NAME = "weft.dev/gateway-controller"
TERMINATE_MODE: Final = "gateway.istio.io/tls-terminate-mode"
BUILT_IN_CLASSES = ("weft", "istio")
"""Class names that need no GatewayClass document."""

LISTENER_PROTOCOLS = ("HTTP", "HTTPS", "TLS", "TCP", "UDP")
"""Protocols of listeners that can be in force."""
ROUTE_KINDS = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
"""Kinds of the Gateway API's routes that a listener can let in."""

GroupName = Annotated[str, Scalar("api-group")]
KindName = Annotated[str, Scalar("kind-name")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersReference:
    """What the processes of a class are made with, where weft makes them
    [in a cluster](../kubernetes.md#parameters): a ConfigMap with a namespace. That of another controller's class is not
    looked at."""

    group: GroupName
    kind: KindName
    name: Annotated[str, Length(1, 253)]
    namespace: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayClassSpec:
    """A class is ours if its `controllerName` is weft.dev/gateway-controller; others are left alone, with a warning."""

    controller_name: str
    description: Annotated[str, Length(0, 64)] = ""
    parameters_ref: ParametersReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """A reference to a Secret; another namespace needs a ReferenceGrant. Without a good one its listener is not in
    force."""

    name: Subdomain
    group: GroupName = ""
    kind: KindName = "Secret"
    namespace: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """What the Gateway API leaves to implementations: the lowest version of TLS that clients may speak (with 1.2 they
    may use ECDHE with AES-GCM or ChaCha20-Poly1305 only), and Istio's word for what clients show. MUTUAL: a certificate
    for which ``ca.crt`` of the first Secret vouches, or the Secret ``NAME-cacert``. ISTIO_MUTUAL: the mesh's own mutual
    TLS, with no certificateRefs."""

    min_tls_version: Literal["1.2", "1.3"] = field(default="1.3", metadata={"json": "weft.dev/min-tls-version"})
    terminate_mode: Literal["SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = field(
        default="SIMPLE", metadata={"json": TERMINATE_MODE}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerTls:
    """TLS of an HTTPS listener, whose mode is Terminate."""

    certificate_refs: Annotated[tuple[SecretReference, ...], Length(0, 64)] = ()
    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    options: TlsOptions = TlsOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelExpression:
    """One matchExpressions entry of a label selector."""

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[LabelValue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """A Kubernetes label selector."""

    match_labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    match_expressions: tuple[LabelExpression, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteNamespaces:
    """Which namespaces' routes may attach."""

    from_: Literal["All", "Same", "Selector"] = field(default="Same", metadata={"json": "from"})
    selector: LabelSelector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteGroupKind:
    """A kind of route a listener accepts. Kinds that weft does not have are left out, with a Problem."""

    kind: KindName
    group: GroupName = GATEWAY_GROUP


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedRoutes:
    """Who may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: Annotated[tuple[RouteGroupKind, ...], Length(0, 8)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSpec:
    """One listener; without `hostname` it accepts every host. A listener of a protocol that weft does not speak, or one
    whose protocol cannot share its port, is not in force, and the others are."""

    name: Subdomain
    port: Port
    protocol: Annotated[str, Length(1, 255)]
    hostname: Hostname = ""
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityReference:
    """A ConfigMap with `ca.crt`; in another namespace it needs a ReferenceGrant."""

    name: Subdomain
    group: GroupName
    kind: KindName
    namespace: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendValidation:
    """Who vouches for clients. With AllowValidOnly who has no certificate that they vouch for is not connected; with
    AllowInsecureFallback everybody is, and certificates are asked for."""

    ca_certificate_refs: Annotated[tuple[AuthorityReference, ...], Length(1, 8)]
    mode: Literal["AllowValidOnly", "AllowInsecureFallback"] = "AllowValidOnly"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendTlsConfig:
    """What is asked of the clients of HTTPS listeners."""

    validation: FrontendValidation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendPort:
    """Another answer for one port, whole."""

    port: Port
    tls: FrontendTlsConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendTls:
    """TLS with clients: of all ports, and of some."""

    default: FrontendTlsConfig
    per_port: Annotated[tuple[FrontendPort, ...], Length(0, 64)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayBackendTls:
    """The certificate that the gateway shows to servers that it calls over TLS of a BackendTLSPolicy (or of a
    DestinationRule without a certificate)."""

    client_certificate_ref: SecretReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTls:
    """TLS of the Gateway as a whole."""

    frontend: FrontendTls | None = None
    backend: GatewayBackendTls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    """An IP address at which clients reach the Gateway: in a cluster that of its Service, elsewhere one on which its
    process listens, which narrows what ``weft gateway --bind`` says. Without `value`, any address."""

    value: Annotated[str, Length(0, 253)] = ""
    type: Annotated[str, Length(1, 253)] = "IPAddress"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerNamespaces:
    """Which namespaces' ListenerSets may add listeners."""

    from_: Literal["All", "Same", "Selector", "None"] = field(default="None", metadata={"json": "from"})
    selector: LabelSelector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedListeners:
    """Who may add listeners; nobody, unless it is said."""

    namespaces: ListenerNamespaces = ListenerNamespaces()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentGatewayReference:
    """The Gateway that listeners are added to."""

    name: Subdomain
    group: Literal["gateway.networking.k8s.io"] = GATEWAY_GROUP
    kind: Literal["Gateway"] = "Gateway"
    namespace: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSetSpec:
    """https://gateway-api.sigs.k8s.io/reference/spec/#listenerset

    Its listeners are served beside those of its Gateway, which has to allow it (`allowedListeners`). Of listeners that
    exclude each other the Gateway's stands, then that of the oldest set, then the first by namespace and name.
    """

    parent_ref: ParentGatewayReference
    listeners: Annotated[tuple[ListenerSpec, ...], Length(1, 64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySpec:
    """https://gateway-api.sigs.k8s.io/reference/spec/#gateway"""

    gateway_class_name: Subdomain
    listeners: Annotated[tuple[ListenerSpec, ...], Length(1, 64)]
    addresses: Annotated[tuple[GatewayAddress, ...], Length(0, 16)] = ()
    tls: GatewayTls | None = None
    allowed_listeners: AllowedListeners = AllowedListeners()


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantFrom:
    """Who may refer."""

    group: GroupName
    kind: KindName
    namespace: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantTo:
    """To what; without `name` to every object of the kind."""

    group: GroupName
    kind: KindName
    name: Subdomain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceGrantSpec:
    """https://gateway-api.sigs.k8s.io/reference/spec/#referencegrant"""

    from_: Annotated[tuple[GrantFrom, ...], Length(1, 16)] = field(metadata={"json": "from"})
    to: Annotated[tuple[GrantTo, ...], Length(1, 16)]
