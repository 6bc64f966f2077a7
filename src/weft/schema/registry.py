"""The kinds weft knows: their names, groups, versions and value classes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from weft.schema.kinds.core import NamespaceSpec, SecretSpec, ServiceAccountSpec, ServiceSpec
from weft.schema.kinds.destinationrule import DestinationRuleSpec
from weft.schema.kinds.gateway import GATEWAY_GROUP, GatewayClassSpec, GatewaySpec, ReferenceGrantSpec
from weft.schema.kinds.httproute import HttpRouteSpec
from weft.schema.kinds.meshconfig import WEFT_GROUP, ConfigMapSpec, MeshConfigSpec
from weft.schema.kinds.peerauthentication import PeerAuthenticationSpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec
from weft.schema.others import LEFT_OUT_KINDS
from weft.schema.upstream import UNSUPPORTED_KINDS

ISTIO_NETWORKING = "networking.istio.io"
ISTIO_SECURITY = "security.istio.io"
_NETWORKING_VERSIONS = ("v1", "v1beta1", "v1alpha3")
_GATEWAY_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `versions` are those accepted, the preferred one first, and `old_versions` those accepted with a
    warning; `name_form` is the form of object names (see `weft.schema.forms`). With `flat` the fields stand beside
    metadata, not in ``spec``. A document of a `security` kind that cannot be understood closes what it names
    (`weft.model.unreadable`)."""

    name: str
    plural: str
    short_names: tuple[str, ...]
    group: str
    versions: tuple[str, ...]
    spec: type
    namespaced: bool = True
    flat: bool = False
    name_form: str = "dns-subdomain"
    security: bool = False
    old_versions: tuple[str, ...] = ()

    @property
    def api_versions(self) -> tuple[str, ...]:
        """What should stand as ``apiVersion``."""
        return self._with_group(self.versions)

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
    Kind("Namespace", "namespaces", ("ns",), "", ("v1",), NamespaceSpec, namespaced=False, name_form="dns-label"),
    Kind("Service", "services", ("svc",), "", ("v1",), ServiceSpec, name_form="dns-1035-label"),
    Kind(
        "ServiceAccount", "serviceaccounts", ("sa",), "", ("v1",), ServiceAccountSpec, flat=True, name_form="dns-label"
    ),
    Kind("Secret", "secrets", (), "", ("v1",), SecretSpec, flat=True),
    _gateway_kind("GatewayClass", "gatewayclasses", ("gc",), GatewayClassSpec, namespaced=False),
    _gateway_kind("Gateway", "gateways", ("gw", "gtw"), GatewaySpec),
    _gateway_kind("HTTPRoute", "httproutes", ("hr",), HttpRouteSpec),
    _gateway_kind("ReferenceGrant", "referencegrants", ("refgrant",), ReferenceGrantSpec),
    Kind("VirtualService", "virtualservices", ("vs",), ISTIO_NETWORKING, _NETWORKING_VERSIONS, VirtualServiceSpec),
    Kind("DestinationRule", "destinationrules", ("dr",), ISTIO_NETWORKING, _NETWORKING_VERSIONS, DestinationRuleSpec),
    Kind(
        "PeerAuthentication",
        "peerauthentications",
        ("pa",),
        ISTIO_SECURITY,
        ("v1", "v1beta1"),
        PeerAuthenticationSpec,
        security=True,
    ),
    Kind("MeshConfig", "meshconfigs", ("mc",), WEFT_GROUP, ("v1alpha1",), MeshConfigSpec),
    Kind("ConfigMap", "configmaps", ("cm",), "", ("v1",), ConfigMapSpec, flat=True),
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


def kind_of(group: str, name: str) -> Kind | None:
    """The kind with exactly this group and name."""
    return _BY_GROUP_AND_NAME.get((group, name))


def find_kind(text: str) -> Kind:
    """The kind a person means by `text`: its name, plural or short name, in any case, with or without the group.

    Raises UnknownKindError.
    """
    word = text.strip().lower()
    kind = _BY_WORD.get(word)
    if kind is not None:
        return kind
    known = ", ".join(sorted(kind.plural for kind in KINDS))
    near = difflib.get_close_matches(word[:100], [kind.plural for kind in KINDS], n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    raise UnknownKindError(f"there is no kind '{text[:100]}'{hint}; kinds: {known}")
