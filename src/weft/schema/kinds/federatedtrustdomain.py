"""weft.dev: FederatedTrustDomain, another trust domain whose workloads may call ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from weft.schema.scalars import Length, Name, TrustDomain

Url = Annotated[str, Length(1, 1024)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEndpointProfile:
    """How the endpoint proves itself: `https_web`, by a certificate of an authority that this machine trusts;
    `https_spiffe`, by the SPIFFE ID `endpointSPIFFEID`, checked against the bundle of that trust domain."""

    type: Literal["https_web", "https_spiffe"]
    endpoint_spiffe_id: Annotated[str, Length(1, 2048)] | None = field(
        default=None, metadata={"json": "endpointSPIFFEID"}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedTrustDomainSpec:
    """Another trust domain: its workloads may call ours, proven by its own roots and by no others'.

    See [SPIFFE](../spiffe.md#federation). The fields are those of SPIRE's ClusterFederatedTrustDomain.
    It stands in the root namespace, since it says whom the whole mesh believes. `bundleEndpointURL` is where the trust
    domain publishes its bundle, and is followed; `trustDomainBundle` is a bundle (JSON) that is trusted as it stands,
    or, beside a URL, until the first one is fetched: `https_spiffe` needs it to prove the endpoint. `namespaces`: only
    workloads of these accept its callers (without it, all). Who may call what is said by authorization policies.
    """

    trust_domain: TrustDomain
    bundle_endpoint_url: Url | None = field(default=None, metadata={"json": "bundleEndpointURL"})
    bundle_endpoint_profile: BundleEndpointProfile | None = None
    trust_domain_bundle: str | None = None
    namespaces: tuple[Name, ...] = ()
